package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LockPoll is how often a lock that somebody else holds is tried again.
const LockPoll = 25 * time.Millisecond

// Lock opens path, making it when it is not there, and waits until it holds its lock: alone, or shared with
// others. Closing the file lets go; so does the end of the process, however it comes.
func Lock(ctx context.Context, path string, alone bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	return waitLock(ctx, f, alone)
}

// waitLock returns f once it holds its lock, and closes it otherwise.
func waitLock(ctx context.Context, f *os.File, alone bool) (*os.File, error) {
	t := time.NewTicker(LockPoll)
	defer t.Stop()
	for {
		ok, err := TryLock(f, alone)
		if err == nil && ok {
			return f, nil
		}
		if err == nil {
			select {
			case <-t.C:
				continue
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		}
		f.Close()
		return nil, err
	}
}

// Shared takes part in the lock at path, which it makes when it is not there. Who may only read the file takes part
// too. Where there is no file and none can be made it returns nil: nobody can change anything there either.
func Shared(ctx context.Context, path string) (*os.File, error) {
	f, err := Lock(ctx, path, false)
	if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
		return f, err
	}
	if f, err = os.Open(path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no lock is needed
	}
	if err != nil {
		return nil, err
	}
	return waitLock(ctx, f, false)
}

// TryLock takes the lock of f if nobody holds it in a way that forbids that.
func TryLock(f *os.File, alone bool) (bool, error) {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case errors.Is(err, syscall.EINTR):
		default:
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// Temp creates a file with a name of its own in dir and holds its lock.
func Temp(dir, prefix string) (*os.File, error) {
	for {
		name := filepath.Join(dir, prefix+rand.Text())
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		// Between the two calls another process may have taken the file for a dead one's and removed it.
		ok, err := TryLock(f, true)
		if err != nil {
			Discard(f)
			return nil, err
		}
		if ok && Linked(f) {
			return f, nil
		}
		f.Close()
	}
}

// Linked reports whether an open file still has a name.
func Linked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 0
}

// Discard closes and removes a temporary file; one that was renamed is only closed.
func Discard(f *os.File) {
	os.Remove(f.Name()) // the name is random: nothing else ever has it
	f.Close()
}
