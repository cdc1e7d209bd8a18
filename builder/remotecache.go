package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// A cache in a registry is an image manifest that names every layer once, so that the registry keeps them; its config
// is the list of records. There is nothing in it to run.
const (
	cacheMediaType = types.MediaType("application/vnd.sealrt.cache.v1+json")
	cacheVersion   = 1
)

// cacheConfig is the config of a cache image.
type cacheConfig struct {
	Version int           `json:"version"`
	Records []cacheRecord `json:"records"` // sorted by key
}

// cacheRecord is a record and the key that it was made under.
type cacheRecord struct {
	Key string `json:"key"`
	record
}

// exportCache makes ref in sink name an image of the records in used and their layers, which lie in the store. Layers
// that sink has are not sent. Records of which the layer is in neither place are left out; what ref named before is
// replaced, so that the cache holds what the last build needed and no more. Equal records give equal bytes. observe may
// be nil.
func exportCache(ctx context.Context, sink artifact.Sink, ref artifact.Reference, store *store.Store, used map[string]record, observe func(artifact.Event)) error {
	image, err := newCacheImage(ctx, sink, ref, store, used)
	if err == nil {
		_, err = artifact.Copy(ctx, sink, ref, image, ref, artifact.CopyOptions{Observe: observe})
	}
	if err != nil {
		return fmt.Errorf("export the cache to %s: %w", ref.Familiar(), err)
	}
	return nil
}

// cacheImage is a cache image that is not in a registry yet: a source of its two documents, and of layers in the store.
type cacheImage struct {
	store     *store.Store
	root      v1.Descriptor
	documents map[v1.Hash][]byte
}

func newCacheImage(ctx context.Context, sink artifact.Sink, ref artifact.Reference, store *store.Store, used map[string]record) (*cacheImage, error) {
	layers, err := layersOf(used)
	if err != nil {
		return nil, err
	}
	for h, d := range layers {
		has, err := store.Has(ctx, ref, d)
		if err == nil && !has {
			has, err = sink.Has(ctx, ref, d)
		}
		if err != nil {
			return nil, err
		}
		if !has {
			delete(layers, h)
		}
	}
	config := cacheConfig{Version: cacheVersion, Records: []cacheRecord{}}
	for _, key := range keys(used) {
		if _, ok := layers[used[key].Digest]; ok || used[key].Digest.Hex == "" {
			config.Records = append(config.Records, cacheRecord{key, used[key]})
		}
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	for _, d := range layers {
		manifest.Layers = append(manifest.Layers, d)
	}
	slices.SortFunc(manifest.Layers, func(a, b v1.Descriptor) int { return strings.Compare(a.Digest.Hex, b.Digest.Hex) })
	image := &cacheImage{store: store, documents: map[v1.Hash][]byte{}}
	if manifest.Config, err = image.add(cacheMediaType, config); err != nil {
		return nil, err
	}
	image.root, err = image.add(types.OCIManifestSchema1, manifest)
	return image, err
}

// layersOf returns the layers that the records name, each once.
func layersOf(used map[string]record) (map[v1.Hash]v1.Descriptor, error) {
	layers := map[v1.Hash]v1.Descriptor{}
	for _, key := range keys(used) {
		r := used[key]
		if r.Digest.Hex == "" {
			continue
		}
		d, known := layers[r.Digest]
		if known && d.Size != r.Size {
			return nil, fmt.Errorf("record %s: layer %s has %d bytes, another record says %d: `sealrt prune --cache` drops records", key, r.Digest, r.Size, d.Size)
		}
		if !known {
			d = r.layer()
		}
		if d.MediaType == "" {
			d.MediaType = r.MediaType
		}
		layers[r.Digest] = d
	}
	for h, d := range layers {
		if d.MediaType == "" { // a manifest must name one
			d.MediaType = "application/octet-stream"
			layers[h] = d
		}
	}
	return layers, nil
}

// add makes v a document of the image.
func (c *cacheImage) add(mt types.MediaType, v any) (v1.Descriptor, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if len(b) > artifact.MaxManifest {
		return v1.Descriptor{}, fmt.Errorf("the list of its records takes %d bytes, registries take %d: give each stage or platform a cache of its own", len(b), artifact.MaxManifest)
	}
	sum := sha256.Sum256(b)
	h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
	c.documents[h] = b
	return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}, nil
}

// Resolve implements artifact.Source.
func (c *cacheImage) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return c.root, nil
}

// Open implements artifact.Source.
func (c *cacheImage) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b, ok := c.documents[d.Digest]
	if !ok {
		return c.store.Open(ctx, ref, d, offset)
	}
	r := bytes.NewReader(b)
	if _, err := r.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	return io.NopCloser(r), nil
}

// importedCache is a cache in a registry whose records are known. Its methods may be called concurrently.
type importedCache struct {
	src     artifact.Source
	ref     artifact.Reference
	note    string // a sentence for the user about a cache that is not there; "" for none
	records map[string]record
	flights singleflight.Group
}

