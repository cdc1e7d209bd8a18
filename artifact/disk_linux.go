package artifact

import (
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
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}

// startWriteback has the kernel begin to write a part of a file to the disk. It is a hint: nobody waits, and what goes
// wrong is told when the file is synced.
func startWriteback(f *os.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}

// bootID returns what is another string after each boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
