package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// claimPrefix begins the names of the files in ingest/ that say that a process is making a blob.
const claimPrefix = "claim-"

const (
	// claimFrom is the size in bytes from which on a blob is worth waiting for while another process fetches it.
	claimFrom = 64 << 10
	// claimStall is how long a claim counts while nothing more comes of its blob.
	claimStall = 30 * time.Second
)

// claimNote is what the user is told while another process has a claim.
const claimNote = "another sealrt is fetching the same: waiting for it"

// Claim keeps other processes, and other callers in this one, from making what is made under a key of ResumeBlob until
// release is called, which must be done once; the end of the process releases too. When somebody has the claim already,
// Claim tells note so, waits, and the caller asks again then whether there is anything left to do. A claim is waited for
// as long as the bytes under its key become more; after that, or where claims cannot be had, release does nothing: the
// claim saves work and protects nothing.
//
// Whoever has a claim must not wait for somebody who may wait for a claim.
func (s *Store) Claim(ctx context.Context, key string, note func(text string)) (release func(), err error) {
	return s.claim(ctx, key, note, pace{1, claimStall})
}

// pace is how many bytes have to come in which time for a claim of another to count.
type pace struct {
	least int64
	per   time.Duration
}

// claim is Claim for whoever is content with a pace.
func (s *Store) claim(ctx context.Context, key string, note func(text string), p pace) (release func(), err error) {
	if key == "" || key != filepath.Base(key) {
		return nil, fmt.Errorf("key %q is no file name", key)
	}
	if s.stall > 0 {
		p.per = s.stall
	}
	since, size, told := time.Now(), s.KeptSize(key), note == nil
	t := time.NewTicker(disk.LockPoll)
	defer t.Stop()
	for {
		f, taken, err := tryClaim(s.path("ingest/" + claimPrefix + key))
		if err != nil {
			return nil, fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
		}
		if f != nil {
			return func() { disk.Discard(f) }, nil
		}
		if taken && !told {
			told = true
			note(claimNote)
		}
		if n := s.KeptSize(key); n >= size+p.least || n < size {
			size, since = n, time.Now()
		}
		if time.Since(since) > p.per {
			return func() {}, nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// tryClaim makes and locks the file at path. It returns nil while another process has it, or has just given it up.
func tryClaim(path string) (f *os.File, taken bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, err
	}
	ok, err := disk.TryLock(f, true)
	if err == nil && ok && disk.Linked(f) {
		return f, true, nil
	}
	f.Close()
	return nil, !ok, err
}

// claimBlob is Claim for a blob as it is; small ones come sooner than a claim is made.
func (s *Store) claimBlob(ctx context.Context, d v1.Descriptor, note func(string), p pace) (release func(), err error) {
	if d.Size < claimFrom || d.Digest.Algorithm != "sha256" {
		return func() {}, nil
	}
	release, err = s.claim(ctx, blobKey(d.Digest), note, p)
	if errors.Is(err, fs.ErrPermission) {
		return func() {}, nil // the writing itself says what is wrong
	}
	return release, err
}

// BeginBlob is NewBlob for a blob whose digest is known and whose bytes are at hand, from the first on. It returns nil
// when the store has the blob, perhaps because another process that was about to have it was waited for: only one that is
// quick is. The claim to the blob ends with Close.
func (s *Store) BeginBlob(ctx context.Context, d v1.Descriptor, note func(text string)) (*BlobWriter, error) {
	release, err := s.claimBlob(ctx, d, note, pace{quickBytes, quickTime})
	if err != nil {
		return nil, err
	}
	has, err := s.Has(ctx, artifact.Reference{}, d)
	var w *BlobWriter
	if err == nil && !has {
		w, err = s.writer(ctx, d)
	}
	if w == nil {
		release()
		return nil, err
	}
	w.release = release
	return w, nil
}

// What has to come for somebody who has the bytes at hand to wait for it all the same.
const (
	quickBytes = 8 << 20
	quickTime  = 2 * time.Second
)
