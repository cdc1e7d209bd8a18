package store

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// during is a Sink that calls do when the first blob comes.
type during struct {
	artifact.Sink
	do   func()
	once sync.Once
}

func (d *during) Put(ctx context.Context, ref artifact.Reference, desc v1.Descriptor, open artifact.OpenFunc) error {
	d.once.Do(d.do)
	return d.Sink.Put(ctx, ref, desc, open)
}

func TestWhatIsReadIsNotSwept(t *testing.T) {
	s := newStore(t)
	ref, _ := artifacttest.Tagged(t, s)
	artifacttest.Check(t, s.Close())
	reader, other := openStore(t, s.Root()), openStore(t, s.Root())
	to := newStore(t)
	artifacttest.CopyImage(t, &during{Sink: to, do: func() {
		artifacttest.Check(t, other.Untag(t.Context(), ref))
		if _, err := other.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
			t.Errorf("sweep while another reads: %v", err)
		}
	}}, ref, reader, ref)
	artifacttest.RequireWholeStore(t, to, ref)
	if _, err := other.Sweep(t.Context()); err != nil {
		t.Errorf("sweep after that: %v", err)
	}
	if inv, err := other.Inventory(t.Context()); err != nil || len(inv) != 0 {
		t.Errorf("left: %v, %v", inv, err)
	}
}

func TestBusyStoreSaysWhoIsAtWork(t *testing.T) {
	s := newStore(t)
	other := openStore(t, s.Root())
	release, err := s.Hold(t.Context())
	artifacttest.Check(t, err)
	if len(lockHolders(s.path("lock"))) == 0 {
		t.Skip("this system does not tell who has a lock")
	}
	again, err := openStore(t, s.Root()).Hold(t.Context())
	artifacttest.Check(t, err)
	_, err = other.Sweep(t.Context())
	artifacttest.WantError(t, err, "busy: this process is at work in it")
	artifacttest.Check(t, errors.Join(release(), again()))
	if who := lockHolders(s.path("lock")); len(who) != 0 {
		t.Errorf("after the release: %v", who)
	}
}

// readOnly takes from this user the right to write to a store, as far as it is held to that.
func readOnly(t *testing.T, s *Store) {
	t.Helper()
	artifacttest.Check(t, s.Close())
	dirs := []string{"blobs/sha256", "blobs", "ingest", "cache", "."}
	files := []string{"lock", "index.lock", "index.json"}
	for _, name := range files {
		artifacttest.Check(t, os.Chmod(s.path(name), 0o444))
	}
	for _, name := range dirs {
		artifacttest.Check(t, os.Chmod(s.path(name), 0o555))
	}
	t.Cleanup(func() {
		for _, name := range dirs {
			os.Chmod(s.path(name), 0o755)
		}
	})
}

func TestStoreThatOthersOwnCanBeReadAndHeld(t *testing.T) {
	s := newStore(t)
	ref, _ := artifacttest.Tagged(t, s)
	readOnly(t, s)
	reader := openStore(t, s.Root())
	release, err := reader.Hold(t.Context())
	artifacttest.Check(t, err)
	if os.Geteuid() != 0 { // root may write
		_, err = reader.PutBytes(t.Context(), "text/plain", []byte("x"))
		artifacttest.WantError(t, err, "permission denied", "run as root", "--root")
		artifacttest.WantError(t, reader.Untag(t.Context(), ref), "permission denied", "run as root")
	}
	owner := openStore(t, s.Root())
	if os.Geteuid() == 0 {
		if _, err := owner.Sweep(t.Context()); !errors.Is(err, artifact.ErrBusy) {
			t.Errorf("sweep while a reader holds: %v", err)
		}
	}
	artifacttest.Check(t, release())
	v, err := reader.Verify(t.Context(), VerifyOptions{})
	if err != nil || v.Images != 1 || len(v.Problems) != 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	artifacttest.CopyImage(t, newStore(t), ref, reader, ref)
}

