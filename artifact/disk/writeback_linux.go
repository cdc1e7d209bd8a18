package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// StartWriteback has the kernel begin to write a part of a file to the disk. It is a hint: nobody waits, and what goes
// wrong is told when the file is synced.
func StartWriteback(f *os.File, from, n int64) {
	_ = unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE)
}