// importCache reads the records of the cache that ref names in src; no layer is fetched. Where there is none, the cache
// is empty and its note says so. Other errors say what to do; a build can go on without the cache.
func importCache(ctx context.Context, src artifact.Source, ref artifact.Reference) (*importedCache, error) {
	c := &importedCache{src: src, ref: ref, records: map[string]record{}}
	d, err := src.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) {
		c.note = fmt.Sprintf("there is no cache %s yet: --cache-to makes one", ref.Familiar())
		return c, nil
	}
	if err == nil {
		err = c.read(ctx, d)
	}
	if err != nil {
		return nil, fmt.Errorf("import the cache %s: %w", ref.Familiar(), err)
	}
	return c, nil
}

// read reads the documents of the cache image.
func (c *importedCache) read(ctx context.Context, d v1.Descriptor) error {
	if !d.MediaType.IsImage() {
		return fmt.Errorf("it is %s, no cache that --cache-to wrote: give another reference", d.MediaType)
	}
	raw, err := artifact.ReadManifest(ctx, c.src, c.ref, d)
	if err != nil {
		return err
	}
	manifest, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%w: %w", err, errCacheDamaged)
	}
	if manifest.Config.MediaType != cacheMediaType {
		return fmt.Errorf("its config is %s, so --cache-to did not write it: give another reference", manifest.Config.MediaType)
	}
	if raw, err = artifact.ReadManifest(ctx, c.src, c.ref, manifest.Config); errors.Is(err, artifact.ErrNotFound) {
		return fmt.Errorf("%w: %w", err, errCacheDamaged)
	} else if err != nil {
		return err
	}
	var config cacheConfig
	if err := json.Unmarshal(raw, &config); err != nil {
		return fmt.Errorf("%w: %w", err, errCacheDamaged)
	}
	if config.Version != cacheVersion {
		return fmt.Errorf("it is of version %d, this program reads version %d: use the same release everywhere, or give another reference", config.Version, cacheVersion)
	}
	return c.take(config.Records, manifest.Layers)
}

// errCacheDamaged says what to do about a cache that contradicts itself.
var errCacheDamaged = errors.New("the cache is damaged: write it anew with --cache-to")

// take checks the records against the layers that the manifest keeps alive, and adds them.
func (c *importedCache) take(records []cacheRecord, layers []v1.Descriptor) error {
	sizes := map[v1.Hash]int64{}
	for _, l := range layers {
		sizes[l.Digest] = l.Size
	}
	for _, r := range records {
		size, kept := sizes[r.Digest]
		switch {
		case r.Key == "":
			return fmt.Errorf("a record has no key: %w", errCacheDamaged)
		case r.Digest.Hex != "" && (!kept || size != r.Size):
			return fmt.Errorf("record %s is about layer %s of %d bytes, which the manifest does not name: %w", r.Key, r.Digest, r.Size, errCacheDamaged)
		}
		c.records[r.Key] = r.record
	}
	return nil
}

// lookup returns the record under key. Its layer may not be in the store: fetch brings it.
func (c *importedCache) lookup(_ context.Context, key string) (record, bool) {
	r, ok := c.records[key]
	return r, ok
}

// fetch brings the layer of a record that lookup returned into the store, verified; one that is there already costs
// nothing. An error says what is wrong with the cache: the layer can be made anew instead. observe may be nil, and is
// called from this goroutine.
func (c *importedCache) fetch(ctx context.Context, store *store.Store, r record, observe func(artifact.Event)) error {
	if r.Digest.Hex == "" {
		return nil
	}
	_, err, _ := c.flights.Do(r.Digest.String(), func() (any, error) { return nil, c.download(ctx, store, r, observe) })
	if err != nil {
		return fmt.Errorf("fetch from the cache %s: %w", c.ref.Familiar(), err)
	}
	return nil
}

func (c *importedCache) download(ctx context.Context, store *store.Store, r record, observe func(artifact.Event)) error {
	e := artifact.Event{Ref: c.ref.Familiar(), Digest: r.Digest, Name: "layer", Size: r.Size}
	tell := func(kind artifact.EventKind, done int64) {
		if e.Kind, e.Done = kind, done; observe != nil {
			observe(e)
		}
	}
	if has, err := store.Has(ctx, c.ref, r.layer()); err != nil {
		return err
	} else if has {
		tell(artifact.EventExists, r.Size)
		return nil
	}
	tell(artifact.EventStarted, 0)
	err := store.Put(ctx, c.ref, r.layer(), func(offset int64) (io.ReadCloser, error) {
		rc, err := c.src.Open(ctx, c.ref, r.layer(), offset)
		if err != nil {
			return nil, err
		}
		return &fetching{ReadCloser: rc, done: offset, tell: tell}, nil
	})
	if err != nil {
		return err
	}
	tell(artifact.EventDone, r.Size)
	return nil
}

// fetching tells how far a download has come.
type fetching struct {
	io.ReadCloser
	done, told int64
	tell       func(kind artifact.EventKind, done int64)
}

// fetchStep is how many bytes pass between two events.
const fetchStep = 1 << 20

// Read implements io.Reader.
func (f *fetching) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.done += int64(n); f.done >= f.told+fetchStep {
		f.told = f.done
		f.tell(artifact.EventProgress, f.done)
	}
	return n, err
}
