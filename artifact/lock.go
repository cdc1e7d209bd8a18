package artifact

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that somebody else holds is tried again.
const lockPoll = 25 * time.Millisecond

// lockFile opens path, making it when it is not there, and waits until it holds its lock: alone, or shared with
// others. Closing the file lets go; so does the end of the process, however it comes.
func lockFile(ctx context.Context, path string, alone bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	t := time.NewTicker(lockPoll)
	defer t.Stop()
	for {
		ok, err := tryLock(f, alone)
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

// tryLock takes the lock of f if nobody holds it in a way that forbids that.
func tryLock(f *os.File, alone bool) (bool, error) {
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

// lockTemp creates a file with a name of its own in dir and holds its lock.
func lockTemp(dir, prefix string) (*os.File, error) {
	for {
		name := filepath.Join(dir, prefix+rand.Text())
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return nil, err
		}
		// Between the two calls another process may have taken the file for a dead one's and removed it.
		ok, err := tryLock(f, true)
		if err != nil {
			discard(f)
			return nil, err
		}
		if ok && linked(f) {
			return f, nil
		}
		f.Close()
	}
}

func linked(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Nlink > 0
}
