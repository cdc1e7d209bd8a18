package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// lockName is the lock file of a Kubefile, which is never part of the context.
const lockName = "Kubefile.lock"

// contextDir is the directory that COPY reads, without what its ignore file names. Nothing outside of it is read,
// wherever symbolic links lead.
type contextDir struct {
	root   *os.Root
	ignore *patternmatcher.PatternMatcher
	store  string // name of the store's directory, if it lies in the context
}

// openContext opens the directory; the caller closes it. The store, whose directory is given unless it is "", is no
// part of it.
func openContext(dir, store string) (*contextDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the context: %w", err)
	}
	c := &contextDir{root: root}
	if c.ignore, err = readIgnore(root); err != nil {
		root.Close()
		return nil, fmt.Errorf("open the context: %w", err)
	}
	if store != "" {
		if c.store, err = nameWithin(root, store); err != nil {
			root.Close()
			return nil, fmt.Errorf("open the context: %w", err)
		}
	}
	return c, nil
}

// nameWithin returns the name that the directory dir, which exists, has within root; "" when it lies elsewhere.
func nameWithin(root *os.Root, dir string) (string, error) {
	top, err := root.Stat(".")
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	for name := ""; ; {
		if info, err := os.Stat(dir); err == nil && os.SameFile(info, top) {
			return name, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		name, dir = path.Join(filepath.Base(dir), name), parent
	}
}

// Close gives up the directory.
func (c *contextDir) Close() error { return c.root.Close() }

// readIgnore reads .kubefileignore, or else .dockerignore, or else nothing.
func readIgnore(root *os.Root) (*patternmatcher.PatternMatcher, error) {
	for _, name := range []string{".kubefileignore", ".dockerignore"} {
		f, err := root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		patterns, err := ignorefile.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		m, err := patternmatcher.New(patterns)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", name, err)
		}
		return m, nil
	}
	return patternmatcher.New(nil)
}

// ignored says whether the ignore file, or the language, hides name.
func (c *contextDir) ignored(name string) (bool, error) {
	if name == "." {
		return false, nil
	}
	if c.foreign(name) {
		return true, nil
	}
	return c.ignore.MatchesOrParentMatches(name)
}

// foreign says whether name is never part of the context, whatever the ignore file says.
func (c *contextDir) foreign(name string) bool {
	return name == lockName || c.store != "" && (name == c.store || strings.HasPrefix(name, c.store+"/"))
}

// hidesAll says whether nothing below an ignored directory can be seen either.
func (c *contextDir) hidesAll() bool { return !c.ignore.Exclusions() }

// lstat returns what name is. A path that leaves the context by way of a link is an error that says so.
func (c *contextDir) lstat(name string) (fs.FileInfo, error) {
	info, err := c.root.Lstat(name)
	return info, unreadable(name, err)
}

// stat follows links within the context.
func (c *contextDir) stat(name string) (fs.FileInfo, error) {
	info, err := c.root.Stat(name)
	return info, unreadable(name, err)
}

// unreadable says what to do about a path that cannot be read. Package os has no sentinel for one that leads outside.
func unreadable(name string, err error) error {
	switch {
	case err == nil || errors.Is(err, fs.ErrNotExist):
		return err
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: make it readable, or name it in .kubefileignore", err)
	case errors.Is(err, syscall.ELOOP):
		return fmt.Errorf("%s is a link that leads to itself: correct it", name)
	case strings.Contains(err.Error(), "escapes"):
		return fmt.Errorf("%s leads out of the context: COPY reads only files inside it", name)
	}
	return err
}

// names lists a directory, sorted, without what is ignored for good.
func (c *contextDir) names(dir string) ([]string, error) {
	f, err := c.root.Open(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(all)
	var seen []string
	for _, name := range all {
		hidden, err := c.ignored(path.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if !hidden || !c.hidesAll() && !c.foreign(path.Join(dir, name)) {
			seen = append(seen, name)
		}
	}
	return seen, nil
}

// cleanSource makes a word of COPY a path within the context, as docker does: absolute paths begin at the context,
// and ".." ends there.
func cleanSource(word string) string {
	return strings.TrimPrefix(path.Join("/", word), "/")
}

// glob returns the paths that a word of COPY means: itself, or what its pattern matches, sorted. No match is an
// empty list.
func (c *contextDir) glob(word string) (found []string, isGlob bool, err error) {
	clean := cleanSource(word)
	if clean == "" {
		return []string{"."}, false, nil
	}
	if !strings.ContainsAny(clean, `*?[\`) {
		return []string{clean}, false, nil
	}
	found = []string{"."}
	for _, part := range strings.Split(clean, "/") {
		if found, err = c.globPart(found, part); err != nil {
			return nil, true, fmt.Errorf("pattern %q: %w", word, err)
		}
	}
	return found, true, nil
}

// globPart returns the members of dirs that one part of a pattern matches.
func (c *contextDir) globPart(dirs []string, part string) ([]string, error) {
	var found []string
	for _, dir := range dirs {
		if info, err := c.stat(dir); err != nil || !info.IsDir() {
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			continue
		}
		names, err := c.names(dir)
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

// missing explains that a source is not there.
func (c *contextDir) missing(name string) error {
	if c.foreign(name) {
		return fmt.Errorf("%s is never part of the context", name)
	}
	if hidden, err := c.ignored(name); err == nil && hidden {
		if _, err := c.lstat(name); err == nil {
			return fmt.Errorf("%s is excluded from the context by its ignore file", name)
		}
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		siblings, err := c.names(dir)
		if err == nil {
			rest := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
			first, _, _ := strings.Cut(rest, "/")
			return fmt.Errorf("%s is not in the context%s", name, didYouMean(first, siblings))
		}
		if dir == "." {
			return fmt.Errorf("%s is not in the context", name)
		}
	}
}
