package store

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// syncStore makes everything written to the file system of dir safe on disk, in one go.
func syncStore(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = unix.Syncfs(int(d.Fd()))
	if errors.Is(err, unix.ENOSYS) { // a sandbox that forbids it
		unix.Sync()
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// syncsWhole reports whether syncing the whole file system of dir makes safe what was written to it. Where a server or a
// program has the disk, it is only told what is synced file by file.
func syncsWhole(dir string) bool {
	const fuse, cifs, smb2 = 0x65735546, 0xff534d42, 0xfe534d42 // linux/magic.h; x/sys has not all of them as one type
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return false
	}
	switch uint32(st.Type) { //nolint:gosec // magic numbers have 32 bits
	case fuse, cifs, smb2, unix.NFS_SUPER_MAGIC, unix.V9FS_MAGIC:
		return false
	}
	return true
}

// exchange has two files change their names at once; where the file system cannot do that, the first gets the name of the
// second.
func exchange(a, b string) error {
	if unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) == nil {
		return nil
	}
	return os.Rename(a, b)
}

// bootID returns what is another string after each boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
