package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"
)

// FreeSpace returns the bytes that this user may still write where the store lies.
func (s *Store) FreeSpace() (int64, error) { return freeSpace(s.root) }

// CheckSpace returns an error that says what to do when fewer than need bytes are free where the store lies.
func (s *Store) CheckSpace(need int64) error {
	free, err := s.FreeSpace()
	if err != nil || free >= need {
		return err
	}
	return fmt.Errorf("write to the store: %s needed, %s free on %s: free space (`sealrt rmi` removes images) or choose another place with --root",
		bytesText(need), bytesText(free), s.root)
}

// spaceReserve is for what is written beside blobs: an index, directories, a marker.
const spaceReserve = 64 << 10

// onDisk returns what a file of n bytes takes where files are made of blocks.
func onDisk(n int64) int64 {
	const block = 4 << 10
	return (n + block - 1) / block * block
}

// checkRoom is CheckSpace for a whole image, less what is there already; nothing to add is no reason to fail.
func (s *Store) checkRoom(need int64) error {
	if need == 0 {
		return nil
	}
	return s.CheckSpace(need + spaceReserve)
}

// checkSpace is CheckSpace for a directory that is not the store's.
func checkSpace(dir string, need int64) error {
	free, err := freeSpace(dir)
	if err != nil || free >= need+spaceReserve {
		return err
	}
	return fmt.Errorf("%s needed, %s free on %s: free space, or choose another place", bytesText(need), bytesText(free), dir)
}

func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil //nolint:unconvert // its type differs between systems
}

// full adds to an error of a disk that is full how much is free and what to do; other errors come back as they are.
func full(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return err
	}
	free := "unknown space"
	if n, serr := freeSpace(dir); serr == nil {
		free = bytesText(n)
	}
	return fmt.Errorf("%w: %s free on %s: free space, or choose another place", err, free, dir)
}

// hint adds the next step to errors of the store's own files.
func hint(root string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: run as root, or choose another place with --root", err)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w (`sealrt rmi` removes images; --root chooses the place)", full(root, err))
	}
	return err
}

// bytesText writes a number of bytes for people: "1.2 GiB".
func bytesText(n int64) string {
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
