// Package artifacttest makes stores, images and registries for tests.
package artifacttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// Alone runs the tests of a package away from the user's own configuration, and returns the exit code.
func Alone(m *testing.M) int {
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
	return code
}

// MustRef parses a reference.
func MustRef(t testing.TB, s string) artifact.Reference {
	t.Helper()
	r, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Check ends the test when err is an error.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// WantError fails unless err is an error whose text has all parts.
func WantError(t testing.TB, err error, parts ...string) {
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

// DigestOf returns the digest of b.
func DigestOf(b []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

// Noise returns n bytes that do not compress, the same for the same seed.
func Noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// AddLayer puts a layer with the files given as name, content pairs; -name deletes one.
func AddLayer(t testing.TB, s Store, files ...string) (v1.Descriptor, v1.Hash) {
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
	var content bytes.Buffer
	b, err := layer.Write(t.Context(), &content, layer.Sorted(list), layer.Options{})
	Check(t, err)
	_, err = s.PutBytes(t.Context(), b.Descriptor().MediaType, content.Bytes())
	Check(t, err)
	return b.Descriptor(), b.DiffID
}

// AddImage puts an image of layers that AddLayer makes, and does not name it.
func AddImage(t testing.TB, s Store, arch string, layers ...[]string) v1.Descriptor {
	t.Helper()
	cfg := v1.ConfigFile{Architecture: arch, OS: "linux", RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, files := range layers {
		d, id := AddLayer(t, s, files...)
		m.Layers = append(m.Layers, d)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, id)
	}
	m.Config = AddJSON(t, s, types.OCIConfigJSON, cfg)
	d := AddJSON(t, s, types.OCIManifestSchema1, m)
	d.Platform = &v1.Platform{OS: "linux", Architecture: arch}
	return d
}

// AddIndex puts an index of list, and does not name it.
func AddIndex(t testing.TB, s Store, list ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return AddJSON(t, s, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list})
}

// AddJSON puts v as JSON.
func AddJSON(t testing.TB, s Store, mt types.MediaType, v any) v1.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	Check(t, err)
	d, err := s.PutBytes(t.Context(), mt, b)
	Check(t, err)
	return d
}

// Vast makes an image that claims a layer of 1 EiB, which is not there.
func Vast(t testing.TB, s Store) artifact.Reference {
	t.Helper()
	ref := MustRef(t, "vast:v1")
	small, _ := AddLayer(t, s, "etc/a", "one")
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{
		small, {MediaType: types.OCILayerZStd, Size: 1 << 60, Digest: DigestOf([]byte("nowhere"))},
	}}
	m.Config = AddJSON(t, s, types.OCIConfigJSON, v1.ConfigFile{Architecture: "amd64", OS: "linux"})
	Check(t, s.Tag(t.Context(), ref, AddJSON(t, s, types.OCIManifestSchema1, m)))
	return ref
}

// Tagged makes an image of two layers, one of them big, under the name k3s:v1.
func Tagged(t testing.TB, s Store) (artifact.Reference, v1.Descriptor) {
	t.Helper()
	ref := MustRef(t, "k3s:v1")
	d := AddImage(t, s, "amd64", []string{"etc/a", "one"}, []string{"bin/k3s", string(Noise(1, 3<<20))})
	Check(t, s.Tag(t.Context(), ref, d))
	return ref, artifact.Bare(d)
}

// FakeRegistry is ggcr's in-memory registry behind a hook and a log of requests.
type FakeRegistry struct {
	*httptest.Server
	Inner http.Handler
	mu    sync.Mutex
	log   []string
	hook  func(w http.ResponseWriter, r *http.Request, next http.Handler) // nil: pass on
}

// Host returns the registry's name in references.
func (f *FakeRegistry) Host() string { return f.Listener.Addr().String() }

// Ref returns the reference of s, a repository and tag, in this registry.
func (f *FakeRegistry) Ref(t testing.TB, s string) artifact.Reference {
	return MustRef(t, f.Host()+"/"+s)
}

// Requests returns method and path of each request since it was called last.
func (f *FakeRegistry) Requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.log
	f.log = nil
	return l
}

// NewFake starts a registry with start, httptest.NewServer or NewTLSServer say. It ends with the test.
func NewFake(t testing.TB, start func(http.Handler) *httptest.Server) *FakeRegistry {
	f := &FakeRegistry{Inner: ggcr.New(ggcr.Logger(NopLogger()))}
	f.Server = start(http.HandlerFunc(f.Serve))
	f.Server.Config.ErrorLog = NopLogger()
	t.Cleanup(f.Close)
	return f
}

// Serve answers a request.
func (f *FakeRegistry) Serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(w, r, f.Inner)
		return
	}
	f.Inner.ServeHTTP(w, r)
}

// NewFakeRegistry starts a registry that speaks plain HTTP. It ends with the test.
func NewFakeRegistry(t testing.TB) *FakeRegistry { return NewFake(t, httptest.NewServer) }

// Set makes hook answer requests; next is the registry itself. nil takes the hook away.
func (f *FakeRegistry) Set(hook func(w http.ResponseWriter, r *http.Request, next http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// CopyImage copies an image with all its platforms.
func CopyImage(t testing.TB, dst artifact.Sink, to artifact.Reference, src artifact.Source, from artifact.Reference) v1.Descriptor {
	t.Helper()
	d, err := artifact.Copy(t.Context(), dst, to, src, from, artifact.CopyOptions{})
	Check(t, err)
	return d
}

// RequireWholeStore checks that ref in s is whole and that every blob has its digest.
func RequireWholeStore(t testing.TB, s Store, ref artifact.Reference) {
	t.Helper()
	d, err := s.Resolve(t.Context(), ref)
	Check(t, err)
	list, missing, err := artifact.Contents(t.Context(), s, ref, d)
	Check(t, err)
	for _, p := range list {
		if has, err := s.Has(t.Context(), ref, p.Descriptor); err != nil || !has || len(missing) > 0 {
			t.Fatalf("%s %s of %s is missing: %v", p.Name, p.Digest, ref, err)
		}
	}
	inv, err := s.Inventory(t.Context())
	Check(t, err)
	for _, h := range inv {
		b, err := os.ReadFile(s.BlobPath(h))
		Check(t, err)
		if DigestOf(b) != h {
			t.Errorf("blob %s has other content", h)
		}
	}
}

// Ingest lists the files of downloads that a store has not finished.
func Ingest(t testing.TB, s Store) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.Root(), "ingest"))
	Check(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// BytesOpener opens b as the content of a blob.
func BytesOpener(b []byte) artifact.OpenFunc {
	return func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b[offset:])), nil }
}

// NopLogger logs nothing.
func NopLogger() *log.Logger { return log.New(io.Discard, "", 0) }

// Failing is a reader that has nothing but an error.
type Failing struct{ Err error }

// Read implements io.Reader.
func (f Failing) Read([]byte) (int, error) { return 0, f.Err }

// ErrBroken is what a test breaks a transfer with.
var ErrBroken = errors.New("the line broke")

// Store is what these helpers need of a store.
type Store interface {
	artifact.Source
	artifact.Sink
	PutBytes(ctx context.Context, mediaType types.MediaType, b []byte) (v1.Descriptor, error)
	Inventory(ctx context.Context) ([]v1.Hash, error)
	BlobPath(h v1.Hash) string
	Root() string
}
