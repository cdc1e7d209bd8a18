package layer

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// marker says whether name is to be ignored, as the leftovers of aufs are, or wrong because a directory in it has a
// reserved name.
func marker(name string) (ignored bool, err error) {
	dirs := strings.Split(name, "/")
	for i, part := range dirs {
		switch last := i == len(dirs)-1; {
		case strings.HasPrefix(part, markerPrefix) && !(last && part == OpaqueWhiteout):
			return true, nil
		case strings.HasPrefix(part, WhiteoutPrefix) && !last:
			return false, fmt.Errorf("names that start with %s are reserved for whiteouts", WhiteoutPrefix)
		}
	}
	return false, nil
}

// whiteout deletes what the layers below have of a name or, if it is the opaque marker, in a directory.
func (x *extractor) whiteout(name string) error {
	dir, base := path.Dir(name), path.Base(name)
	switch strings.TrimPrefix(base, WhiteoutPrefix) {
	case "", ".", "..":
		return errors.New("the whiteout names no file")
	}
	if x.over != nil {
		x.over.gone = append(x.over.gone, name)
		return x.held.add(name)
	}
	parent, err := x.open(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), err != nil && x.isFile(dir):
		return nil // there is nothing below
	case err != nil:
		return x.explain(dir, err)
	case base == OpaqueWhiteout:
		return x.pruneMembers(parent, dir)
	default:
		return x.prune(parent, victimOf(name))
	}
}

// victimOf returns what goes for the entry called name: what has that name, or what a whiteout of that name deletes.
func victimOf(name string) string {
	dir, base := path.Split(name)
	if base == OpaqueWhiteout {
		return path.Clean(dir)
	}
	return path.Join(dir, strings.TrimPrefix(base, WhiteoutPrefix))
}

// isFile says whether name is there and no directory.
func (x *extractor) isFile(name string) bool {
	info, err := x.root.Stat(name)
	return err == nil && !info.IsDir()
}

// prune removes name, which lies in parent, except for what this layer has put there: whiteouts are about the layers below.
func (x *extractor) prune(parent *os.Root, name string) error {
	base := path.Base(name)
	if !x.saw(name) {
		return parent.RemoveAll(base)
	}
	info, err := parent.Lstat(base)
	if err != nil || !info.IsDir() {
		return err
	}
	dir, err := parent.OpenRoot(base)
	if err != nil {
		return err
	}
	defer dir.Close()
	return x.pruneMembers(dir, name)
}

func (x *extractor) pruneMembers(dir *os.Root, name string) error {
	members, err := readDir(dir)
	if err != nil {
		return err
	}
	// An archive may ask for the same directory again and again.
	if x.visited += int64(len(members)); x.visited > 4*x.o.MaxEntries {
		return fmt.Errorf("%w: the whiteouts are about more than %d files", ErrLimit, 4*x.o.MaxEntries)
	}
	for _, m := range members {
		if err := x.prune(dir, path.Join(name, m.Name())); err != nil {
			return err
		}
	}
	return nil
}

// enter returns the directory called name, where this layer puts something, and makes it if it is missing. The result
// is good until the next call of enter or open.
func (x *extractor) enter(name string) (*os.Root, error) {
	if x.parent != nil && x.parentName == name && x.saw(name) {
		return x.parent, nil
	}
	dir, err := x.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = x.makeParents(name); err == nil {
			dir, err = x.open(name)
		}
	}
	if err != nil {
		return nil, x.explain(name, err)
	}
	for prefix := range prefixes(name) {
		x.see(prefix)
	}
	return dir, nil
}

// open returns the directory called name.
func (x *extractor) open(name string) (*os.Root, error) {
	if x.parent != nil && x.parentName == name {
		return x.parent, nil
	}
	dir, err := x.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	x.leave()
	x.parent, x.parentName = dir, name
	return dir, nil
}

// leave closes the directory of the last entry, if there is one.
func (x *extractor) leave() {
	if x.parent != nil {
		x.parent.Close()
		x.parent = nil
	}
}

// makeParents makes the directory called name and those above it that are missing.
func (x *extractor) makeParents(name string) error {
	for prefix := range prefixes(name) {
		switch err := x.root.Mkdir(prefix, 0o700); {
		case err == nil:
			if err := x.remember(prefix, directory{mode: 0o755}); err != nil {
				return err
			}
			x.over.made(prefix)
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return nil
}

// explain turns the error about the directory called dir into one about the symbolic link that led out of the image,
// if that is the cause: errors of os.Root about it have no number of the system in them.
func (x *extractor) explain(dir string, err error) error {
	var number syscall.Errno
	if errors.As(err, &number) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for prefix := range prefixes(dir) {
		target, linkErr := x.root.Readlink(prefix)
		if linkErr != nil {
			continue
		}
		_, statErr := x.root.Stat(prefix)
		switch {
		case statErr == nil:
		case errors.Is(statErr, fs.ErrNotExist):
			return fmt.Errorf("link %q to %q leads to nothing", prefix, target)
		case !errors.As(statErr, &number):
			return fmt.Errorf("link %q to %q leaves the image", prefix, target)
		}
	}
	return err
}

// prefixes yields the directories that lead to name, and name; nothing for the root.
func prefixes(name string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		if name == "." {
			return
		}
		for i := range len(name) {
			if name[i] == '/' && !yield(name[:i]) {
				return
			}
		}
		yield(name)
	}
}

// replaced says whether one of the directories that lead to name is none any more.
func (x *extractor) replaced(name string) bool {
	for prefix := range prefixes(name) {
		if info, err := x.root.Lstat(prefix); err != nil || !info.IsDir() {
			return true
		}
	}
	return false
}

func (x *extractor) see(name string) { x.seen[maphash.String(x.seed, name)] = struct{}{} }

func (x *extractor) saw(name string) bool {
	_, ok := x.seen[maphash.String(x.seed, name)]
	return ok || name == "."
}
