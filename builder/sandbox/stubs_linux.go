package sandbox

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stub is a mount point that the tree may lack.
type stub struct {
	target string // in the root that the command sees
	dir    bool
}

// stubs is a layer on top of those of a tree, below upper, with the mount points that the tree lacks: they are there
// and leave no trace. Above the other layers, as one of them may hide all below it. A directory on the way is a copy
// of that of the tree in all but its content.
type stubs struct {
	layer string
	dirs  []string // copies, parents first
	made  bool
}

// plant makes the stubs of a tree that is mounted, as it was before the command, at root/at, and tells the overlay.
func plant(root, at string, tree *overlay, work string, wanted []stub) error {
	s := stubs{layer: filepath.Join(work, "stubs")}
	if err := os.Mkdir(s.layer, 0o755); err != nil {
		return err
	}
	base := filepath.Join(root, at)
	if err := s.copyDir(base, "/"); err != nil {
		return err
	}
	var points []string
	for _, w := range wanted {
		found, missing, err := walk(root, w.target)
		if err != nil || len(missing) == 0 {
			if err == nil {
				points = append(points, found)
			}
			continue // whoever mounts there says what is wrong
		}
		whole := path.Join(append([]string{found}, missing...)...)
		inTree, ok := relative(at, found)
		if !ok || underAny(points, whole) {
			continue
		}
		points = append(points, whole)
		if err := s.add(base, inTree, missing, w.dir); err != nil {
			return err
		}
	}
	if !s.made {
		return nil
	}
	if err := s.dates(base); err != nil {
		return err
	}
	return tree.setTop(s.layer)
}

// add makes a copy of each directory down to found, and the missing names below it.
func (s *stubs) add(base, found string, missing []string, dir bool) error {
	s.made = true
	at := "/"
	for _, name := range strings.Split(strings.Trim(found, "/"), "/") {
		at = path.Join(at, name)
		if err := s.copyDir(base, at); err != nil {
			return err
		}
	}
	last := filepath.Join(append([]string{s.layer, found}, missing...)...)
	if dir {
		return os.MkdirAll(last, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(last), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(last); err == nil {
		return nil
	}
	return os.WriteFile(last, nil, 0o644)
}

// copyDir makes the directory name of the layer, unless it is there, with what makes that of the tree its own.
func (s *stubs) copyDir(base, name string) error {
	from, to := filepath.Join(base, name), filepath.Join(s.layer, name)
	if err := os.Mkdir(to, 0o755); err != nil && (name != "/" || !errors.Is(err, os.ErrExist)) {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return err
	}
	if err := unix.Lchown(to, int(st.Uid), int(st.Gid)); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err // an owner that the user namespace does not know is nobody's in both
	}
	copyAttributes(from, to)
	s.dirs = append(s.dirs, name)
	return unix.Chmod(to, st.Mode&0o7777)
}

// copyAttributes copies extended attributes as far as this process may.
func copyAttributes(from, to string) {
	list := make([]byte, 64<<10) // XATTR_LIST_MAX
	n, err := unix.Llistxattr(from, list)
	if err != nil {
		return
	}
	value := make([]byte, 64<<10) // XATTR_SIZE_MAX
	for _, name := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if size, err := unix.Lgetxattr(from, name, value); err == nil {
			_ = unix.Lsetxattr(to, name, value[:size], 0) // as far as it may
		}
	}
}

// dates gives the copies the times of the tree's directories, last of all.
func (s *stubs) dates(base string) error {
	for _, name := range s.dirs {
		info, err := os.Lstat(filepath.Join(base, name))
		if err != nil {
			return err
		}
		if err := os.Chtimes(filepath.Join(s.layer, name), time.Time{}, info.ModTime()); err != nil {
			return err
		}
	}
	return nil
}

// relative returns name below dir, when it is.
func relative(dir, name string) (string, bool) {
	if dir == "/" {
		return name, true
	}
	rest, ok := strings.CutPrefix(name, dir)
	return path.Join("/", rest), ok && (rest == "" || rest[0] == '/')
}

// underAny says that name lies below one of points, which something is mounted on before.
func underAny(points []string, name string) bool {
	for _, p := range points {
		if rest, ok := relative(p, name); ok && rest != "/" {
			return true
		}
	}
	return false
}
