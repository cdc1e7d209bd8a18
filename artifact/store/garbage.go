package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
)

// Kinds of Garbage.
const (
	GarbageBlob     = "blob"     // no name reaches it
	GarbagePartial  = "partial"  // what has come of a blob
	GarbageRecord   = "record"   // of the cache, about a blob that is gone
	GarbageAttached = "attached" // signs or describes an image that is gone
)

// Garbage is one thing that Sweep removes.
type Garbage struct {
	Kind string `json:"kind"`
	Name string `json:"name"` // a digest, or a path in the store
	Size int64  `json:"size"` // bytes that become free
}

// Without says what Garbage takes for gone already.
type Without struct {
	Names   []artifact.Reference // of images
	Records []string             // prefixes of keys, as CacheDrop takes them
}

// Garbage lists what Sweep would remove now, if what gone says were gone. While others add to the store that is their
// work too.
func (s *Store) Garbage(ctx context.Context, gone Without) ([]Garbage, error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	list, err := s.garbage(ctx, gone)
	if err != nil {
		err = fmt.Errorf("read the store at %s: %w", s.root, err)
	}
	return list, errors.Join(err, release())
}

// garbage does the work of Garbage, for Sweep too.
func (s *Store) garbage(ctx context.Context, gone Without) ([]Garbage, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	left := idx.Without(gone.Names)
	dropped := func(key string) bool {
		return slices.ContainsFunc(gone.Records, func(prefix string) bool { return key == prefix || strings.HasPrefix(key, prefix+"/") })
	}
	keep, err := s.reachable(ctx, left, dropped)
	if err != nil {
		return nil, err
	}
	var list []Garbage
	for _, d := range left.Attachments() {
		if !keep[d.Digest] {
			list = append(list, Garbage{Kind: GarbageAttached, Name: d.Digest.String()})
		}
	}
	blobs, _, err := s.listBlobs()
	if err != nil {
		return nil, err
	}
	for _, b := range blobs {
		if !keep[b.digest] {
			list = append(list, Garbage{GarbageBlob, b.digest.String(), b.size})
		}
	}
	partials, err := s.listPartials()
	if err != nil {
		return nil, err
	}
	records, err := s.lostRecords(ctx, keep, dropped)
	return slices.Concat(list, partials, records), err
}

// collect removes garbage and returns the bytes freed.
func (s *Store) collect(ctx context.Context, list []Garbage) (freed int64, err error) {
	for _, g := range list {
		if ctx.Err() != nil {
			return freed, context.Cause(ctx)
		}
		path := s.path(g.Name)
		switch g.Kind {
		case GarbageAttached:
			continue // forget has removed it
		case GarbagePartial:
			err = s.reap(path, nothing)
		case GarbageBlob:
			path = filepath.Join(s.path("blobs"), strings.Replace(g.Name, ":", "/", 1))
			err = os.Remove(path)
		default:
			err = os.Remove(path)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return freed, err
		}
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			freed += g.Size
		}
	}
	return freed, nil
}
