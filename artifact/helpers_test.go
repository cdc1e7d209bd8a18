package artifact

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/layer"
)

// TestMain keeps the tests away from the user's own configuration.
func TestMain(m *testing.M) {
	if dir := os.Getenv("ARTIFACT_TEST_WRITER"); dir != "" {
		os.Exit(writerMain(dir))
	}
	home, err := os.MkdirTemp("", "artifact-test")
	if err != nil {
		panic(err)
	}
	for _, k := range []string{"HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DOCKER_CONFIG"} {
		os.Setenv(k, home)
	}
	os.WriteFile(filepath.Join(home, "registries.conf"), nil, 0o600)
	os.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(home, "registries.conf"))
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

func mustRef(t testing.TB, s string) Reference {
	t.Helper()
	r, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

func newStore(t testing.TB) *Store { return openStore(t, filepath.Join(t.TempDir(), "store")) }

func digestOf(b []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// addLayer puts a layer with the files given as name, content pairs; -name deletes one.
func addLayer(t testing.TB, s *Store, files ...string) (v1.Descriptor, v1.Hash) {
	t.Helper()
	var list []layer.Entry
	for i := 0; i < len(files); i += 2 {
		if name, ok := strings.CutPrefix(files[i], "-"); ok {
			list = append(list, layer.Whiteout(name))
			continue
		}
		content := files[i+1]
		list = append(list, layer.Entry{Name: files[i], Mode: 0o644, Size: int64(len(content)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }})
	}
	w, err := s.NewBlob(t.Context())
	check(t, err)
	defer w.Close()
	b, err := layer.Write(t.Context(), w, layer.Sorted(list), layer.Options{})
	check(t, err)
	check(t, w.Commit(b.Digest, b.Size))
	return b.Descriptor(), b.DiffID
}

func addImage(t testing.TB, s *Store, arch string, layers ...[]string) v1.Descriptor {
	t.Helper()
	cfg := v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, files := range layers {
		d, id := addLayer(t, s, files...)
		m.Layers = append(m.Layers, d)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, id)
	}
	m.Config = addJSON(t, s, types.OCIConfigJSON, cfg)
	d := addJSON(t, s, types.OCIManifestSchema1, m)
	d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return d
}

func addIndex(t testing.TB, s *Store, list ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return addJSON(t, s, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list})
}

func addJSON(t testing.TB, s *Store, mt types.MediaType, v any) v1.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	check(t, err)
	d, err := s.PutBytes(t.Context(), mt, b)
	check(t, err)
	return d
}

// tagged makes an image of two layers, one of them big, under the name k3s:v1.
func tagged(t testing.TB, s *Store) (Reference, v1.Descriptor) {
	t.Helper()
	ref := mustRef(t, "k3s:v1")
	d := addImage(t, s, "amd64", []string{"etc/a", "one"}, []string{"bin/k3s", string(noise(1, 3<<20))})
	check(t, s.Tag(t.Context(), ref, d))
	return ref, bare(d)
}

// fakeRegistry is ggcr's in-memory registry behind a hook and a log of requests.
type fakeRegistry struct {
	*httptest.Server
	mu   sync.Mutex
	log  []string
	hook func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil: pass on
}

func (f *fakeRegistry) host() string { return f.Listener.Addr().String() }

func (f *fakeRegistry) ref(t testing.TB, s string) Reference { return mustRef(t, f.host()+"/"+s) }

func (f *fakeRegistry) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.log
	f.log = nil
	return l
}

func newFake(t testing.TB, start func(http.Handler) *httptest.Server) *fakeRegistry {
	f := &fakeRegistry{}
	inner := registry.New(registry.Logger(nopLogger()))
	f.Server = start(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.log = append(f.log, r.Method+" "+r.URL.Path)
		hook := f.hook
		f.mu.Unlock()
		if hook != nil {
			hook(w, r, inner)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	f.Server.Config.ErrorLog = nopLogger()
	t.Cleanup(f.Close)
	return f
}

func newFakeRegistry(t testing.TB) *fakeRegistry { return newFake(t, httptest.NewServer) }

func (f *fakeRegistry) set(hook func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func fastRegistry(o RegistryOptions) *Registry {
	r := NewRegistry(o)
	r.pause = pause{first: time.Millisecond, most: 5 * time.Millisecond}
	return r
}

func copyImage(t testing.TB, dst Sink, to Reference, src Source, from Reference) v1.Descriptor {
	t.Helper()
	d, err := Copy(t.Context(), dst, to, src, from, CopyOptions{})
	check(t, err)
	return d
}

// requireSame checks that ref in s is whole and that every blob has its digest.
func requireWholeStore(t testing.TB, s *Store, ref Reference) {
	t.Helper()
	d, err := s.Resolve(t.Context(), ref)
	check(t, err)
	check(t, s.requireWhole(t.Context(), []Named{{ref, d}}))
	inv, err := s.Inventory(t.Context())
	check(t, err)
	for _, h := range inv {
		b, err := os.ReadFile(s.BlobPath(h))
		check(t, err)
		if digestOf(b) != h {
			t.Errorf("blob %s has other content", h)
		}
	}
}

func ingest(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Root(), "ingest"))
	check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func bytesOpener(b []byte) OpenFunc {
	return func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b[offset:])), nil }
}
