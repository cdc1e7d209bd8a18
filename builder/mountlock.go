package builder

import (
	"context"
	"os"
	"syscall"
	"time"
)

// waitLock locks f, which somebody else has locked. flock cannot be interrupted, so it is asked again and again.
func waitLock(ctx context.Context, f *os.File, how int) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); err != syscall.EWOULDBLOCK {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
