package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact/disk"
)

// FreeSpace returns the bytes that this user may still write where the store lies.
func (s *Store) FreeSpace() (int64, error) { return disk.Free(s.root) }

// CheckSpace returns an error that says what to do when fewer than need bytes are free where the store lies.
func (s *Store) CheckSpace(need int64) error {
	free, err := s.FreeSpace()
	if err != nil || free >= need {
		return err
	}
	return fmt.Errorf("write to the store: %s needed, %s free on %s: free space (`sealrt rmi` removes images) or choose another place with --root",
		disk.Bytes(need), disk.Bytes(free), s.root)
}

// CheckWritable returns the error that adding to the store would have, with what to do, when this user may not write to
// it, or nobody.
func (s *Store) CheckWritable() error {
	if err := unix.Access(s.path("ingest"), unix.W_OK); err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return nil
}

// CheckRoom is CheckSpace for a whole image, less what is there already; nothing to add is no reason to fail.
func (s *Store) CheckRoom(need int64) error {
	if need == 0 {
		return nil
	}
	return s.CheckSpace(need + disk.Reserve)
}

// hint adds the next step to errors of the store's own files.
func hint(root string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root, or choose another place with --root", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: choose another place with --root", err)
	case disk.IsFull(err):
		return fmt.Errorf("%w (`sealrt rmi` removes images; --root chooses the place)", disk.Full(root, err))
	case errors.Is(err, syscall.EFBIG):
		return fmt.Errorf("%w: `ulimit -f` or the file system limits how big a file may be: raise that, or choose another place with --root", err)
	case errors.Is(err, syscall.ENOLCK), errors.Is(err, syscall.ENOSYS), errors.Is(err, syscall.EOPNOTSUPP):
		return fmt.Errorf("%w: this file system lacks what a store needs, locks among them: choose a place on a local disk with --root", err)
	}
	return err
}
