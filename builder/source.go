package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/moby/patternmatcher"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// source is one file or directory that a COPY takes. Its entries have names relative to where it lands: a file is one
// entry named ".", a directory lists what is in it.
type source struct {
	base    string // name in the context, without directories
	isDir   bool
	globbed bool // a pattern found it
	entries []layer.Entry
}

// collect returns the sources that the words of a COPY mean, less what exclude matches.
func (c *contextDir) collect(words, exclude []string) ([]source, error) {
	except, err := patternmatcher.New(exclude)
	if err != nil {
		return nil, fmt.Errorf("--exclude: %w", err)
	}
	var sources []source
	var unmatched []string
	for _, word := range words {
		names, globbed, err := c.glob(word)
		if err != nil {
			return nil, err
		}
		if len(names) == 0 {
			unmatched = append(unmatched, word)
		}
		for _, name := range names {
			s, err := c.source(name, except)
			if err != nil {
				return nil, err
			}
			s.globbed = globbed
			sources = append(sources, s)
		}
	}
	if len(sources) == 0 && len(unmatched) > 0 {
		return nil, fmt.Errorf("nothing in the context matches %s", strings.Join(unmatched, " "))
	}
	return sources, nil
}

// source lists what is at name. A link is followed, as docker does for the sources themselves; links inside a
// directory stay links.
func (c *contextDir) source(name string, except *patternmatcher.PatternMatcher) (source, error) {
	hidden, err := c.ignored(name)
	if err != nil {
		return source{}, err
	}
	info, err := c.stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && hidden && !info.IsDir() {
		return source{}, c.missing(name)
	}
	if err != nil {
		return source{}, err
	}
	s := source{base: path.Base(name), isDir: info.IsDir()}
	if !s.isDir {
		if out, err := except.MatchesOrParentMatches(s.base); err != nil || out {
			return s, err
		}
		e, err := c.entry(name, ".", info)
		s.entries = []layer.Entry{e}
		return s, err
	}
	w := &walk{contextDir: c, top: name, except: except}
	if err := w.dir("."); err != nil {
		return source{}, err
	}
	if hidden && len(w.entries) == 0 {
		return source{}, c.missing(name)
	}
	s.entries = w.entries
	return s, nil
}

// entry describes a file of the context. Size and mode are those of now; a file that changes later is an error when
// it is read.
func (c *contextDir) entry(name, as string, info fs.FileInfo) (layer.Entry, error) {
	e := layer.Entry{Name: as, Mode: info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | fs.ModeType)}
	switch info.Mode().Type() {
	case fs.ModeDir:
	case fs.ModeSymlink:
		target, err := c.root.Readlink(name)
		if err != nil {
			return layer.Entry{}, err
		}
		e.Linkname, e.Mode = target, fs.ModeSymlink|0o777
	case 0:
		e.Size = info.Size()
		e.Open = func() (io.ReadCloser, error) {
			f, err := c.root.Open(name)
			return f, unreadable(name, err)
		}
	default:
		return layer.Entry{}, fmt.Errorf("%s is no file, directory or link: name it in .kubefileignore", name)
	}
	return e, nil
}

// walk lists the members of one directory of the context.
type walk struct {
	*contextDir
	top     string
	except  *patternmatcher.PatternMatcher
	entries []layer.Entry
}

func (w *walk) dir(rel string) error {
	names, err := w.names(path.Join(w.top, rel))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.member(path.Join(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) member(rel string) error {
	name := path.Join(w.top, rel)
	hidden, err := w.ignored(name)
	if err != nil {
		return err
	}
	excluded, err := w.except.MatchesOrParentMatches(rel)
	if err != nil {
		return err
	}
	info, err := w.lstat(name)
	if err != nil {
		return err
	}
	if !hidden && !excluded {
		e, err := w.entry(name, rel, info)
		if err != nil {
			return err
		}
		w.entries = append(w.entries, e)
	}
	deeper := !hidden && !excluded || hidden && !w.hidesAll() || excluded && w.except.Exclusions()
	if info.IsDir() && deeper {
		return w.dir(rel)
	}
	return nil
}

// keepsName says whether the source, copied to the image root, is a directory there rather than spread over it.
func (s source) keepsName() bool { return s.isDir && s.globbed && artifact.IsWellKnown(s.base) }
