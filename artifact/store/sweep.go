package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
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
	return s.sweepAlone(ctx, clear, func(v1.Hash) bool { return false })
}

// SweepBut is Sweep that leaves the blobs for which keep says so, too.
func (s *Store) SweepBut(ctx context.Context, keep func(v1.Hash) bool) (freed int64, err error) {
	return s.sweepAlone(ctx, func() (int64, error) { return 0, nil }, keep)
}

func (s *Store) sweepAlone(ctx context.Context, clear func() (freed int64, err error), keep func(v1.Hash) bool) (freed int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		return 0, fmt.Errorf("sweep the store at %s: %w: this process is adding to it", s.root, artifact.ErrBusy)
	}
	if err := s.finish(); err != nil {
		return 0, err
	}
	l, err := os.OpenFile(s.path("lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	defer l.Close()
	if ok, err := disk.TryLock(l, true); err != nil {
		return 0, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	} else if !ok {
		return 0, fmt.Errorf("sweep the store at %s: %w: %s at work in it: try again when that has ended", s.root, artifact.ErrBusy, s.busy())
	}
	cleared, err := clear()
	if err != nil {
		return cleared, fmt.Errorf("sweep the store at %s: %w", s.root, err)
	}
	swept, err := s.sweep(ctx, keep)
	if err != nil {
		err = fmt.Errorf("sweep the store at %s: %w", s.root, hint(s.root, err))
	}
	return cleared + swept, err
}

// busy says who is at work in the store.
func (s *Store) busy() string {
	switch who := lockHolders(s.path("lock")); len(who) {
	case 0:
		return "another sealrt is"
	case 1:
		return who[0] + " is"
	default:
		return strings.Join(who, ", ") + " are"
	}
}

// sweep does the work of Sweep; the store's lock is held alone.
func (s *Store) sweep(ctx context.Context, keep func(v1.Hash) bool) (freed int64, err error) {
	list, err := s.garbage(ctx, Without{})
	if err != nil {
		return 0, err
	}
	list = slices.DeleteFunc(list, func(g Garbage) bool {
		h, err := v1.NewHash(g.Name)
		return g.Kind == GarbageBlob && err == nil && keep(h)
	})
	if err := s.forget(ctx, list); err != nil {
		return 0, err
	}
	return s.collect(ctx, list)
}

// reachable returns the blobs that an index, and the records of HeldRecords that are not dropped, reach. A
// manifest that cannot be read is an error: what it points at is not known to be garbage.
func (s *Store) reachable(ctx context.Context, idx *artifact.Index, dropped func(key string) bool) (map[v1.Hash]bool, error) {
	keep := map[v1.Hash]bool{}
	if err := s.held(keep, dropped); err != nil {
		return nil, err
	}
	var todo []v1.Descriptor
	for _, n := range idx.Refs() {
		todo = append(todo, n.Desc)
	}
	beside, seen := attachments(idx), map[v1.Hash]bool{}
	for len(todo) > 0 {
		d := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if seen[d.Digest] {
			continue
		}
		keep[d.Digest], seen[d.Digest] = true, true // a record keeps a manifest without what that points at
		if !artifact.IsManifest(d.MediaType) {
			continue
		}
		todo = append(todo, beside[d.Digest.String()]...)
		raw, err := artifact.ReadManifest(ctx, s, artifact.Reference{}, d)
		if errors.Is(err, artifact.ErrNotFound) {
			continue // other platforms of a sparse index, or the user's loss already
		}
		if err != nil {
			return nil, err
		}
		list, err := artifact.Parts(d, raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", d.Digest, err)
		}
		for _, p := range list {
			todo = append(todo, p.Descriptor)
		}
	}
	return keep, nil
}

// attachments returns what is attached to manifests, by the digests of these.
func attachments(idx *artifact.Index) map[string][]v1.Descriptor {
	beside := map[string][]v1.Descriptor{}
	for subject, d := range idx.Attachments() {
		beside[subject] = append(beside[subject], d)
	}
	return beside
}

// forget removes the entries of what was attached to images that go.
func (s *Store) forget(ctx context.Context, list []Garbage) error {
	gone := map[string]bool{} // digests
	for _, g := range list {
		if g.Kind == GarbageAttached {
			gone[g.Name] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	return s.changeIndex(ctx, func(idx *artifact.Index) (bool, error) {
		return idx.Detach(gone), nil
	}, nothing) // SweepAfter has synced
}