func TestLayoutOfAnotherProgramCanBeRead(t *testing.T) {
	s := newStore(t)
	ref, _ := artifacttest.Tagged(t, s)
	artifacttest.Check(t, s.Close())
	for _, name := range []string{"lock", "index.lock", "index.spare", "ingest", "cache"} {
		artifacttest.Check(t, os.RemoveAll(s.path(name)))
	}
	artifacttest.Check(t, os.Chmod(s.Root(), 0o555))
	t.Cleanup(func() { os.Chmod(s.Root(), 0o755) })
	reader := openStore(t, s.Root())
	v, err := reader.Verify(t.Context(), VerifyOptions{})
	if err != nil || v.Images != 1 || len(v.Problems) != 0 {
		t.Errorf("verify: %+v, %v", v, err)
	}
	artifacttest.CopyImage(t, newStore(t), ref, reader, ref)
}

func TestIndexHasRoomOnAFullDisk(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	artifacttest.Check(t, s.Tag(t.Context(), artifacttest.MustRef(t, "k3s:v2"), d))
	spare, err := os.Stat(s.path(spareName))
	artifacttest.Check(t, err)
	idx, err := s.readIndex()
	artifacttest.Check(t, err)
	b, err := idx.Format()
	artifacttest.Check(t, err)
	if spare.Size() < int64(len(b)) {
		t.Fatalf("the spare has %d bytes, the index %d", spare.Size(), len(b))
	}
	smaller := &artifact.Index{IndexManifest: v1.IndexManifest{Manifests: idx.Manifests[:1]}}
	b, err = smaller.Format()
	artifacttest.Check(t, err)
	artifacttest.Check(t, s.useSpare(b, nothing))
	refs, err := s.Refs(t.Context())
	if err != nil || len(refs) != 1 || refs[0].Ref != ref {
		t.Errorf("names: %v, %v", refs, err)
	}
	if again, err := os.Stat(s.path(spareName)); err == nil && again.Size() < int64(len(b)) { // what was the index, where files can be exchanged
		t.Errorf("the spare has %d bytes only", again.Size())
	}
	artifacttest.Check(t, s.Tag(t.Context(), artifacttest.MustRef(t, "k3s:v3"), d))
	if _, err := os.Stat(s.path(spareName)); err != nil {
		t.Errorf("there is no spare again: %v", err)
	}
}

func TestIndexIsParsedOnceWhileItIsTheSame(t *testing.T) {
	s := newStore(t)
	_, d := artifacttest.Tagged(t, s)
	one, err := s.readIndex()
	artifacttest.Check(t, err)
	if again, err := s.readIndex(); err != nil || again != one {
		t.Errorf("it was parsed again: %v", err)
	}
	artifacttest.Check(t, openStore(t, s.Root()).Tag(t.Context(), artifacttest.MustRef(t, "another:v1"), d))
	if refs, err := s.Refs(t.Context()); err != nil || len(refs) != 2 {
		t.Errorf("what another process tagged is not seen: %v, %v", refs, err)
	}
}

func TestGarbageIsWhatSweepRemoves(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	old, err := s.PutBytes(t.Context(), "text/plain", []byte("nobody wants me"))
	artifacttest.Check(t, err)
	artifacttest.Check(t, s.CachePut("build/x", []byte(`{"digest":"`+old.Digest.String()+`"}`)))
	artifacttest.Check(t, s.CachePut("held/y", []byte(`{"digest":"`+d.Digest.String()+`"}`)))
	artifacttest.Check(t, os.WriteFile(s.path("ingest/"+keptPrefix+"z"), []byte("begun"), 0o600))
	kinds := func(gone Without) (kinds []string, size int64) {
		t.Helper()
		list, err := s.Garbage(t.Context(), gone)
		artifacttest.Check(t, err)
		for _, g := range list {
			kinds, size = append(kinds, g.Kind), size+g.Size
		}
		return kinds, size
	}
	if got, _ := kinds(Without{Names: []artifact.Reference{ref}}); strings.Join(got, " ") != "blob blob blob blob partial record" {
		t.Errorf("without the name, all but what a build holds goes: %v", got)
	}
	if got, _ := kinds(Without{Names: []artifact.Reference{ref}, Records: []string{"held"}}); strings.Join(got, " ") != "blob blob blob blob blob partial record record" {
		t.Errorf("without all: %v", got)
	}
	_, size := kinds(Without{})
	freed, err := s.Sweep(t.Context())
	if err != nil || freed != size {
		t.Errorf("announced %d, freed %d, %v", size, freed, err)
	}
	if got, _ := kinds(Without{}); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	artifacttest.RequireWholeStore(t, s, ref)
}
