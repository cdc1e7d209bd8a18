package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact/disk"
)

// Recovered says what Open did because the machine went down while blobs were added.
type Recovered struct {
	Checked int // blobs that were read again
	Removed int // those of them whose content was lost
}

// Recovered returns what Open did after a crash of the machine; all is zero when there was none.
func (s *Store) Recovered() Recovered { return s.recovered }

// recover removes what dead processes left in ingest/, but for what the next one can go on with. A marker of another
// boot has it check the blobs that were written since.
func (s *Store) recover() error {
	entries, err := os.ReadDir(s.path("ingest"))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		return nil // somebody else's store, or one that cannot be written: theirs to tidy
	}
	if err != nil {
		return err
	}
	crashed := false
	for _, e := range entries {
		path := s.path("ingest/" + e.Name())
		switch {
		case s.isFresh(e):
		case strings.HasPrefix(e.Name(), markerPrefix) && ofAnotherBoot(path):
			crashed = true
		case strings.HasPrefix(e.Name(), markerPrefix):
			if err := s.reap(path, s.syncAll); err != nil { // or a power cut from now on would go unnoticed
				return err
			}
		default:
			if err := s.reap(path, nothing); err != nil {
				return err
			}
		}
	}
	if !crashed {
		return nil
	}
	return s.recoverCrash()
}

// recoverCrash checks the blobs younger than the markers that another boot of this machine left, and removes bad ones.
// Meanwhile no process opens this store, as all of them would find the markers and come here.
func (s *Store) recoverCrash() error {
	l, err := os.OpenFile(s.path("index.lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return nil // whoever can write here does it
	}
	if err != nil {
		return err
	}
	defer l.Close()
	if err := lockNow(l); err != nil {
		return err
	}
	markers, since, err := s.deadMarkers()
	defer func() {
		for _, m := range markers {
			m.Close()
		}
	}()
	if err != nil || len(markers) == 0 {
		return err // another process was here first, or the markers are those of another machine that shares the store
	}
	if err := s.verifySince(since); err != nil {
		return err
	}
	for _, m := range markers {
		if err := os.Remove(m.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// lockNow waits for the lock of f. Only the end of its holder, which is busy with the same store, ends that.
func lockNow(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if err == nil {
			return nil
		}
		if !errors.Is(err, syscall.EINTR) {
			return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// deadMarkers returns the markers of other boots whose process is dead, open and locked, and the time from which on
// blobs are not to be trusted.
func (s *Store) deadMarkers() (markers []*os.File, since time.Time, err error) {
	entries, err := os.ReadDir(s.path("ingest"))
	if err != nil {
		return nil, time.Time{}, err
	}
	now, all := time.Now(), false
	since = now
	for _, e := range entries {
		path := s.path("ingest/" + e.Name())
		if !strings.HasPrefix(e.Name(), markerPrefix) || !ofAnotherBoot(path) {
			continue
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // gone, or not ours
		}
		fi, err := f.Stat()
		if ok, lerr := disk.TryLock(f, true); err != nil || lerr != nil || !ok {
			f.Close()
			continue
		}
		markers = append(markers, f)
		if from := fi.ModTime().Add(-markerSlack); from.Before(since) {
			since = from
		}
		all = all || fi.ModTime().After(now) // the clock was set back: times tell nothing
	}
	if all {
		since = time.Time{}
	}
	return markers, since, nil
}

// ofAnotherBoot reports whether a marker is of another boot. One that is empty was cut off before anything was added.
func ofAnotherBoot(path string) bool {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false // gone, or not ours
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 128))
	if err != nil {
		return true
	}
	id, err := bootID()
	// Of this boot: the process died, the machine did not, and what was renamed into place is whole.
	return len(b) > 0 && (err != nil || string(b) != id)
}

// reap removes a file of ingest/ whose process is dead, once before was done.
func (s *Store) reap(path string, before func() error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil // gone, or not ours
	}
	defer f.Close()
	if ok, err := disk.TryLock(f, true); err != nil || !ok {
		return nil // its process lives
	}
	if err := before(); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// verifySince hashes the blobs that are younger than since and removes bad ones. No name in index.json reaches those: it
// was replaced after they were safe on disk.
func (s *Store) verifySince(since time.Time) error {
	blobs, _, err := s.listBlobs()
	if err != nil {
		return err
	}
	var young []blobFile
	for _, b := range blobs {
		if !b.changed.Before(since) {
			young = append(young, b)
		}
	}
	damaged, err := s.hashAll(young, 0, func(int64) error { return nil })
	if err != nil {
		return err
	}
	for _, d := range damaged {
		if _, err := s.removeDamaged(d); err != nil {
			return fmt.Errorf("remove %s, whose content a crash of the machine destroyed: %w", s.BlobPath(d.digest), err)
		}
	}
	s.recovered = Recovered{Checked: len(young), Removed: len(damaged)}
	return syncStore(s.root)
}
