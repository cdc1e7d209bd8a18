package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// countingRegistry is a registry in memory that counts the bytes of blobs that pass.
type countingRegistry struct {
	host   string
	client *registry.Client

	busy     sync.RWMutex // held for reading by requests: a client has its answer before the handler has ended
	mu       sync.Mutex
	sent     int64 // to the registry
	received int64 // from it
	gets     []string
	refuse   string // paths that contain it are answered with 404
}

func newCountingRegistry(t *testing.T) *countingRegistry {
	c := &countingRegistry{client: registry.New(registry.Options{Retries: -1})}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.busy.RLock()
		defer c.busy.RUnlock()
		c.mu.Lock()
		refused := c.refuse != "" && strings.Contains(r.URL.Path, c.refuse)
		c.mu.Unlock()
		if refused {
			http.NotFound(w, r)
			return
		}
		if !strings.Contains(r.URL.Path, "/blobs/") {
			inner.ServeHTTP(w, r)
			return
		}
		body := &countingBody{ReadCloser: r.Body}
		r.Body = body
		out := &countingWriter{ResponseWriter: w}
		inner.ServeHTTP(out, r)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.sent += body.n
		if r.Method == http.MethodGet {
			c.received += out.n
			c.gets = append(c.gets, r.URL.Path)
		}
	}))
	t.Cleanup(server.Close)
	c.host = strings.TrimPrefix(server.URL, "http://")
	return c
}

// counted returns what passed since it was asked last.
func (c *countingRegistry) counted() (sent, received int64, gets []string) {
	c.busy.Lock()
	defer c.busy.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	sent, received, gets = c.sent, c.received, c.gets
	c.sent, c.received, c.gets = 0, 0, nil
	return sent, received, gets
}

func (c *countingRegistry) setRefuse(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = path
}

type countingBody struct {
	io.ReadCloser
	n int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}

// madeLayer puts a layer of n bytes of noise into the store and returns its record.
func madeLayer(t *testing.T, store *store.Store, seed uint64, n int) record {
	t.Helper()
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	d, err := store.PutBytes(t.Context(), layer.None.MediaType(), b)
	if err != nil {
		t.Fatal(err)
	}
	return record{Digest: d.Digest, DiffID: d.Digest, Size: d.Size, MediaType: d.MediaType}
}

