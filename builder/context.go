package builder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/remote"
)

// contextDir is the directory that COPY reads, without what its ignore file names. Nothing outside of it is read,
// wherever symbolic links lead.
type contextDir struct {
	root   *os.Root
	dir    *layer.Dir // the same, for reading
	ignore *patternmatcher.PatternMatcher
	store  string // name of the store's directory, if it lies in the context
	// imageIgnore is the .imageignore of the context: what no BASE collects.
	imageIgnore []byte
	opened      time.Time
}

// openContext opens the directory; the caller closes it. The store, whose directory is given unless it is "", is no
// part of it.
func openContext(dir, store string) (*contextDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the context: %w", err)
	}
	c := &contextDir{root: root, opened: time.Now()}
	if c.dir, err = layer.OpenDir(dir); err != nil {
		root.Close()
		return nil, fmt.Errorf("open the context: %w", err)
	}
	if c.ignore, err = readIgnore(root); err != nil {
		c.Close()
		return nil, fmt.Errorf("open the context: %w", err)
	}
	if c.imageIgnore, err = root.ReadFile(imageIgnoreFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Close()
		return nil, fmt.Errorf("open the context: %w", err)
	}
	if store != "" {
		if c.store, err = nameWithin(root, store); err != nil {
			c.Close()
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
func (c *contextDir) Close() error { return errors.Join(c.root.Close(), c.dir.Close()) }

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

// ignored implements origin: the ignore file, or the language, may hide name.
func (c *contextDir) ignored(name string) (bool, error) {
	if name == "." {
		return false, nil
	}
	if c.foreign(name) {
		return true, nil
	}
	return matches(c.ignore, name)
}

// foreign says whether name is never part of the context, whatever the ignore file says.
func (c *contextDir) foreign(name string) bool {
	return name == remote.LockName || c.store != "" && (name == c.store || strings.HasPrefix(name, c.store+"/"))
}

// hidesAll implements origin.
func (c *contextDir) hidesAll() bool { return !c.ignore.Exclusions() }

// stat implements origin: it follows links within the context.
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

// names implements origin.
func (c *contextDir) names(dir string) ([]string, error) {
	f, err := c.dir.Open(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer f.Close()
	all, err := f.Readdirnames(-1)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	slices.Sort(all)
	var seen []string
	for _, name := range all {
		hidden, err := c.ignored(join(dir, name))
		if err != nil {
			return nil, err
		}
		if c.visible(join(dir, name), hidden) {
			seen = append(seen, name)
		}
	}
	return seen, nil
}

// members implements origin. Directories are listed with one system call for each member (fstatat(2)), whatever their
// depth. What vanishes meanwhile was not there.
func (c *contextDir) members(dir string) ([]member, error) {
	f, err := c.dir.Open(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer f.Close()
	all, err := f.Readdir(-1)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	seen := make([]member, 0, len(all))
	for _, info := range all {
		name := join(dir, info.Name())
		hidden, err := c.ignored(name)
		if err != nil {
			return nil, err
		}
		if c.visible(name, hidden) {
			seen = append(seen, member{info, hidden})
		}
	}
	slices.SortFunc(seen, func(a, b member) int { return strings.Compare(a.Name(), b.Name()) })
	return seen, nil
}

// visible says whether there may be something to copy at or below a name.
func (c *contextDir) visible(name string, hidden bool) bool {
	return !hidden || !c.hidesAll() && !c.foreign(name)
}

// where implements origin.
func (c *contextDir) where() string { return "the context" }

// missing implements origin.
func (c *contextDir) missing(name string) error {
	if c.foreign(name) {
		return fmt.Errorf("%s is never part of the context", name)
	}
	if hidden, err := c.ignored(name); err == nil && hidden {
		if _, err := c.root.Lstat(name); err == nil {
			return fmt.Errorf("%s is excluded from the context by its ignore file", name)
		}
	}
	if info, err := c.root.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		target, _ := c.root.Readlink(name)
		return fmt.Errorf("%s is a link to %s, which is not in the context", name, target)
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

// entry implements origin. Size and mode are those of now; a file that changes later is an error when it is read.
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
		e.Size, e.Version = info.Size(), c.version(info)
		e.Open = func() (io.ReadCloser, error) {
			r, err := c.dir.Content(name)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s vanished since the build looked at it: build again once the context stays as it is", name)
			}
			return r, unreadable(name, err)
		}
	default:
		return layer.Entry{}, fmt.Errorf("%s is no file, directory or link: name it in .kubefileignore", name)
	}
	return e, nil
}

// version is a file's content as far as it can be told without reading; "" when it was changed just now, so that another
// change might look the same.
func (c *contextDir) version(info fs.FileInfo) string {
	if !settled(info, c.opened) {
		return ""
	}
	return stamp(info)
}
