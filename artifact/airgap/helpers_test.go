package airgap

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
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// testRegistry is a registry in this process that counts what is fetched.
type testRegistry struct {
	host string

	mu   sync.Mutex
	gets map[string]int // by digest or tag
}

func newRegistry(t *testing.T) *testRegistry {
	t.Helper()
	r := &testRegistry{gets: map[string]int{}}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/") && req.URL.Path != "/v2/" {
			r.mu.Lock()
			r.gets[filepath.Base(req.URL.Path)]++
			r.mu.Unlock()
		}
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// fetched returns how often each object was fetched since the last call.
func (r *testRegistry) fetched() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	gets := r.gets
	r.gets = map[string]int{}
	return gets
}

// image makes an image for a platform whose layers are made of the given seeds,
// each of size bytes.
func image(t *testing.T, p v1.Platform, size int, seeds ...string) v1.Image {
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

// push stores what is an image or an index under a name and returns its digest.
func (r *testRegistry) push(t *testing.T, ref string, what remote.Taggable) v1.Hash {
	t.Helper()
	tag, err := name.ParseReference(r.host + "/" + ref)
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
	return digestOf(raw)
}

// list returns the images of a list in that registry.
func (r *testRegistry) list(t *testing.T, lines ...string) []Image {
	t.Helper()
	for i, line := range lines {
		lines[i] = r.host + "/" + line
	}
	images, err := ParseList("imageList", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func openStore(t *testing.T) *artifact.Store {
	t.Helper()
	s, err := artifact.OpenStore(t.TempDir())
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

// options are those of a build into s from registries on loopback.
func options(s *artifact.Store) Options {
	return Options{Source: artifact.NewRegistry(artifact.RegistryOptions{PlainHTTP: true, Retries: -1}), Store: s, Platform: amd64}
}

func collect(t *testing.T, images []Image, o Options) *Set {
	t.Helper()
	set, err := Collect(t.Context(), images, o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// unpack extracts the layers of a set and returns the images/ directory.
func unpack(t *testing.T, s *artifact.Store, set *Set) string {
	t.Helper()
	dir := t.TempDir()
	for _, l := range set.Layers {
		f, err := os.Open(s.BlobPath(l.Blob.Digest))
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

// digests returns the digests of the layers of a set.
func digests(set *Set) []string {
	var list []string
	for _, l := range set.Layers {
		list = append(list, l.Blob.Digest.String())
	}
	return list
}
