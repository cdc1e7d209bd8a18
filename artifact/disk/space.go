package disk

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reserve is how many bytes are kept free for what is written beside contents: an index, directories, a marker.
const Reserve = 64 << 10

// Free returns the bytes that this user may still write to the file system of dir.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // its type differs between systems
}

// CheckFree returns an error that says what to do when need bytes do not fit into dir.
func CheckFree(dir string, need int64) error {
	free, err := Free(dir)
	if err != nil || free >= need+Reserve {
		return err
	}
	return fmt.Errorf("%s needed, %s free on %s: free space, or choose another place", Bytes(need+Reserve), Bytes(free), dir)
}

// OnDisk returns what a file of n bytes takes where files are made of blocks.
func OnDisk(n int64) int64 {
	const block = 4 << 10
	return (n + block - 1) / block * block
}

// IsFull reports whether an error says that there is no room on a disk, or none for this user.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// Full adds to an error of a disk that is full how much is free and what to do; other errors come back as they are.
func Full(dir string, err error) error {
	if !IsFull(err) {
		return err
	}
	free := "unknown space"
	if n, serr := Free(dir); serr == nil {
		free = Bytes(n)
	}
	return fmt.Errorf("%w: %s free on %s: free space, or choose another place", err, free, dir)
}

// Bytes writes a number of bytes for people: "1.2 GiB".
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1023.95 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