func TestCacheTravelsThroughARegistry(t *testing.T) {
	reg, from := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	big, small := madeLayer(t, from, 1, 3<<20), madeLayer(t, from, 2, 1000)
	used := map[string]record{
		"build/run/aa": big, "build/files/bb": small, "build/files/twin": big, "build/run/nothing": {},
		"build/shape/cc": {Digest: small.Digest, Size: small.Size},
	}
	if err := exportCache(t.Context(), reg.client, to, from, used, nil); err != nil {
		t.Fatal(err)
	}
	if sent, _, _ := reg.counted(); sent < 3<<20+1000 || sent > 3<<20+4000 {
		t.Errorf("%d bytes were sent for layers of %d", sent, 3<<20+1000)
	}

	c, err := importCache(t.Context(), reg.client, to)
	if err != nil || c.note != "" {
		t.Fatal(err, c.note)
	}
	if _, received, _ := reg.counted(); received > 4000 {
		t.Errorf("%d bytes were received for the records alone", received)
	}
	for key, want := range used {
		if got, ok := c.lookup(t.Context(), key); !ok || got != want {
			t.Errorf("%s: %+v, %v", key, got, ok)
		}
	}
	if _, ok := c.lookup(t.Context(), "build/run/other"); ok {
		t.Error("a record came from nowhere")
	}

	into := newStore(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := c.fetch(t.Context(), into, big, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, received, gets := reg.counted(); received != 3<<20 || len(gets) != 1 {
		t.Errorf("%d bytes came with %v", received, gets)
	}
	if err := errors.Join(c.fetch(t.Context(), into, record{}, nil), c.fetch(t.Context(), into, big, nil)); err != nil {
		t.Error(err)
	}
	if _, _, gets := reg.counted(); gets != nil {
		t.Errorf("what is in the store was asked for: %v", gets)
	}
	blobs, err := into.Inventory(t.Context())
	if diff := cmp.Diff([]v1.Hash{big.Digest}, blobs); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestExportSendsWhatTheRegistryLacks(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	first, second := madeLayer(t, store, 1, 1<<20), madeLayer(t, store, 2, 50_000)
	export := func(used map[string]record) v1.Descriptor {
		t.Helper()
		if err := exportCache(t.Context(), reg.client, to, store, used, nil); err != nil {
			t.Fatal(err)
		}
		d, err := reg.client.Resolve(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := export(map[string]record{"build/run/old": first})
	reg.counted()
	if again := export(map[string]record{"build/run/old": first}); again.Digest != before.Digest {
		t.Errorf("the same records give %v and %v", before, again)
	}
	if sent, _, _ := reg.counted(); sent != 0 {
		t.Errorf("%d bytes were sent although nothing changed", sent)
	}
	export(map[string]record{"build/run/a": first, "build/run/b": second})
	if sent, _, _ := reg.counted(); sent < second.Size || sent > second.Size+2000 {
		t.Errorf("%d bytes were sent for a layer of %d", sent, second.Size)
	}
	export(map[string]record{"build/run/b": second})
	c, err := importCache(t.Context(), reg.client, to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"build/run/b"}, keys(c.records)); diff != "" {
		t.Errorf("records that the last build did not use stay: %s", diff)
	}
	d, raw := cacheManifest(t, reg, to)
	if m, err := v1.ParseManifest(bytes.NewReader(raw)); err != nil || len(m.Layers) != 1 || d.MediaType != types.OCIManifestSchema1 {
		t.Errorf("manifest %s, %v", raw, err)
	}
}

func TestEqualRecordsGiveEqualBytes(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	used := map[string]record{}
	for i := range 9 { // maps give their keys in another order each time
		r := madeLayer(t, store, uint64(i), 100)
		used[fmt.Sprintf("build/files/%d", i)] = r
		used[fmt.Sprintf("build/a-shape/%d", i)] = record{Digest: r.Digest, Size: r.Size}
	}
	var want v1.Hash
	for range 5 {
		image, err := newCacheImage(t.Context(), reg.client, to, store, used)
		if err != nil {
			t.Fatal(err)
		}
		if want.Hex != "" && image.root.Digest != want {
			t.Fatalf("digests %s and %s", want, image.root.Digest)
		}
		want = image.root.Digest
		m, err := v1.ParseManifest(bytes.NewReader(image.documents[want]))
		if err != nil || len(m.Layers) != 9 {
			t.Fatalf("%+v, %v", m, err)
		}
		for _, l := range m.Layers {
			if l.MediaType != layer.None.MediaType() {
				t.Errorf("layer %+v", l)
			}
		}
	}
}

func cacheManifest(t *testing.T, reg *countingRegistry, to artifact.Reference) (v1.Descriptor, []byte) {
	t.Helper()
	d, err := reg.client.Resolve(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := artifact.ReadManifest(t.Context(), reg.client, to, d)
	if err != nil {
		t.Fatal(err)
	}
	return d, raw
}

func TestExportLeavesOutWhatNobodyHas(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	mine, theirs := madeLayer(t, store, 1, 100), madeLayer(t, newStore(t), 2, 100)
	used := map[string]record{"build/run/a": mine, "build/run/b": theirs}
	if err := exportCache(t.Context(), reg.client, to, store, used, nil); err != nil {
		t.Fatal(err)
	}
	c, err := importCache(t.Context(), reg.client, to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"build/run/a"}, keys(c.records)); diff != "" {
		t.Error(diff)
	}
	// What only the registry has stays in it: a build that takes a record from the cache need not fetch its layer.
	if err := exportCache(t.Context(), reg.client, to, newStore(t), map[string]record{"build/run/a": mine}, nil); err != nil {
		t.Fatal(err)
	}
	if c, err = importCache(t.Context(), reg.client, to); err != nil || len(c.records) != 1 {
		t.Errorf("%v, %v", c, err)
	}
}

func TestExportTellsWhatItDoes(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	var told []artifact.EventKind
	tell := func(e artifact.Event) { told = append(told, e.Kind) }
	r := madeLayer(t, store, 1, 2<<20)
	if err := exportCache(t.Context(), reg.client, to, store, map[string]record{"k": r}, tell); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(told, artifact.EventDone) || told[len(told)-1] != artifact.EventTagged {
		t.Errorf("told %v", told)
	}
	c, err := importCache(t.Context(), reg.client, to)
	if err != nil {
		t.Fatal(err)
	}
	told = nil
	if err := c.fetch(t.Context(), newStore(t), r, tell); err != nil {
		t.Fatal(err)
	}
	if len(told) < 3 || told[0] != artifact.EventStarted || told[1] != artifact.EventProgress || told[len(told)-1] != artifact.EventDone {
		t.Errorf("told %v", told)
	}
}

func TestExportRefusesWhatContradictsItself(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	r := madeLayer(t, store, 1, 100)
	other := r
	other.Size++
	err := exportCache(t.Context(), reg.client, to, store, map[string]record{"a": r, "b": other}, nil)
	if err == nil || !strings.Contains(err.Error(), "export the cache to "+to.Familiar()+": record b: ") {
		t.Errorf("two sizes of a layer: %v", err)
	}
	many := map[string]record{}
	for i := range 20_000 {
		many[fmt.Sprintf("build/run/%064d", i)] = r
	}
	if err := exportCache(t.Context(), reg.client, to, store, many, nil); err == nil || !strings.Contains(err.Error(), "registries take 4194304") {
		t.Errorf("more records than fit: %v", err)
	}
	if _, err := reg.client.Resolve(t.Context(), to); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("what was refused is there: %v", err)
	}
}

func TestMissingCacheIsANote(t *testing.T) {
	reg := newCountingRegistry(t)
	c, err := importCache(t.Context(), reg.client, ref(t, reg.host+"/team/cache:none"))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.lookup(t.Context(), "k"); ok || !strings.Contains(c.note, "team/cache:none") {
		t.Errorf("note %q, %v", c.note, ok)
	}
}

func TestCacheThatCannotBeReadSaysWhatToDo(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	r := madeLayer(t, store, 1, 100)
	for name, tt := range map[string]struct {
		config any
		mt     types.MediaType
		layers []v1.Descriptor
		want   string
	}{
		"an image":         {map[string]string{"os": "linux"}, types.OCIConfigJSON, nil, "--cache-to did not write it: give another reference"},
		"a newer version":  {cacheConfig{Version: 2}, cacheMediaType, nil, "version 2, this program reads version 1"},
		"no version":       {map[string]string{}, cacheMediaType, nil, "version 0"},
		"a list":           {[]string{}, cacheMediaType, nil, "the cache is damaged: write it anew with --cache-to"},
		"a bad digest":     {map[string]any{"version": 1, "records": []any{map[string]string{"key": "k", "digest": "x"}}}, cacheMediaType, nil, "the cache is damaged"},
		"no key":           {cacheConfig{1, []cacheRecord{{"", record{}}}}, cacheMediaType, nil, "a record has no key: the cache is damaged"},
		"a missing layer":  {cacheConfig{1, []cacheRecord{{"k", r}}}, cacheMediaType, nil, "record k is about layer " + r.Digest.String()},
		"a layer's size":   {cacheConfig{1, []cacheRecord{{"k", record{Digest: r.Digest, Size: 7}}}}, cacheMediaType, []v1.Descriptor{r.layer()}, "of 7 bytes, which the manifest does not name"},
		"a list of images": {nil, "", nil, "no cache that --cache-to wrote: give another reference"},
	} {
		t.Run(name, func(t *testing.T) {
			to := ref(t, reg.host+"/team/"+strings.ReplaceAll(strings.ReplaceAll(name, " ", "-"), "'", "")+":1")
			image := &cacheImage{store: store, documents: map[v1.Hash][]byte{}}
			var err error
			if tt.config == nil {
				image.root, err = image.add(types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}})
			} else {
				m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: tt.layers}
				if m.Config, err = image.add(tt.mt, tt.config); err != nil {
					t.Fatal(err)
				}
				image.root, err = image.add(types.OCIManifestSchema1, m)
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := artifact.Copy(t.Context(), reg.client, to, image, to, artifact.CopyOptions{}); err != nil {
				t.Fatal(err)
			}
			_, err = importCache(t.Context(), reg.client, to)
			if err == nil || !strings.HasPrefix(err.Error(), "import the cache "+to.Familiar()+": ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestCacheWhoseBlobsAreGoneSaysSo(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	r := madeLayer(t, store, 1, 100)
	if err := exportCache(t.Context(), reg.client, to, store, map[string]record{"k": r}, nil); err != nil {
		t.Fatal(err)
	}
	c, err := importCache(t.Context(), reg.client, to)
	if err != nil {
		t.Fatal(err)
	}
	reg.setRefuse("/blobs/")
	into := newStore(t)
	if err := c.fetch(t.Context(), into, r, nil); !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "fetch from the cache "+to.Familiar()) {
		t.Errorf("a layer that is gone: %v", err)
	}
	if blobs, err := into.Inventory(t.Context()); len(blobs) != 0 || err != nil {
		t.Errorf("the store has %v, %v", blobs, err)
	}
	if _, err := importCache(t.Context(), reg.client, to); err == nil || !strings.Contains(err.Error(), "write it anew with --cache-to") {
		t.Errorf("a config that is gone: %v", err)
	}
}

func TestLayerOfTheCacheIsVerified(t *testing.T) {
	reg, store := newCountingRegistry(t), newStore(t)
	to := ref(t, reg.host+"/team/cache:main")
	r := madeLayer(t, store, 1, 100)
	if err := exportCache(t.Context(), reg.client, to, store, map[string]record{"k": r}, nil); err != nil {
		t.Fatal(err)
	}
	c, err := importCache(t.Context(), lying{reg.client}, to)
	if err != nil {
		t.Fatal(err)
	}
	into := newStore(t)
	if err := c.fetch(t.Context(), into, r, nil); err == nil {
		t.Error("a damaged layer was taken")
	}
	if blobs, err := into.Inventory(t.Context()); len(blobs) != 0 || err != nil {
		t.Errorf("the store has %v, %v", blobs, err)
	}
}

// lying is a source whose layers have other bytes than their digests say.
type lying struct{ artifact.Source }

func (l lying) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.MediaType != layer.None.MediaType() {
		return l.Source.Open(ctx, ref, d, offset)
	}
	return io.NopCloser(bytes.NewReader(make([]byte, d.Size-offset))), nil
}

func TestCacheConfigKeepsItsForm(t *testing.T) {
	h := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	b, err := json.Marshal(cacheConfig{1, []cacheRecord{{"build/run/x", record{h, h, 7, layer.None.MediaType()}}, {"build/run/y", record{}}}})
	want := `{"version":1,"records":[{"key":"build/run/x","digest":"` + h.String() + `","diffID":"` + h.String() + `","size":7,"mediaType":"application/vnd.oci.image.layer.v1.tar"},{"key":"build/run/y"}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
