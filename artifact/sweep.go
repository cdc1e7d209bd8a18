package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Inventory returns the digests of all blobs in the store, sorted.
func (s *Store) Inventory(ctx context.Context) ([]v1.Hash, error) {
	entries, err := os.ReadDir(s.path("blobs/sha256"))
	if err != nil {
		return nil, fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	list := make([]v1.Hash, 0, len(entries))
	for _, e := range entries {
		if h, err := v1.NewHash("sha256:" + e.Name()); err == nil {
			list = append(list, h)
		}
	}
	return list, nil
}

// Sweep removes the blobs that no name reaches, what has come of blobs so far, and the records that lost their blob, and returns the bytes freed. It
// needs the store for itself: while another process adds to it, or this one does, the error wraps ErrBusy.
func (s *Store) Sweep(ctx context.Context) (freed int64, err error) {
	return s.SweepAfter(ctx, func() (int64, error) { return 0, nil })
}

// SweepAfter is Sweep that first calls clear, once the store is its own: nobody adds to it or builds in it from then on
// to the end. The bytes that clear frees count.
func (s *Store) SweepAfter(ctx context.Context, clear func() (freed int64, err error)) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		return 0, fmt.Errorf("sweep the store at %s: %w: this process is adding to it", s.root, ErrBusy)
	}
	if err := s.finish(); err != nil {
		return 0, err
	}
	l, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	defer l.Close()
	if ok, err := tryLock(l, true); err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	} else if !ok {
		return 0, fmt.Errorf("sweep the store at %s: %w: another sealrt is at work in it: try again when that has ended", s.root, ErrBusy)
	}
	cleared, err := clear()
	if err != nil {
		return cleared, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	}
	swept, err := s.sweep(ctx)
	if err != nil {
		err = fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	return cleared + swept, err
}

// sweep does the work of Sweep; the store's lock is held alone.
func (s *Store) sweep(ctx context.Context) (freed int64, err error) {
	keep, err := s.reachable(ctx)
	if err != nil {
		return 0, err
	}
	if freed, err = s.sweepBlobs(ctx, keep); err != nil {
		return freed, err
	}
	parts, err := s.sweepPartials()
	if err != nil {
		return freed + parts, err
	}
	return freed + parts, s.sweepRecords(ctx)
}

// reachable returns the blobs that the names in the store, and the records of HeldRecords, reach. A manifest that cannot be read is an error: what it
// points at is not known to be garbage.
func (s *Store) reachable(ctx context.Context) (map[v1.Hash]bool, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	keep := map[v1.Hash]bool{}
	if err := s.held(keep); err != nil {
		return nil, err
	}
	todo := idx.Manifests
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if keep[d.Digest] {
			continue
		}
		keep[d.Digest] = true
		if !isManifest(d.MediaType) {
			continue
		}
		raw, err := ReadManifest(ctx, s, Reference{}, d)
		if errors.Is(err, ErrNotFound) {
			continue // other platforms of a sparse index, or the user's loss already
		}
		if err != nil {
			return nil, err
		}
		list, err := parts(d, raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		for _, p := range list {
			todo = append(todo, p.Descriptor)
		}
	}
	return keep, nil
}

func (s *Store) sweepBlobs(ctx context.Context, keep map[v1.Hash]bool) (freed int64, err error) {
	dir := s.path("blobs/sha256")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return freed, context.Cause(ctx)
		}
		if keep[v1.Hash{Algorithm: "sha256", Hex: e.Name()}] || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return freed, err
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return freed, err
		}
		freed += fi.Size()
	}
	return freed, nil
}
