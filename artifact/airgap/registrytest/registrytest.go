// Package registrytest serves container images to tests, and counts what is fetched of them.
package registrytest

import (
	"bytes"
	"crypto/sha256"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// Registry is a registry in this process that counts what is fetched.
type Registry struct {
	Host string

	mu    sync.Mutex
	gets  map[string]int // by digest, or by path where there is none
	heads int
	bytes int64 // of bodies
	hook  Hook
}

// Hook answers a request in the place of the registry, and reports whether it did.
type Hook func(w http.ResponseWriter, r *http.Request, next http.Handler) bool

// Faulty makes the registry answer as h does.
func (r *Registry) Faulty(h Hook) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hook = h
}

// Traffic returns the bytes that were sent and the heads that were asked for
// since the last call.
func (r *Registry) Traffic() (sent int64, heads int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent, heads = r.bytes, r.heads
	r.bytes, r.heads = 0, 0
	return sent, heads
}

// counted counts what is sent.
type counted struct {
	http.ResponseWriter
	r *Registry
}

func (c counted) Write(p []byte) (int, error) {
	c.r.mu.Lock()
	c.r.bytes += int64(len(p)) // before they are read at the other end
	c.r.mu.Unlock()
	return c.ResponseWriter.Write(p)
}

func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// New starts a registry that ends with the test.
func New(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{gets: map[string]int{}}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.count(req)
		r.mu.Lock()
		h := r.hook
		r.mu.Unlock()
		if w := (counted{w, r}); h == nil || !h(w, req, inner) {
			inner.ServeHTTP(w, req)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	r.Host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// count notes what a request is for.
func (r *Registry) count(req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	object := filepath.Base(req.URL.Path)
	switch {
	case req.URL.Path == "/v2/":
	case req.Method == http.MethodHead:
		r.heads++
	case req.Method == http.MethodGet && strings.HasPrefix(object, "sha256:"):
		r.gets[object]++
	case req.Method == http.MethodGet:
		r.gets[req.URL.Path]++
	}
}

// Fetched returns how often each object was fetched since the last call.
func (r *Registry) Fetched() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	gets := r.gets
	r.gets = map[string]int{}
	return gets
}

// Image makes an image for a platform whose layers are made of the given seeds,
// each of size bytes.
func Image(t testing.TB, p v1.Platform, size int, seeds ...string) v1.Image {
	t.Helper()
	img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	for _, seed := range seeds {
		sum := sha256.Sum256([]byte(seed))
		content := bytes.Repeat(sum[:], size/len(sum)+1)[:size]
		var err error
		if img, err = mutate.AppendLayers(img, static.NewLayer(content, types.OCILayer)); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Author = p.OS, p.Architecture, strings.Join(seeds, ",")
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

// Push stores what is an image or an index under a name and returns its digest.
func (r *Registry) Push(t testing.TB, ref string, what remote.Taggable) v1.Hash {
	t.Helper()
	tag, err := name.ParseReference(r.Host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	switch what := what.(type) {
	case v1.Image:
		err = remote.Write(tag, what)
	case v1.ImageIndex:
		err = remote.WriteIndex(tag, what)
	}
	if err != nil {
		t.Fatal(err)
	}
	raw, err := what.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Store opens a new store, which ends with the test.
func Store(t testing.TB) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Index makes an index of images, each for the platform that its config names.
func Index(t testing.TB, images ...v1.Image) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		cfg, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: cfg.Platform()}})
	}
	return idx
}

// Unpack extracts layers of a store, one over the other, and returns the images/
// directory.
func Unpack(t testing.TB, store *store.Store, layers []v1.Hash) string {
	t.Helper()
	dir := t.TempDir()
	for _, h := range layers {
		f, err := os.Open(store.BlobPath(h))
		if err != nil {
			t.Fatal(err)
		}
		err = layer.Extract(t.Context(), dir, f, layer.ExtractOptions{})
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "images")
}
