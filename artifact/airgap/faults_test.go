package airgap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// isLayer tells requests for layers, which are the blobs that are not small.
func isLayer(q *http.Request) bool {
	return q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/")
}

func isManifest(q *http.Request) bool {
	return q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/manifests/")
}

// rewriter changes the bytes of an answer on their way.
type rewriter struct {
	http.ResponseWriter
	sent int64
	edit func(at int64, p []byte) []byte // may panic
}

func (w *rewriter) Write(p []byte) (int, error) {
	_, err := w.ResponseWriter.Write(w.edit(w.sent, bytes.Clone(p)))
	w.sent += int64(len(p))
	return len(p), err
}

// cut ends a body after n bytes by breaking the connection.
func cut(n int64) func(int64, []byte) []byte {
	return func(at int64, p []byte) []byte {
		if at >= n {
			panic(http.ErrAbortHandler)
		}
		return p[:min(int64(len(p)), n-at)]
	}
}

// noRanges makes an answer forget that it could be asked for a part.
func noRanges(q *http.Request) *http.Request {
	q = q.Clone(q.Context())
	q.Header.Del("Range")
	return q
}

// first is true the first n times for each path.
type first struct {
	n    int
	mu   sync.Mutex
	seen map[string]int
}

func (f *first) of(q *http.Request) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]int{}
	}
	f.seen[q.URL.Path]++
	return f.seen[q.URL.Path] <= f.n
}

// requireSound checks that a store has nothing half-done, and no blob whose bytes
// are not its own.
func requireSound(t *testing.T, s *store.Store) {
	t.Helper()
	left, err := os.ReadDir(filepath.Join(s.Root(), "ingest"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), "boot-") { // says that this process is at work
			t.Errorf("ingest has %s", e.Name())
		}
	}
	blobs, err := s.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range blobs {
		b, err := os.ReadFile(s.BlobPath(h))
		if err != nil || layout.DigestOf(b) != h {
			t.Errorf("blob %s has other bytes: %v", h, err)
		}
	}
}

// TestCollectCopesWithRegistries: what goes wrong for a while does not end a
// build.
func TestCollectCopesWithRegistries(t *testing.T) {
	for name, fault := range map[string]func() registrytest.Hook{
		"500, then better": func() registrytest.Hook {
			f := first{n: 1}
			return func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
				if q.URL.Path == "/v2/" || !f.of(q) {
					return false
				}
				w.WriteHeader(500)
				return true
			}
		},
		"429 with Retry-After": func() registrytest.Hook {
			f := first{n: 1}
			return func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
				if !isManifest(q) || !f.of(q) {
					return false
				}
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
				return true
			}
		},
		"half a body, then a reset": func() registrytest.Hook {
			f := first{n: 1}
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if isLayer(q) && f.of(q) {
					next.ServeHTTP(&rewriter{ResponseWriter: w, edit: cut(300 << 10)}, q)
				}
				return false
			}
		},
		"half a body, and no ranges": func() registrytest.Hook {
			f := first{n: 1}
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if !isLayer(q) {
					return false
				}
				if f.of(q) {
					w = &rewriter{ResponseWriter: w, edit: cut(300 << 10)}
				}
				next.ServeHTTP(w, noRanges(q))
				return true
			}
		},
		"half a body, and ranges are an error": func() registrytest.Hook {
			f := first{n: 1}
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if q.Header.Get("Range") != "" {
					w.WriteHeader(416)
					return true
				}
				if isLayer(q) && f.of(q) {
					next.ServeHTTP(&rewriter{ResponseWriter: w, edit: cut(300 << 10)}, q)
				}
				return false
			}
		},
		"drop by drop": func() registrytest.Hook {
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if !isLayer(q) {
					return false
				}
				next.ServeHTTP(&rewriter{ResponseWriter: w, edit: func(_ int64, p []byte) []byte {
					for len(p) > 1000 {
						w.Write(p[:1000])
						http.NewResponseController(w).Flush()
						p = p[1000:]
					}
					return p
				}}, q)
				return true
			}
		},
		"a redirect to another host": func() registrytest.Hook {
			var inner http.Handler
			cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) { inner.ServeHTTP(w, q) }))
			t.Cleanup(cdn.Close)
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				if !isLayer(q) {
					return false
				}
				inner = next
				http.Redirect(w, q, cdn.URL+q.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
		},
		"no digest header": func() registrytest.Hook {
			return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
				next.ServeHTTP(&dropHeader{ResponseWriter: w, name: "Docker-Content-Digest"}, q)
				return true
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := registrytest.New(t)
			reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "one"))
			reg.Push(t, "b:1", registrytest.Image(t, amd64, 1000, "two"))
			store := registrytest.Store(t)
			o := options(store)
			o.Source, o.Jobs = registry.New(registry.Options{PlainHTTP: true, Retries: 3}), 1
			want := collect(t, list(t, reg, "a:1", "b:1"), options(registrytest.Store(t)))
			reg.Faulty(fault())
			if got := collect(t, list(t, reg, "a:1", "b:1"), o); got.Index != want.Index || fmt.Sprint(digests(got)) != fmt.Sprint(digests(want)) {
				t.Error("the layers differ from those of a registry without faults")
			}
			requireSound(t, store)
		})
	}
}

