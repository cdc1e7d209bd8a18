package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// walk follows name, with its links, inside root. It returns the path of the last thing that exists, without links,
// and the names that are missing below it.
func walk(root, name string) (found string, missing []string, err error) {
	found = "/"
	todo := strings.Split(name, "/")
	for links := 0; len(todo) > 0; {
		next := todo[0]
		todo = todo[1:]
		switch {
		case next == "" || next == ".":
			continue
		case next == ".." && len(missing) > 0:
			missing = missing[:len(missing)-1]
			continue
		case next == "..":
			found = path.Dir(found)
			continue
		case len(missing) > 0:
			missing = append(missing, next)
			continue
		}
		file := filepath.Join(root, found, next)
		info, err := os.Lstat(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing = append(missing, next)
		case err != nil:
			return "", nil, errors.Unwrap(err)
		case info.Mode()&fs.ModeSymlink == 0:
			found = path.Join(found, next)
		default:
			if links++; links > 40 {
				return "", nil, unix.ELOOP
			}
			to, err := os.Readlink(file)
			if err != nil {
				return "", nil, err
			}
			if path.IsAbs(to) {
				found = "/"
			}
			todo = append(strings.Split(to, "/"), todo...)
		}
	}
	return found, missing, nil
}

// point opens the mount point target, and makes what is missing of it unless that would be in the tree. Other
// sandboxes may change a shared cache meanwhile: no path is followed twice without the kernel keeping it in root.
func (a *attacher) point(target string, dir bool) (fd int, err error) {
	found, missing, err := walk(a.root, target)
	if err != nil {
		return -1, err
	}
	if at := path.Join(append([]string{found}, missing...)...); reserved(at) && at != ScriptFile {
		return -1, errReserved
	}
	if fd, err = openIn(a.root, found[1:]); err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, err
	}
	if len(missing) > 0 && st.Dev == a.tree {
		unix.Close(fd)
		return -1, fmt.Errorf("an earlier mount leads to %s, which the tree lacks %s of: create it first", found, path.Join(missing...))
	}
	for i, name := range missing {
		next, err := makeIn(fd, name, dir || i < len(missing)-1)
		unix.Close(fd)
		if err != nil {
			return -1, fmt.Errorf("make the mount point: %w", err)
		}
		fd = next
	}
	if isDir := len(missing) > 0 && dir || len(missing) == 0 && st.Mode&unix.S_IFMT == unix.S_IFDIR; len(missing) == 0 && isDir != dir {
		unix.Close(fd)
		if dir {
			return -1, errors.New("a directory cannot be mounted on a file")
		}
		return -1, errors.New("a file cannot be mounted on a directory: name the file in the target")
	}
	return fd, nil
}

// makeIn makes the directory or file name in the directory parent and returns a reference to it.
func makeIn(parent int, name string, dir bool) (fd int, err error) {
	if dir {
		err = unix.Mkdirat(parent, name, 0o755)
	} else {
		err = unix.Mknodat(parent, name, unix.S_IFREG|0o644, 0)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return -1, err
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	return unix.Openat2(parent, name, &how)
}

// openIn opens name of root as a reference (O_PATH), never leaving root.
func openIn(root, name string) (fd int, err error) {
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	if name == "" {
		name = "."
	}
	return unix.Openat2(dir, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
}
