package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// VerifyOptions says how Verify works; the zero value is usable.
type VerifyOptions struct {
	Jobs    int                     // blobs at a time; 0 means one a core
	Repair  bool                    // remove what is damaged
	Observe func(done, total int64) // bytes read so far, and in all; called one at a time; may be nil
}

// Kinds of Problem.
const (
	ProblemDamaged    = "damaged"    // a blob, or a record of the cache, is not what it should be
	ProblemUnreadable = "unreadable" // a blob cannot be opened: what it holds is not known
	ProblemMissing    = "missing"    // an image lacks a blob
	ProblemForeign    = "foreign"    // a file among the blobs that is none
	ProblemIndex      = "index"      // index.json cannot be read
)

// Problem is one thing that is wrong with a store.
type Problem struct {
	Kind    string   `json:"kind"`
	What    string   `json:"what"` // a digest, or a path in the store
	Part    string   `json:"part,omitempty"`
	Images  []string `json:"images,omitempty"` // that need it
	Cause   string   `json:"cause,omitempty"`
	Removed bool     `json:"removed,omitempty"`
}

// Verified is what Verify found.
type Verified struct {
	Images       int       `json:"images"` // names
	Blobs        int       `json:"blobs"`
	Bytes        int64     `json:"bytes"`        // of these blobs
	Unreferenced int       `json:"unreferenced"` // blobs that no name and no build needs
	Unneeded     int64     `json:"unneededBytes"`
	Records      int       `json:"records"`  // of the cache
	Partials     int       `json:"partials"` // beginnings of blobs, which the next pull goes on with
	PartialBytes int64     `json:"partialBytes"`
	Problems     []Problem `json:"problems"`
}

// Verify reads every blob and compares it with its name, looks whether every image has what it needs, and reads the
// records of the cache. Others may use the store meanwhile. What is wrong is no error but a Problem; with Repair, blobs
// and records that are damaged are removed, so that a pull or load brings them again, and nothing else is.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (v *Verified, err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	c := &verification{s: s, o: o, v: &Verified{Problems: []Problem{}}}
	for _, look := range []func(context.Context) error{c.blobs, c.images, c.records, c.partials} {
		if err := look(ctx); err != nil {
			return nil, fmt.Errorf("verify the store at %s: %w", s.root, hint(s.root, err))
		}
	}
	if o.Repair {
		if err := c.repair(); err != nil {
			return c.v, fmt.Errorf("repair the store at %s: %w", s.root, hint(s.root, err))
		}
	}
	return c.v, nil
}

// verification is one Verify under way.
type verification struct {
	s       *Store
	o       VerifyOptions
	v       *Verified
	there   map[v1.Hash]int64 // sizes of the blobs that are there
	damaged map[v1.Hash]damagedFile
}

func (c *verification) tell(p Problem) { c.v.Problems = append(c.v.Problems, p) }

// blobs reads all blobs.
func (c *verification) blobs(ctx context.Context) error {
	blobs, others, err := c.s.listBlobs()
	if err != nil {
		return err
	}
	c.there, c.damaged = make(map[v1.Hash]int64, len(blobs)), map[v1.Hash]damagedFile{}
	for _, b := range blobs {
		c.there[b.digest] = b.size
		c.v.Bytes += b.size
	}
	c.v.Blobs = len(blobs)
	for _, name := range others {
		c.tell(Problem{Kind: ProblemForeign, What: name, Cause: "it is no blob: no program of ours put it there"})
	}
	var mu sync.Mutex
	var done int64
	bad, err := c.s.hashAll(blobs, c.o.Jobs, func(n int64) error {
		if c.o.Observe != nil {
			mu.Lock()
			done += n
			c.o.Observe(done, max(done, c.v.Bytes))
			mu.Unlock()
		}
		return context.Cause(ctx)
	})
	for _, d := range bad {
		c.damaged[d.digest] = d
	}
	return err
}

// images looks for what each image needs, and tells of the blobs that are damaged or missing.
func (c *verification) images(ctx context.Context) error {
	idx, err := c.s.readIndex()
	if err != nil {
		c.tell(Problem{Kind: ProblemIndex, What: "index.json", Cause: err.Error()})
		idx = &artifact.Index{}
	}
	w := &wanted{c: c, keep: map[v1.Hash]bool{}, wrong: map[v1.Hash]*Problem{}, beside: attachments(idx)}
	if err := c.s.held(w.keep, func(string) bool { return false }); err != nil {
		return err
	}
	for _, n := range idx.Refs() {
		c.v.Images++
		if err := w.walk(ctx, n.Ref.Familiar(), artifact.Part{Descriptor: n.Desc, Name: "manifest"}, map[v1.Hash]bool{}, 0); err != nil {
			return err
		}
	}
	for h, size := range c.there {
		if !w.keep[h] {
			c.v.Unreferenced++
			c.v.Unneeded += size
		}
	}
	for h := range c.damaged {
		w.blame(h, "", "")
	}
	for _, p := range w.wrong {
		slices.Sort(p.Images)
		p.Images = slices.Compact(p.Images)
		c.tell(*p)
	}
	slices.SortStableFunc(c.v.Problems, func(a, b Problem) int { return strings.Compare(a.Kind+a.What, b.Kind+b.What) })
	return nil
}

// v1Hash reads a digest, the zero Hash if it is none.
func v1Hash(text string) v1.Hash {
	h, err := v1.NewHash(text)
	if err != nil {
		return v1.Hash{}
	}
	return h
}

// records reads the records of the cache.
func (c *verification) records(ctx context.Context) error {
	return c.s.walkRecords(".", func(key string, _ fs.DirEntry) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.v.Records++
		path := c.s.path("cache/" + key)
		if _, ok := c.s.CacheGet(key); ok {
			return nil
		}
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		c.tell(Problem{Kind: ProblemDamaged, What: "cache/" + key, Part: "record", Cause: "its checksum does not fit"})
		return nil
	})
}

// partials counts the beginnings of blobs.
func (c *verification) partials(context.Context) error {
	list, err := c.s.listPartials()
	for _, g := range list {
		c.v.Partials++
		c.v.PartialBytes += g.Size
	}
	return err
}

// repair removes what is damaged.
func (c *verification) repair() error {
	for i := range c.v.Problems {
		p := &c.v.Problems[i]
		if p.Kind != ProblemDamaged {
			continue
		}
		if p.Part == "record" {
			if err := os.Remove(c.s.path(p.What)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			p.Removed = true
			continue
		}
		d, ok := c.damaged[v1Hash(p.What)]
		if !ok {
			continue
		}
		var err error
		if p.Removed, err = c.s.removeDamaged(d); err != nil {
			return err
		}
	}
	return nil
}