type dropHeader struct {
	http.ResponseWriter
	name string
}

func (d *dropHeader) WriteHeader(status int) {
	d.Header().Del(d.name)
	d.ResponseWriter.WriteHeader(status)
}

// TestCollectRefusesBadAnswers: the error names the image, who asks for it, the
// cause and what to do; the store is as good as before.
func TestCollectRefusesBadAnswers(t *testing.T) {
	layers := func(edit func(int64, []byte) []byte) registrytest.Hook {
		return func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if !isLayer(q) {
				return false
			}
			next.ServeHTTP(&rewriter{ResponseWriter: w, edit: edit}, noRanges(q))
			return true
		}
	}
	manifest := func(mt types.MediaType, body func(w io.Writer)) registrytest.Hook {
		return func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			if !strings.HasSuffix(q.URL.Path, "/manifests/1") {
				return false
			}
			w.Header().Set("Content-Type", string(mt))
			body(w)
			return true
		}
	}
	text := func(s string) func(io.Writer) { return func(w io.Writer) { io.WriteString(w, s) } }
	status := func(code int, which func(*http.Request) bool) registrytest.Hook {
		return func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			if which(q) {
				w.WriteHeader(code)
			}
			return which(q)
		}
	}
	tests := []struct {
		name  string
		fault registrytest.Hook
		want  []string
	}{
		{"truncated bodies", layers(cut(1000)), []string{"broken off after", "unexpected EOF"}},
		{"a corrupted byte", layers(func(at int64, p []byte) []byte {
			p[0] ^= 1
			return p
		}), []string{"have digest sha256:", "the source is damaged"}},
		{"500 for ever", status(500, isLayer), []string{"500"}},
		{"429 for ever", status(429, isLayer), []string{"429", "sealrt login", "registries.conf"}},
		{"a layer that is gone", status(404, isLayer), []string{"not found", "the image again"}},
		{"another digest in the header", func(w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if !strings.HasSuffix(q.URL.Path, "/manifests/1") {
				return false
			}
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, q)
			w.Header().Set("Content-Type", rec.Header().Get("Content-Type"))
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			w.Write(rec.Body.Bytes())
			return true
		}, []string{"the registry says that the manifest has digest sha256:000", "damaged"}},
		{"a manifest of 100 MB", func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
			if isManifest(q) {
				w.Header().Set("Content-Length", "100000000")
				w.Write(make([]byte, 1<<20))
			}
			return isManifest(q)
		}, []string{"the manifest has 95.4 MiB, more than the 4.0 MiB"}},
		{"a manifest that does not end", manifest(types.OCIManifestSchema1, func(w io.Writer) {
			io.WriteString(w, `{"schemaVersion":2,"config":"`)
			for range 100 {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
					return
				}
			}
		}), []string{"more than the 4.0 MiB that a manifest may have"}},
		{"schema 1", manifest(types.DockerManifestSchema1Signed, text(`{"schemaVersion":1}`)), []string{"schema 1", "push the image again"}},
		{"no JSON", manifest(types.OCIManifestSchema1, text("<html>")), []string{"no image manifest"}},
		{"something else", manifest(types.OCIManifestSchema1, text(`{"schemaVersion":2,"mediaType":"application/vnd.other+json"}`)), []string{"application/vnd.other+json"}},
		{"no config", manifest(types.OCIManifestSchema1, text(`{"schemaVersion":2,"layers":[],"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"`+someDigest+`"}}`)),
			[]string{"config", "not found"}},
		{"digests of another kind", manifest(types.OCIManifestSchema1, text(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","size":2,"digest":"sha512:`+strings.Repeat("0", 128)+`"},"layers":[]}`)),
			[]string{"sha512"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := registrytest.New(t)
			reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "one"))
			store := registrytest.Store(t)
			reg.Faulty(tt.fault)
			_, err := Collect(t.Context(), list(t, reg, "a:1"), options(store))
			var missing *MissingError
			if !errors.As(err, &missing) || len(missing.Missing) != 1 {
				t.Fatalf("got %v", err)
			}
			for _, part := range append(tt.want, "imageList:1: ", reg.Host+"/a") {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
			if len(err.Error()) > 1500 {
				t.Errorf("the error has %d bytes: %.300s", len(err.Error()), err)
			}
			requireSound(t, store)
			reg.Faulty(nil)
			collect(t, list(t, reg, "a:1"), options(store))
			requireSound(t, store)
		})
	}
}

