package store

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/artifact/disk"
)

// markerPrefix begins the names of the files in ingest/ that hold a boot id.
const markerPrefix = "boot-"

// markerSlack is how much older than its marker a blob may look and still be checked: clocks are set at boot.
const markerSlack = 10 * time.Minute

// Hold keeps everything that is there, and that is added until release, from being swept by another process. Who may
// only read the store can hold it too. Without a hold, what a Store adds is safe until Close. Holds nest; release returns
// the error of the last sync to disk, and must be called once. Close ends all holds.
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
		l, err := disk.Shared(ctx, s.path("lock"))
		if err != nil {
			return fmt.Errorf("lock the store at %s: %w", s.root, hint(s.root, err))
		}
		s.lock = l
	}
	if !hold && s.marker == nil {
		m, err := s.mark()
		if err != nil {
			return fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
		}
		s.marker, s.marked = m, time.Now()
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
		if err = s.syncAll(); err == nil {
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
		disk.Discard(s.marker)
		s.marker = nil
	}
}

// sync makes everything that was added safe on disk, by other processes too.
func (s *Store) sync() error {
	s.mu.Lock()
	was := s.dirty
	s.dirty = false // before: what is committed meanwhile is not covered
	s.mu.Unlock()
	if !was && s.settled() {
		return nil
	}
	err := s.syncAll()
	if err != nil {
		s.mu.Lock()
		s.dirty = s.dirty || was
		s.mu.Unlock()
	}
	return err
}

// settled reports whether all that is in the store is safe on disk: every process that adds has a marker until then.
func (s *Store) settled() bool {
	entries, err := os.ReadDir(s.path("ingest"))
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), markerPrefix) })
}

// syncAll makes what was renamed into place safe on disk.
func (s *Store) syncAll() error {
	err := syncStore(s.root)
	if err == nil && s.eachSynced {
		err = syncDir(s.path("blobs/sha256"))
	}
	return err
}

// mark writes the boot id to a file of its own, synced, so that after a power cut it is known which blobs to distrust.
func (s *Store) mark() (*os.File, error) {
	f, err := disk.Temp(s.path("ingest"), markerPrefix)
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
		disk.Discard(f)
		return nil, err
	}
	return f, nil
}

// cover keeps the marker from looking younger than what is added: the clock was perhaps set back since.
func (s *Store) cover() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Round(0) // without the monotonic clock, which is never set
	if s.marker == nil || now.After(s.marked.Round(0).Add(-markerSlack/2)) {
		return nil
	}
	if err := os.Chtimes(s.marker.Name(), now, now); err != nil {
		return err
	}
	s.marked = now
	return s.marker.Sync()
}

// temp creates a file in ingest/ that is locked while this process lives, so that others leave it alone.
func (s *Store) temp() (*os.File, error) { return disk.Temp(s.path("ingest"), "blob-") }
