package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// markerPrefix begins the names of the files in ingest/ that hold a boot id.
const markerPrefix = "boot-"

// markerSlack is how much older than its marker a blob may look and still be checked: clocks are set at boot.
const markerSlack = 10 * time.Minute

// Hold keeps everything that is added until release from being swept by another process. Without it, what a Store adds
// is safe until Close. Holds nest; release returns the error of the last sync to disk, and must be called once.
func (s *Store) Hold(ctx context.Context) (release func() error, err error) {
	if err := s.begin(ctx, true); err != nil {
		return nil, err
	}
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.users--
		if s.users > 0 {
			return nil
		}
		if s.loose {
			s.unmark()
			return nil
		}
		return s.finish()
	}, nil
}

// begin takes part in the shared lock; unless it is for a hold, which may add nothing, it says in a file that this boot
// is adding blobs.
func (s *Store) begin(ctx context.Context, hold bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		l, err := lockFile(ctx, s.path("lock"), false)
		if err != nil {
			return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
		}
		s.lock = l
	}
	if !hold && s.marker == nil {
		m, err := s.mark()
		if err != nil {
			return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
		}
		s.marker = m
	}
	if !hold && s.users == 0 {
		s.loose = true
	}
	s.users++
	return nil
}

// end is called once a blob that begin was called for is committed or given up.
func (s *Store) end(added bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users--
	s.dirty = s.dirty || added
}

// finish syncs what was added and lets go of marker and lock. s.mu is held.
func (s *Store) finish() error {
	var err error
	if s.dirty {
		if err = syncStore(s.root); err == nil {
			s.dirty = false
		}
	}
	s.unmark()
	if s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
	s.loose = false
	if err != nil {
		return fmt.Errorf("write to the store at %s: %w", s.root, err)
	}
	return nil
}

// unmark removes the marker if all that was added is safe on disk. s.mu is held, nothing is in flight.
func (s *Store) unmark() {
	if s.marker != nil && !s.dirty {
		discard(s.marker)
		s.marker = nil
	}
}

// sync makes everything that was added safe on disk.
func (s *Store) sync() error {
	s.mu.Lock()
	was := s.dirty
	s.dirty = false // before: what is committed meanwhile is not covered
	s.mu.Unlock()
	err := syncStore(s.root)
	if err != nil {
		s.mu.Lock()
		s.dirty = s.dirty || was
		s.mu.Unlock()
	}
	return err
}

// mark writes the boot id to a file of its own, synced, so that after a power cut it is known which blobs to distrust.
func (s *Store) mark() (*os.File, error) {
	f, err := lockTemp(s.path("ingest"), markerPrefix)
	if err != nil {
		return nil, err
	}
	id, err := bootID()
	if err == nil {
		_, err = f.WriteString(id)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(s.path("ingest"))
	}
	if err != nil {
		discard(f)
		return nil, err
	}
	return f, nil
}

// temp creates a file in ingest/ that is locked while this process lives, so that others leave it alone.
func (s *Store) temp() (*os.File, error) { return lockTemp(s.path("ingest"), "blob-") }

// discard closes and removes a temporary file; renamed ones are only closed.
func discard(f *os.File) {
	os.Remove(f.Name()) // the name is random: nothing else ever has it
	f.Close()
}

// recover removes what dead processes left in ingest/, but for what the next one can go on with. A marker of another boot makes it check the blobs that were
// written since.
func (s *Store) recover() error {
	entries, err := os.ReadDir(s.path("ingest"))
	if errors.Is(err, fs.ErrPermission) {
		return nil // somebody else's store: it is theirs to tidy
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if s.isFresh(e) {
			continue
		}
		if err := s.reap(s.path("ingest/"+e.Name()), strings.HasPrefix(e.Name(), markerPrefix)); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) reap(path string, marker bool) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil // gone, or not ours
	}
	defer f.Close()
	if ok, err := tryLock(f, true); err != nil || !ok {
		return nil // its process lives
	}
	if marker {
		if err := s.verifySince(f); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// verifySince hashes the blobs younger than a marker that another boot of this machine left, and removes bad ones.
func (s *Store) verifySince(marker *os.File) error {
	b, err := io.ReadAll(io.LimitReader(marker, 128))
	if err != nil {
		return err
	}
	if id, err := bootID(); err == nil && string(b) == id {
		return nil // the process died, the machine did not: what was renamed into place is whole
	}
	fi, err := marker.Stat()
	if err != nil {
		return err
	}
	since := fi.ModTime().Add(-markerSlack)
	dir := s.path("blobs/sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.ModTime().Before(since) {
			continue
		}
		if err := removeIfBad(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return syncStore(s.root)
}

func removeIfBad(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) == filepath.Base(path) {
		return nil
	}
	return os.Remove(path)
}