// TestCollectNamesAllLostBlobs: what is found missing only when it is fetched is
// told all at once too, for every image.
func TestCollectNamesAllLostBlobs(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "base", "one"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1<<20, "base", "two"))
	reg.Push(t, "c:1", registrytest.Image(t, amd64, 1<<20, "three"))
	reg.Push(t, "d:1", registrytest.Image(t, amd64, 1000, "four"))
	lost := map[string]bool{}
	for _, seed := range []string{"base", "four"} {
		size := map[string]int{"base": 1 << 20, "four": 1000}[seed]
		m, err := registrytest.Image(t, amd64, size, seed).Manifest()
		if err != nil {
			t.Fatal(err)
		}
		lost[m.Layers[0].Digest.String()] = true
	}
	reg.Faulty(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if lost[filepath.Base(q.URL.Path)] {
			w.WriteHeader(404)
			return true
		}
		return false
	})
	store := registrytest.Store(t)
	_, err := Collect(t.Context(), list(t, reg, "a:1", "b:1", "c:1", "d:1"), options(store))
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, m := range missing.Missing {
		got = append(got, m.Ref.Path())
	}
	if fmt.Sprint(got) != "[a b d]" {
		t.Errorf("missing are %v: %v", got, err)
	}
	requireSound(t, store)
}

// putRaw stores an image or index as it is given and returns its digest.
func putRaw(t *testing.T, r *registrytest.Registry, repo, tag string, mt types.MediaType, v any) v1.Hash {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []string{tag, layout.DigestOf(b).String()} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://"+r.Host+"/v2/"+repo+"/manifests/"+object, bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", string(mt))
		resp, err := http.DefaultClient.Do(req)
		if err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("put manifest: %v %v", resp, err)
		}
		resp.Body.Close()
	}
	return layout.DigestOf(b)
}

