package builder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// cacheFormat is part of every key: a release whose layers have other bytes changes it.
const cacheFormat = "sealrt layer 1"

// record says which layer an instruction made.
type record struct {
	Digest    v1.Hash         `json:"digest,omitzero"` // zero: none, the instruction changed nothing
	DiffID    v1.Hash         `json:"diffID,omitzero"`
	Size      int64           `json:"size,omitempty"`
	MediaType types.MediaType `json:"mediaType,omitempty"`
}

func recordOf(b layer.Blob) record {
	return record{Digest: b.Digest, DiffID: b.DiffID, Size: b.Size, MediaType: b.MediaType}
}

// layer returns the descriptor of the layer.
func (r record) layer() v1.Descriptor {
	return v1.Descriptor{MediaType: r.MediaType, Size: r.Size, Digest: r.Digest}
}

// cached returns the record under key if its layer is in the store.
func (b *building) cached(ctx context.Context, key string) (record, bool) {
	if b.NoCache {
		return record{}, false
	}
	var r record
	data, ok := b.Store.CacheGet(key)
	if !ok || json.Unmarshal(data, &r) != nil {
		return record{}, false
	}
	if r.Digest.Hex == "" {
		return r, true
	}
	ok, err := b.Store.Has(ctx, artifact.Reference{}, v1.Descriptor{Digest: r.Digest, Size: r.Size})
	return r, ok && err == nil
}

func (b *building) keep(key string, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return b.Store.CachePut(key, data)
}

// addFiles adds a layer of files. Its key is what the layer holds, so that it does not matter where in which
// Kubefile the files are copied. Content is hashed only when a layer of files with these names, modes and sizes was
// made before, or else while it is written.
func (b *building) addFiles(ctx context.Context, entries []layer.Entry, createdBy string) error {
	if len(entries) == 0 {
		b.image.addHistory(createdBy, b.Created, true)
		return nil
	}
	shape := b.shape(entries)
	sums := newContentSums(entries)
	if _, seen := b.cached(ctx, shape); seen {
		if err := sums.readAll(ctx); err != nil {
			return err
		}
		if r, ok := b.cached(ctx, sums.key(shape)); ok {
			b.note("unchanged: layer %s is in the store", r.Digest)
			b.image.add(r, entries, createdBy, b.Created)
			return nil
		}
	}
	if err := b.Store.CheckSpace(totalSize(entries)); err != nil {
		return err
	}
	blob, err := b.writeLayer(ctx, layer.Sorted(sums.observed()))
	if err != nil {
		return err
	}
	r := recordOf(blob)
	if err := errors.Join(b.keep(sums.key(shape), r), b.keep(shape, record{Digest: r.Digest, Size: r.Size})); err != nil {
		return err
	}
	b.image.add(r, entries, createdBy, b.Created)
	return nil
}

// writeLayer streams a layer into the store.
func (b *building) writeLayer(ctx context.Context, entries iter.Seq2[layer.Entry, error]) (layer.Blob, error) {
	w, err := b.Store.NewBlob(ctx)
	if err != nil {
		return layer.Blob{}, err
	}
	defer w.Close()
	blob, err := layer.Write(ctx, w, entries, layer.Options{
		Compression: b.Compression, Created: b.Created, Jobs: b.compressors(), Buffers: b.buffers,
	})
	if err != nil {
		return layer.Blob{}, err
	}
	return blob, w.Commit(blob.Digest, blob.Size)
}

// compressors is the number of goroutines that compress: more than there are processors would only take memory.
func (b *building) compressors() int {
	n := runtime.GOMAXPROCS(0)
	if b.Jobs > 0 {
		n = min(n, b.Jobs)
	}
	return n
}

// newKey begins a key with what every layer depends on.
func (b *building) newKey(kind string) hash.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%d\n", cacheFormat, kind, b.Compression, b.Created.Unix())
	return h
}

// shape is the key of everything about the entries but their content.
func (b *building) shape(entries []layer.Entry) string {
	h := b.newKey("files")
	for _, e := range entries {
		fmt.Fprintf(h, "%q %d %d %d %d %q\n", e.Name, e.Mode, e.UID, e.GID, e.Size, e.Linkname)
	}
	return "build/shape/" + hex.EncodeToString(h.Sum(nil))
}

func totalSize(entries []layer.Entry) int64 {
	var n int64
	for _, e := range entries {
		n += e.Size
	}
	return n
}

// contentSums collects the digests of files while somebody reads them.
type contentSums struct {
	entries []layer.Entry
	mu      sync.Mutex
	sums    map[string]string
}

func newContentSums(entries []layer.Entry) *contentSums {
	return &contentSums{entries: entries, sums: map[string]string{}}
}

// key is the key of the layer; all content was read before.
func (c *contentSums) key(shape string) string {
	h := sha256.New()
	io.WriteString(h, shape)
	for _, name := range keys(c.sums) {
		fmt.Fprintf(h, "\n%q %s", name, c.sums[name])
	}
	return "build/files/" + hex.EncodeToString(h.Sum(nil))
}

// observed returns the entries so that reading one adds its digest.
func (c *contentSums) observed() []layer.Entry {
	out := make([]layer.Entry, len(c.entries))
	for i, e := range c.entries {
		out[i] = e
		if open := e.Open; open != nil {
			out[i].Open = func() (io.ReadCloser, error) {
				r, err := open()
				if err != nil {
					return nil, err
				}
				return &summing{ReadCloser: r, h: sha256.New(), done: func(sum string) { c.add(e.Name, sum) }}, nil
			}
		}
	}
	return out
}

func (c *contentSums) add(name, sum string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums[name] = sum
}

// readAll reads all content for nothing but its digests.
func (c *contentSums) readAll(ctx context.Context) error {
	buf := make([]byte, 1<<20)
	for _, e := range c.observed() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Open == nil {
			continue
		}
		r, err := e.Open()
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, buf)
		r.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// summing hands on what it reads, and tells the digest at the end.
type summing struct {
	io.ReadCloser
	h    hash.Hash
	done func(string)
}

func (s *summing) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.h.Write(p[:n])
	if err == io.EOF {
		s.done(hex.EncodeToString(s.h.Sum(nil)))
	}
	return n, err
}

// hashFiles adds the content of those of the files that exist to h.
func hashFiles(h hash.Hash, names ...string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s\n", name)
		_, err = io.Copy(h, f)
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
