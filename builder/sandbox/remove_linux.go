package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// privileged says that this process needs no user namespace.
func privileged() bool { return hasSysAdmin() }

// removeForeign removes a directory with files of subordinate ids.
func removeForeign(dir string) error {
	if privileged() || len(ids("/etc/subuid", os.Geteuid())) == 1 {
		return fs.ErrPermission
	}
	return inNamespace("remove", dir)
}

// openUpper makes what a command left in upper readable to the caller of Run.
func openUpper(upper string) error {
	if len(ids("/etc/subuid", os.Geteuid())) > 1 {
		return inNamespace("open", upper)
	}
	return openTree(upper)
}

// openTree makes the files and directories of dir readable to its user, who is root here, and to the group of that
// user, and notes the permissions that they had.
func openTree(dir string) error {
	open := func(file string) error {
		var st unix.Stat_t
		if err := unix.Lstat(file, &st); err != nil {
			return &fs.PathError{Op: "lstat", Path: file, Err: err}
		}
		kind, perm := st.Mode&unix.S_IFMT, st.Mode&0o7777
		if kind != unix.S_IFDIR && kind != unix.S_IFREG {
			return nil
		}
		need := readable(st, kind == unix.S_IFDIR)
		if perm&need == need {
			return nil
		}
		if err := unix.Chmod(file, perm|need|0o600); err != nil { // an attribute takes the permission to write
			return &fs.PathError{Op: "chmod", Path: file, Err: err}
		}
		if err := unix.Lsetxattr(file, modeAttribute, []byte(strconv.FormatUint(uint64(perm), 8)), 0); err != nil {
			return &fs.PathError{Op: "setxattr", Path: file, Err: err}
		}
		return unix.Chmod(file, perm|need)
	}
	return filepath.WalkDir(dir, func(file string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return open(file)
	})
}

// readable returns the permissions that the user outside needs: the ids of the process are those of the owner of a
// file, of its group, or neither.
func readable(st unix.Stat_t, dir bool) uint32 {
	need := uint32(0o4)
	if dir {
		need = 0o5
	}
	uid, gid := os.Geteuid(), os.Getegid()
	switch {
	case int(st.Uid) == uid:
		return need << 6
	case int(st.Gid) == gid:
		return need << 3
	}
	return need
}

// attribute returns an extended attribute; empty is none.
func attribute(file, name string) (string, error) {
	value := make([]byte, 64)
	n, err := unix.Lgetxattr(file, name, value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return "", nil
	}
	if err != nil {
		return "", &fs.PathError{Op: "getxattr", Path: file, Err: err}
	}
	return string(value[:n]), nil
}
