package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// FromOverlay yields what the upper directory of an overlay mount says about the directories below it, in the order of
// Compare: what was added or changed as it is, with its owner, and what was deleted as Whiteout and Opaque entries
// (Linux Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"; attributes of trusted and of
// user mounts). It is otherwise like FromDir. The mount must not use redirect_dir or metacopy, since the content of a
// file would then lie elsewhere: that is an error.
func FromOverlay(upper string) iter.Seq2[Entry, error] {
	return readTree(upper, inspectOverlay)
}

func inspectOverlay(path string, info fs.FileInfo) (facts, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return facts{}, fmt.Errorf("%s: the owner is not known", path)
	}
	f := facts{uid: int(stat.Uid), gid: int(stat.Gid)}
	switch info.Mode().Type() {
	case fs.ModeDevice | fs.ModeCharDevice:
		f.whiteout = stat.Rdev == 0
		return f, nil
	case fs.ModeDir:
		opaque, _, err := overlayAttribute(path, "opaque")
		if err != nil {
			return facts{}, err
		}
		f.opaque = opaque == "y"
		return f, refuseAttribute(path, "redirect", "redirect_dir=off")
	case 0:
		return f, refuseAttribute(path, "metacopy", "metacopy=off")
	default:
		return f, nil
	}
}

// refuseAttribute is an error when path has the attribute, which a mount with option does not set.
func refuseAttribute(path, name, option string) error {
	_, found, err := overlayAttribute(path, name)
	if err != nil {
		return err
	}
	if found {
		return fmt.Errorf("%s: its content lies in another layer (overlay.%s): mount the overlay with %s", path, name, option)
	}
	return nil
}

// overlayAttribute returns the value of the overlay's attribute of path, and whether it has it, in either namespace.
func overlayAttribute(path, name string) (string, bool, error) {
	value := make([]byte, 256)
	for _, namespace := range []string{"trusted", "user"} {
		n, err := unix.Lgetxattr(path, namespace+".overlay."+name, value)
		switch {
		case err == nil:
			return string(value[:n]), true, nil
		case errors.Is(err, unix.ERANGE): // longer than what we compare
			return "", true, nil
		case !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.ENOTSUP):
			return "", false, fmt.Errorf("%s: read attribute overlay.%s: %w", path, name, err)
		}
	}
	return "", false, nil
}

// markOpaque hides what lower directories have in dir. Where this process may not set root's attribute, it sets the
// user's. It must be one of them only: a mount that uses the other takes it for an attribute like any, and copies it up.
func markOpaque(dir *os.Root) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fsetxattr(int(f.Fd()), "trusted.overlay.opaque", []byte("y"), 0)
	if errors.Is(err, unix.EPERM) {
		err = unix.Fsetxattr(int(f.Fd()), "user.overlay.opaque", []byte("y"), 0)
	}
	if err != nil {
		return fmt.Errorf("set attribute overlay.opaque: %w", err)
	}
	return nil
}

// markDeleted hides what lower directories have at name, a member of dir.
func markDeleted(dir *os.Root, name string) error {
	f, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Mknodat(int(f.Fd()), name, unix.S_IFCHR, 0); err != nil {
		return &fs.PathError{Op: "mknod", Path: name, Err: err}
	}
	return nil
}
