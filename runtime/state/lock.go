package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// BusyError says that somebody else works on the cluster.
type BusyError struct {
	Cluster string
	Master  string // that the lock is on; "": this machine
	Holder  Holder
	Heard   time.Duration // since a master heard of that one
}

func (e *BusyError) Error() string {
	text := fmt.Sprintf("cluster %s: another sealrt is working on it: %s", e.Cluster, e.Holder)
	if e.Master != "" {
		text += fmt.Sprintf("; master %s heard of it %s ago", e.Master, e.Heard)
	}
	text += ": wait for its end"
	if e.Holder.PID != 0 {
		text += fmt.Sprintf(", or end it there (kill %d): the same command goes on where it stopped", e.Holder.PID)
	}
	if e.Master != "" {
		text += fmt.Sprintf("; one that is dead is let go after %s", Patience)
	}
	return text
}

// lockDir takes the lock of a directory: one that the end of its holder
// releases, however it ends. It returns nil when another process has it.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockFile)
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, f.Close()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), f.Close())
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// who removed the directory had the lock: a new one is another file
		if there, err := os.Stat(name); err == nil && os.SameFile(held, there) {
			return f, nil
		}
		f.Close()
	}
}

// sign writes down who has the lock of a directory, for others to see. The lock
// does not hang on it.
func sign(dir string, h Holder) error {
	raw, err := json.Marshal(h)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, holderFile), raw, 0o600)
}

// signed reads who has the lock of a directory, and how long ago that one was
// heard of.
func signed(dir string) (Holder, time.Duration) {
	h := Holder{}
	name := filepath.Join(dir, holderFile)
	raw, err := os.ReadFile(name)
	if err != nil || json.Unmarshal(raw, &h) != nil {
		return Holder{}, 0
	}
	info, err := os.Stat(name)
	if err != nil {
		return h, 0
	}
	return h, time.Since(info.ModTime()).Round(time.Second)
}
