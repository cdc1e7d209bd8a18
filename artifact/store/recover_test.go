package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/disk"
)

// leaveMarker leaves what a process leaves that another boot of the machine ended, and a blob that lost its bytes.
func leaveMarker(t *testing.T, s *Store) (marker string, lost v1.Hash) {
	t.Helper()
	marker = filepath.Join(s.Root(), "ingest", "boot-x")
	artifacttest.Check(t, os.WriteFile(marker, []byte("11111111-aaaa"), 0o600))
	content := artifacttest.Noise(1, 1<<20)
	lost = artifacttest.DigestOf(content)
	artifacttest.Check(t, os.WriteFile(s.BlobPath(lost), make([]byte, len(content)), 0o644))
	return marker, lost
}

func isThere(s *Store, h v1.Hash) bool {
	_, err := os.Stat(s.BlobPath(h))
	return err == nil
}

func TestNobodyUsesAStoreBeforeItIsCheckedAfterAPowerCut(t *testing.T) {
	s := newStore(t)
	_, lost := leaveMarker(t, s)
	l, err := disk.Lock(t.Context(), s.path("index.lock"), true) // as who checks it does
	artifacttest.Check(t, err)
	opened := make(chan error, 1)
	go func() {
		second, err := Open(s.Root())
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	for tick := time.NewTicker(time.Millisecond); openFiles(t, l.Name()) < 2; <-tick.C { // until it wants the lock too
		select {
		case err := <-opened:
			t.Fatalf("a second process opened the store while the first checked it: %v", err)
		default:
		}
	}
	artifacttest.Check(t, l.Close())
	artifacttest.Check(t, <-opened)
	if isThere(s, lost) {
		t.Error("the blob that lost its bytes is there")
	}
	if r := openStore(t, s.Root()).Recovered(); r != (Recovered{}) {
		t.Errorf("the store was checked again: %+v", r)
	}
}

// openFiles counts how often this process has a file open.
func openFiles(t *testing.T, name string) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(links) == 0 {
		t.Skip("this system does not tell which files are open")
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == name {
			n++
		}
	}
	return n
}

func TestMarkerOfALivingProcessElsewhereIsLeftAlone(t *testing.T) {
	s := newStore(t)
	marker, lost := leaveMarker(t, s)
	f, err := os.OpenFile(marker, os.O_RDWR, 0)
	artifacttest.Check(t, err)
	defer f.Close()
	if ok, err := disk.TryLock(f, true); err != nil || !ok { // as on another machine that shares the disk
		t.Fatal(ok, err)
	}
	openStore(t, s.Root())
	if !isThere(s, lost) || len(artifacttest.Ingest(t, s)) != 1 {
		t.Error("the work of another machine was taken for that of a crash")
	}
}

func TestClockThatWasSetBackHidesNothing(t *testing.T) {
	t.Run("before the crash was found", func(t *testing.T) {
		s := newStore(t)
		marker, lost := leaveMarker(t, s)
		future, past := time.Now().Add(24*time.Hour), time.Now().Add(-24*time.Hour)
		artifacttest.Check(t, os.Chtimes(marker, future, future))
		artifacttest.Check(t, os.Chtimes(s.BlobPath(lost), past, past))
		if r := openStore(t, s.Root()).Recovered(); isThere(s, lost) || r.Checked != 1 || r.Removed != 1 {
			t.Errorf("checked: %+v", r)
		}
	})
	t.Run("while blobs were added", func(t *testing.T) {
		s := newStore(t)
		_, err := s.PutBytes(t.Context(), "text/plain", []byte("one"))
		artifacttest.Check(t, err)
		s.marked = time.Now().Add(24 * time.Hour)
		artifacttest.Check(t, os.Chtimes(s.marker.Name(), s.marked, s.marked))
		_, err = s.PutBytes(t.Context(), "text/plain", []byte("two"))
		artifacttest.Check(t, err)
		fi, err := os.Stat(s.marker.Name())
		artifacttest.Check(t, err)
		if fi.ModTime().After(time.Now()) {
			t.Error("the marker looks younger than the blob")
		}
	})
}

// TestMarkerOfTheKilledGoesAfterASync: a process was killed, the machine runs on; if it stops later, what the process
// added must not look safe.
func TestMarkerOfTheKilledGoesAfterASync(t *testing.T) {
	s := newStore(t)
	marker := filepath.Join(s.Root(), "ingest", "boot-x")
	id, err := bootID()
	artifacttest.Check(t, err)
	artifacttest.Check(t, os.WriteFile(marker, []byte(id), 0o600))
	if s.settled() {
		t.Error("what a killed process added counts as safe on disk")
	}
	failed := errors.New("the disk does not sync")
	if err := s.reap(marker, func() error { return failed }); !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
	if s.settled() {
		t.Error("the marker is gone although nothing was synced")
	}
	if openStore(t, s.Root()); !s.settled() {
		t.Error("the marker stays for good")
	}
}
