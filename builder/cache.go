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
	"os"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// cacheFormat is part of every key: a release whose layers have other bytes changes it.
const cacheFormat = "sealrt layer 2"

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

// empty says that there is no layer.
func (r record) empty() bool { return r.Digest.Hex == "" }

// layer returns the descriptor of the layer.
func (r record) layer() v1.Descriptor {
	return v1.Descriptor{MediaType: r.MediaType, Size: r.Size, Digest: r.Digest}
}

// cache knows which layers were made before, here or by those whose cache images are read.
type cache struct {
	store    *store.Store
	blind    bool // nothing is found
	imported []*importedCache

	mu   sync.Mutex
	used map[string]record // found or kept, by key
}

func openCache(ctx context.Context, b *build) (*cache, error) {
	c := &cache{store: b.Store, blind: b.NoCache, used: map[string]record{}}
	for _, ref := range b.CacheFrom {
		if b.Source == nil {
			return nil, errors.New("--cache-from: there is no registry to read from")
		}
		from, err := importCache(ctx, b.Source, ref)
		switch {
		case errors.Is(err, artifact.ErrNotFound):
			b.note("there is no cache at " + ref.Familiar() + " yet")
		case err != nil && ctx.Err() == nil:
			b.tell(Event{Kind: BuildWarning, Text: "built without a cache: " + err.Error()})
		case err != nil:
			return nil, err
		default:
			c.imported = append(c.imported, from)
		}
	}
	return c, nil
}

// find returns the record under key if its layer is in the store, or can be fetched.
func (c *cache) find(ctx context.Context, key string) (record, bool) {
	if c.blind {
		return record{}, false
	}
	r, ok := c.look(ctx, key)
	for i := 0; !ok && i < len(c.imported); i++ {
		if r, ok = c.imported[i].lookup(ctx, key); ok && !r.empty() {
			ok = c.imported[i].fetch(ctx, c.store, r, nil) == nil // what cannot be fetched is made
		}
		if ok {
			_ = c.write(key, r) // the next build has it without asking
		}
	}
	if ok {
		c.note(key, r)
	}
	return r, ok
}

// look asks the store.
func (c *cache) look(ctx context.Context, key string) (r record, ok bool) {
	data, ok := c.store.CacheGet(key)
	if !ok || json.Unmarshal(data, &r) != nil {
		return record{}, false
	}
	if r.empty() {
		return r, true
	}
	ok, err := c.store.Has(ctx, artifact.Reference{}, v1.Descriptor{Digest: r.Digest, Size: r.Size})
	return r, ok && err == nil
}

// known says whether there is anything under key.
func (c *cache) known(ctx context.Context, key string) bool {
	if c.blind {
		return false
	}
	_, ok := c.store.CacheGet(key)
	for i := 0; !ok && i < len(c.imported); i++ {
		_, ok = c.imported[i].lookup(ctx, key)
	}
	return ok
}

// keep remembers the layer under key.
func (c *cache) keep(key string, r record) error {
	c.note(key, r)
	return c.write(key, r)
}

func (c *cache) write(key string, r record) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return c.store.CachePut(key, data)
}

func (c *cache) note(key string, r record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used[key] = r
}

// export leaves what was used or made where the user asked for it.
func (c *cache) export(ctx context.Context, b *build) error {
	for _, ref := range b.CacheTo {
		if b.CacheSink == nil {
			return errors.New("--cache-to: there is no registry to write to")
		}
		t := b.newTask("export the cache to " + ref.Familiar())
		t.work()
		if err := exportCache(ctx, b.CacheSink, ref, c.store, c.used, t.transfer); err != nil {
			t.fail(ctx, err)
			return err
		}
		t.done()
	}
	return nil
}

// newKey begins a key with what every layer depends on.
func (b *build) newKey(kind string) hash.Hash {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%d\n", cacheFormat, kind, b.Compression, b.Created.Unix())
	return h
}

func endKey(kind string, h hash.Hash) string {
	return "build/" + kind + "/" + hex.EncodeToString(h.Sum(nil))
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