// TestCollectOddImages: images that are rare, and some that cannot be.
func TestCollectOddImages(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "plain:1", registrytest.Image(t, amd64, 1<<20, "one"))
	plain, err := registrytest.Image(t, amd64, 1<<20, "one").Manifest()
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func(*v1.Manifest)) *v1.Manifest {
		m := plain.DeepCopy()
		edit(m)
		return m
	}
	put := func(tag string, m *v1.Manifest) { putRaw(t, reg, "plain", tag, types.OCIManifestSchema1, m) }
	put("foreign", edited(func(m *v1.Manifest) {
		m.Layers[0].MediaType, m.Layers[0].URLs = types.DockerForeignLayer, []string{"https://vendor.example.com/layer"}
	}))
	put("elsewhere", edited(func(m *v1.Manifest) {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.DockerForeignLayer, Size: 7, Digest: layout.DigestOf([]byte("elsewhere")), URLs: []string{"https://vendor.example.com/layer"}})
	}))
	put("longer", edited(func(m *v1.Manifest) { m.Layers[0].Size++ }))
	put("shorter", edited(func(m *v1.Manifest) { m.Layers[0].Size-- }))
	put("negative", edited(func(m *v1.Manifest) { m.Layers[0].Size = -1 }))
	put("empty", edited(func(m *v1.Manifest) {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCILayer, Digest: layout.DigestOf(nil)})
	}))
	put("notempty", edited(func(m *v1.Manifest) {
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCILayer, Digest: layout.DigestOf([]byte("x"))})
	}))
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	reg.Push(t, "index:arm", mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: registrytest.Image(t, arm, 1000, "arm64"), Descriptor: v1.Descriptor{Platform: &arm}}))
	putRaw(t, reg, "index", "plain", types.OCIManifestSchema1, plain)
	deep := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: plainDigest(t, plain), Size: int64(len(mustJSON(t, plain))), Platform: &amd64}
	for depth := range 8 {
		idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{deep}}
		h := putRaw(t, reg, "index", fmt.Sprintf("deep%d", depth), types.OCIImageIndex, idx)
		deep = v1.Descriptor{MediaType: types.OCIImageIndex, Digest: h, Size: int64(len(mustJSON(t, idx))), Platform: &amd64}
	}
	// An index that names itself can only lie about its digest.
	self := v1.Descriptor{MediaType: types.OCIImageIndex, Digest: layout.DigestOf([]byte("self")), Size: 500, Platform: &amd64}
	itself := func() []byte {
		return mustJSON(t, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{self}})
	}
	self.Size = int64(len(itself())) // of three digits, as before
	cyclic := itself()
	reg.Faulty(func(w http.ResponseWriter, q *http.Request, _ http.Handler) bool {
		if !strings.HasSuffix(q.URL.Path, "/manifests/cyclic") && !strings.HasSuffix(q.URL.Path, self.Digest.String()) {
			return false
		}
		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		w.Write(cyclic)
		return true
	})
	tests := []struct {
		line string
		want []string // none: it works
	}{
		{"plain:foreign", nil},
		{"plain:empty", nil},
		{"index:deep0", nil},
		{"plain:elsewhere", []string{"https://vendor.example.com/layer", "to a registry of yours"}},
		{"plain:longer", []string{"the registry has 1048576 bytes of it, the image says 1048577"}},
		{"plain:shorter", []string{"the registry has 1048576 bytes of it, the image says 1048575"}},
		{"plain:negative", []string{"size -1"}},
		{"plain:notempty", []string{"have digest sha256:e3b0c44298fc", "damaged"}},
		{"index:arm", []string{"linux/arm64", "linux/amd64", "not found"}},
		{"index:deep7", []string{"indexes are nested more than"}},
		{"index:cyclic", []string{self.Digest.String(), "damaged"}},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			store := registrytest.Store(t)
			set, err := Collect(t.Context(), list(t, reg, tt.line), options(store))
			requireSound(t, store)
			if tt.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				dir := unpack(t, store, set)
				if err := layout.WriteArchive(t.Context(), io.Discard, dir, nil); err != nil {
					t.Errorf("the layout is not whole: %v", err)
				}
				return
			}
			var missing *MissingError
			if !errors.As(err, &missing) {
				t.Fatalf("got %v", err)
			}
			repo, _, _ := strings.Cut(tt.line, ":")
			for _, part := range append(tt.want, "imageList:1: ", reg.Host+"/"+repo) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error lacks %q: %v", part, err)
				}
			}
		})
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func plainDigest(t *testing.T, m *v1.Manifest) v1.Hash {
	t.Helper()
	sum := sha256.Sum256(mustJSON(t, m))
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// TestCollectNamesTheDamagedFile: what is wrong on this machine is told as such.
func TestCollectNamesTheDamagedFile(t *testing.T) {
	reg := registrytest.New(t)
	img := registrytest.Image(t, amd64, 1000, "one", "two")
	reg.Push(t, "a:1", img)
	store := registrytest.Store(t)
	collect(t, list(t, reg, "a:1"), options(store))
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	near, err := packed{store}.open(m.Layers[0])
	if err != nil || near == nil {
		t.Fatalf("the store lacks the layer: %v", err)
	}
	near.Close()
	b, err := os.ReadFile(near.file.Name())
	if err == nil {
		at := bytes.Index(b, []byte(m.Layers[0].Digest.Hex))
		b[at+600] ^= 1 // in the content, behind the header
		err = os.WriteFile(near.file.Name(), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ { // the bucket of the damaged one is written again for another blob of it
		img := registrytest.Image(t, amd64, 1000, "one", "two", fmt.Sprint(i))
		m2, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		if bucket(m2.Layers[2].Digest) == bucket(m.Layers[0].Digest) {
			reg.Push(t, "c:1", img)
			break
		}
	}
	_, err = Collect(t.Context(), list(t, reg, "c:1"), options(store))
	if err == nil || !strings.Contains(err.Error(), "remove "+near.file.Name()+", then build again") {
		t.Errorf("got %v", err)
	}
}
