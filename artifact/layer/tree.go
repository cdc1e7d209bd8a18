package layer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// FromDir yields all that is below dir, in the order of Compare, owned by 0:0. Symbolic links stay links; modes stay
// as they are, with setuid bits; files with several names are yielded once a name, each with its content. The tree is
// read while it is iterated. A socket, named pipe or device is an error that names it and ends the iteration, as does
// anything that cannot be read.
func FromDir(dir string) iter.Seq2[Entry, error] {
	return readTree(dir, nil)
}

// facts is what an overlay's upper directory records about a file besides what every directory does.
type facts struct {
	whiteout, opaque bool
	uid, gid         int
}

// inspector returns the facts about the file at path.
type inspector func(path string, info fs.FileInfo) (facts, error)

func readTree(dir string, inspect inspector) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree: %w", err))
			return
		}
		defer root.Close()
		files, err := OpenDir(dir)
		if err != nil {
			yield(Entry{}, fmt.Errorf("read tree: %w", err))
			return
		}
		defer files.Close()
		t := &tree{dir: dir, files: files, inspect: inspect, yield: yield}
		if err := t.top(root); err != nil {
			yield(Entry{}, fmt.Errorf("read tree %s: %w", dir, err))
		}
	}
}

// tree is one iteration over a directory. Its methods return at once when stopped is set.
type tree struct {
	dir     string
	files   *Dir
	inspect inspector // nil: the directory is not part of an overlay
	yield   func(Entry, error) bool
	stopped bool
}

func (t *tree) emit(e Entry) {
	t.stopped = t.stopped || !t.yield(e, nil)
}

func (t *tree) top(root *os.Root) error {
	info, err := root.Lstat(".")
	if err != nil {
		return err
	}
	fact, err := t.facts(".", info)
	if err != nil {
		return err
	}
	return t.members(root, ".", fact.opaque)
}

// members yields what is in the directory called name, which r is.
func (t *tree) members(r *os.Root, name string, opaque bool) error {
	children, err := readDir(r)
	if err != nil {
		return err
	}
	if t.inspect != nil {
		if children, err = t.markers(name, children, opaque); err != nil {
			return err
		}
	}
	for _, child := range children {
		if t.stopped {
			return nil
		}
		if err := t.member(r, path.Join(name, child.Name()), child); err != nil {
			return err
		}
	}
	return nil
}

// markers yields the whiteouts of a directory, in order, and returns the children that are none. A socket is one too: it
// is of no use without the process that made it, which is gone, and hides what is below it.
func (t *tree) markers(name string, children []fs.DirEntry, opaque bool) ([]fs.DirEntry, error) {
	var found []Entry
	if opaque {
		found = append(found, Opaque(name))
	}
	var others []fs.DirEntry
	for _, child := range children {
		if child.Type() == fs.ModeSocket {
			found = append(found, Whiteout(path.Join(name, child.Name())))
			continue
		}
		if child.Type()&fs.ModeCharDevice != 0 {
			info, err := child.Info()
			if err != nil {
				return nil, err
			}
			full := path.Join(name, child.Name())
			fact, err := t.facts(full, info)
			if err != nil {
				return nil, err
			}
			if fact.whiteout {
				found = append(found, Whiteout(full))
				continue
			}
		}
		others = append(others, child)
	}
	for e := range Sorted(found) {
		if t.emit(e); t.stopped {
			break
		}
	}
	return others, nil
}

// member yields the file called name, which lies in r as child, and what is below it.
func (t *tree) member(r *os.Root, name string, child fs.DirEntry) error {
	base := child.Name()
	info, err := child.Info() // known already: a directory opened through os.Root is read with it
	if err != nil {
		return err
	}
	fact, err := t.facts(name, info)
	if err != nil {
		return err
	}
	e := Entry{Name: name, Mode: info.Mode(), UID: fact.uid, GID: fact.gid}
	switch info.Mode().Type() {
	case 0:
		e.Size, e.Open = info.Size(), t.opener(name)
		t.emit(e)
	case fs.ModeSymlink:
		if e.Linkname, err = r.Readlink(base); err != nil {
			return err
		}
		t.emit(e)
	case fs.ModeDir:
		if t.emit(e); t.stopped {
			return nil
		}
		sub, err := r.OpenRoot(base)
		if err != nil {
			return err
		}
		defer sub.Close()
		return t.members(sub, name, fact.opaque)
	default:
		return fmt.Errorf("%s: %w", name, unsupported(info.Mode()))
	}
	return nil
}

func (t *tree) facts(name string, info fs.FileInfo) (facts, error) {
	if t.inspect == nil {
		return facts{}, nil
	}
	return t.inspect(filepath.Join(t.dir, name), info)
}

// opener does not lean on the iteration: an entry may be opened when that is over.
func (t *tree) opener(name string) func() (io.ReadCloser, error) {
	dir, files := t.dir, t.files
	return func() (io.ReadCloser, error) {
		f, err := files.Open(name)
		if errors.Is(err, fs.ErrClosed) {
			f, err = os.OpenInRoot(dir, name)
		}
		if err != nil {
			return nil, err
		}
		return f, nil
	}
}

// readDir lists the directory that r is, by name.
func readDir(r *os.Root) ([]fs.DirEntry, error) {
	f, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	children, err := f.ReadDir(-1)
	slices.SortFunc(children, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return children, err
}
