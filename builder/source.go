package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// origin is what COPY takes files from: the context, or the tree of an image. Names are relative to its root.
type origin interface {
	// names lists a directory, sorted, without what is ignored for good.
	names(dir string) ([]string, error)
	// members describes what names lists.
	members(dir string) ([]member, error)
	// stat returns what name leads to.
	stat(name string) (fs.FileInfo, error)
	// ignored says whether name is no part of the origin, as far as COPY is concerned.
	ignored(name string) (bool, error)
	// hidesAll says whether nothing below an ignored directory can be seen either.
	hidesAll() bool
	// entry describes the file name, to which info belongs, under another name.
	entry(name, as string, info fs.FileInfo) (layer.Entry, error)
	// missing explains that a source is not there.
	missing(name string) error
	// where is what people call the origin.
	where() string
}

// member is what lies in a directory of an origin.
type member struct {
	fs.FileInfo
	hidden bool // ignored
}

// source is one file or directory that a COPY takes. Its entries have names relative to where it lands: a file is one
// entry named ".", a directory lists what is in it.
type source struct {
	base    string // name in the origin, without directories
	parents string // COPY --parents: the directories to keep, "" for none
	isDir   bool
	globbed bool // a pattern found it
	owned   bool // the entries say whose they are: those of an archive or image
	entries []layer.Entry
}

// collect returns the sources that the words of a COPY mean, less what exclude matches.
func collect(o origin, words, exclude []string, parents bool) ([]source, error) {
	except, err := patternmatcher.New(exclude)
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	var sources []source
	var unmatched []string
	for _, word := range words {
		pivot, word := cutPivot(word)
		if clean := path.Clean(word); clean == ".." || strings.HasPrefix(clean, "../") {
			return nil, fmt.Errorf("%s leads out of %s: only files inside it can be copied", word, o.where())
		}
		names, globbed, err := glob(o, word)
		if err != nil {
			return nil, err
		}
		matched := 0
		for _, name := range names {
			s, seen, err := takeSource(o, name, except)
			if err == nil && !seen && !globbed {
				err = o.missing(name)
			}
			if err != nil {
				return nil, err
			}
			if !seen {
				continue
			}
			matched++
			s.globbed = globbed
			if parents {
				s.parents = strings.Trim(strings.TrimPrefix(name, pivot), "/")
			}
			sources = append(sources, s)
		}
		if matched == 0 {
			unmatched = append(unmatched, word)
		}
	}
	if len(sources) == 0 && len(unmatched) > 0 {
		return nil, fmt.Errorf("nothing in %s matches %s", o.where(), strings.Join(unmatched, " "))
	}
	return sources, nil
}

// cutPivot splits a word of COPY --parents at "/./": what is before it names no directory of the image.
func cutPivot(word string) (pivot, whole string) {
	before, after, ok := strings.Cut(word, "/./")
	if !ok {
		return "", word
	}
	return cleanSource(before), path.Join(before, after)
}

// cleanSource makes a word of COPY a path within the context, as docker does: absolute paths begin at the context,
// and ".." ends there.
func cleanSource(word string) string {
	return strings.TrimPrefix(path.Join("/", word), "/")
}

// glob returns the paths that a word of COPY means: itself, or what its pattern matches, sorted. No match is an
// empty list.
func glob(o origin, word string) (found []string, isGlob bool, err error) {
	clean := cleanSource(word)
	if clean == "" {
		return []string{"."}, false, nil
	}
	if !strings.ContainsAny(clean, `*?[\`) {
		return []string{clean}, false, nil
	}
	found = []string{"."}
	for _, part := range strings.Split(clean, "/") {
		if found, err = globPart(o, found, part); err != nil {
			return nil, true, fmt.Errorf("pattern %q: %w", word, err)
		}
	}
	return found, true, nil
}

// globPart returns the members of dirs that one part of a pattern matches.
func globPart(o origin, dirs []string, part string) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		if info, err := o.stat(dir); err != nil || !info.IsDir() {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		names, err := o.names(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			match, err := path.Match(part, name)
			if err != nil {
				return nil, err
			}
			if match {
				found = append(found, path.Join(dir, name))
			}
		}
	}
	return found, nil
}

// takeSource lists what is at name. A link is followed, as docker does for the sources themselves; links inside a
// directory stay links. What is ignored, with all that is below it, is not seen.
func takeSource(o origin, name string, except *patternmatcher.PatternMatcher) (s source, seen bool, err error) {
	hidden, err := o.ignored(name)
	if err != nil {
		return s, false, err
	}
	info, err := o.stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = o.missing(name)
	}
	if err != nil || hidden && !info.IsDir() {
		return s, false, err
	}
	s = source{base: path.Base(name), isDir: info.IsDir()}
	if !s.isDir {
		if out, err := except.MatchesOrParentMatches(s.base); err != nil || out {
			return s, true, err
		}
		e, err := o.entry(name, ".", info)
		s.entries = []layer.Entry{e}
		return s, true, err
	}
	w := &walk{origin: o, top: name, except: except}
	if err := w.dir("."); err != nil {
		return s, false, err
	}
	s.entries = w.entries
	return s, !hidden || len(w.entries) > 0, nil
}

// walk lists the members of one directory of an origin.
type walk struct {
	origin
	top     string
	except  *patternmatcher.PatternMatcher
	entries []layer.Entry
}

func (w *walk) dir(rel string) error {
	members, err := w.members(join(w.top, rel))
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := w.member(join(rel, m.Name()), m); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) member(rel string, m member) error {
	excluded, err := matches(w.except, rel)
	if err != nil {
		return err
	}
	if !m.hidden && !excluded {
		e, err := w.entry(join(w.top, rel), rel, m.FileInfo)
		if err != nil {
			return err
		}
		w.entries = append(w.entries, e)
	}
	deeper := !m.hidden && !excluded || m.hidden && !w.hidesAll() || excluded && w.except.Exclusions()
	if m.IsDir() && deeper {
		return w.dir(rel)
	}
	return nil
}

// matches says whether patterns leave name out.
func matches(patterns *patternmatcher.PatternMatcher, name string) (bool, error) {
	if len(patterns.Patterns()) == 0 {
		return false, nil
	}
	return patterns.MatchesOrParentMatches(name)
}

// join is path.Join for clean relative paths, of which there are many.
func join(dir, name string) string {
	switch {
	case dir == ".":
		return name
	case name == ".":
		return dir
	}
	return dir + "/" + name
}

// keepsName says whether the source, copied to the image root, is a directory there rather than spread over it.
func (s source) keepsName() bool { return s.isDir && s.globbed && artifact.IsWellKnown(s.base) }
