package mount

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/sealrt/sealrt/artifact/disk"
)

// alone calls do while no other process mounts, unmounts or prunes in the store. What such a one left when it was killed
// is removed before.
func (m *Mounts) alone(ctx context.Context, do func() error) error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return notOurs(err)
	}
	f, err := disk.Lock(ctx, m.path("lock"), true)
	if err != nil {
		return notOurs(err)
	}
	defer f.Close() // lets go, as does the end of the process
	if err := m.reap(); err != nil {
		return err
	}
	return do()
}

// notOurs adds to the error of a store that this user may not use, or that nobody can write to, what to do.
func notOurs(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: run as root, or choose another place with --root", err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: choose another place with --root", err)
	}
	return err
}

// full adds to the error of a disk that is full what to do.
func full(dir string, err error) error {
	if disk.IsFull(err) {
		return fmt.Errorf("%w: free space where %s lies (`sealrt prune` removes unpacked layers that nobody uses), or choose another place with --root", err, dir)
	}
	return err
}
