package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func TestPushAndPull(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	src := newStore(t)
	ref, d := tagged(t, src)
	remote := f.ref(t, "team/k3s:v1")
	if got := copyImage(t, r, remote, src, ref); got.Digest != d.Digest {
		t.Fatalf("pushed %s, want %s", got.Digest, d.Digest)
	}
	dst := newStore(t)
	if got := copyImage(t, dst, ref, r, remote); got.Digest != d.Digest {
		t.Fatalf("pulled %s, want %s", got.Digest, d.Digest)
	}
	requireWholeStore(t, dst, ref)
	if left := ingest(t, dst); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestPushOfWhatIsThereSendsNothing(t *testing.T) {
	f := newFakeRegistry(t)
	src := newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v1"), src, ref)
	f.requests()
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v1"), src, ref)
	if diff := cmp.Diff([]string{"GET /v2/", "HEAD /v2/k3s/manifests/v1"}, f.requests()); diff != "" {
		t.Errorf("second push (-want +got):\n%s", diff)
	}
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v2"), src, ref)
	for _, q := range f.requests() {
		if strings.Contains(q, "/blobs/") {
			t.Errorf("another tag of the same image asks %s", q)
		}
	}
}

func TestCopyToAnotherDigestIsRefused(t *testing.T) {
	f := newFakeRegistry(t)
	src := newStore(t)
	ref, d := tagged(t, src)
	to := f.ref(t, "k3s@"+digestOf([]byte("another")).String())
	_, err := Copy(t.Context(), fastRegistry(RegistryOptions{}), to, src, ref, CopyOptions{})
	wantError(t, err, to.Familiar(), "another digest", d.Digest.String())
	copyImage(t, fastRegistry(RegistryOptions{}), to.WithDigest(d.Digest), src, ref)

	// An index is still found under its digest when only one platform of it was copied.
	index := addIndex(t, src, addImage(t, src, "amd64", []string{"a", "b"}), addImage(t, src, "arm64", []string{"a", "c"}))
	pinned := mustRef(t, "multi").WithDigest(index.Digest)
	_, err = Copy(t.Context(), newStore(t), pinned, src, pinned, CopyOptions{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}})
	check(t, err)
}

func TestPullOfWhatIsThereFetchesNothing(t *testing.T) {
	f := newFakeRegistry(t)
	src := newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v1"), src, ref)
	f.requests()
	copyImage(t, src, ref, fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v1"))
	if diff := cmp.Diff([]string{"GET /v2/", "HEAD /v2/k3s/manifests/v1"}, f.requests()); diff != "" {
		t.Errorf("second pull (-want +got):\n%s", diff)
	}
}

func TestCopyBetweenRepositoriesMounts(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	src := newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, r, f.ref(t, "a:v1"), src, ref)
	f.requests()
	mounted := 0
	_, err := Copy(t.Context(), r, f.ref(t, "b:v1"), r, f.ref(t, "a:v1"), CopyOptions{Observe: func(e Event) {
		if e.Kind == EventMounted || e.Kind == EventExists {
			mounted++
		}
	}})
	check(t, err)
	for _, q := range f.requests() {
		if strings.HasPrefix(q, "PATCH") {
			t.Errorf("bytes were sent: %s", q)
		}
	}
	if mounted == 0 {
		t.Error("nothing was mounted")
	}
	dst := newStore(t)
	copyImage(t, dst, ref, r, f.ref(t, "b:v1"))
	requireWholeStore(t, dst, ref)
}

func TestCopyMountsFromWhereItIsToldTo(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	src := newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, r, f.ref(t, "a:v1"), src, ref)
	f.set(func(w http.ResponseWriter, r *http.Request, next http.Handler) { // a registry that keeps repositories apart
		switch query := r.URL.Query(); {
		case r.Method == http.MethodHead && strings.HasPrefix(r.URL.Path, "/v2/b/"):
			w.WriteHeader(http.StatusNotFound)
		case query.Get("mount") != "" && query.Get("from") == "a":
			w.Header().Set("Location", "/v2/b/blobs/"+query.Get("mount"))
			w.WriteHeader(http.StatusCreated)
		default:
			next.ServeHTTP(w, r)
		}
	})
	f.requests()
	mounted := 0
	_, err := Copy(t.Context(), r, f.ref(t, "b:v1"), src, ref, CopyOptions{
		MountFrom: func(v1.Hash) (Reference, bool) { return f.ref(t, "a:v1"), true },
		Observe: func(e Event) {
			if e.Kind == EventMounted {
				mounted++
			}
		},
	})
	check(t, err)
	for _, q := range f.requests() {
		if strings.HasPrefix(q, "PATCH") {
			t.Errorf("bytes were sent: %s", q)
		}
	}
	if mounted == 0 {
		t.Error("nothing was mounted")
	}
}

func TestCopyOrderAndEvents(t *testing.T) {
	src := newStore(t)
	shared := []string{"shared", "x"}
	amd := addImage(t, src, "amd64", shared, []string{"amd", "1"})
	arm := addImage(t, src, "arm64", shared, []string{"arm", "1"})
	idx := addIndex(t, src, amd, arm)
	ref := mustRef(t, "k3s:v1")
	check(t, src.Tag(t.Context(), ref, idx))
	var puts []string
	rec := &recorder{Sink: newStore(t), note: func(s string) { puts = append(puts, s) }}
	_, err := Copy(t.Context(), rec, ref, src, ref, CopyOptions{Jobs: 1})
	check(t, err)
	var kinds []string
	seen := map[string]bool{}
	for _, p := range puts {
		if seen[p] {
			t.Errorf("%s twice", p)
		}
		seen[p] = true
		kinds = append(kinds, strings.Fields(p)[0])
	}
	want := "blob blob blob blob blob manifest manifest index tag"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("order %q, want %q", got, want)
	}
}

// recorder notes what is put, and refuses what fail names.
type recorder struct {
	Sink
	mu   sync.Mutex
	note func(string)
}

func (r *recorder) Put(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc) error {
	kind := "blob"
	if d.MediaType.IsIndex() {
		kind = "index"
	} else if d.MediaType.IsImage() {
		kind = "manifest"
	}
	r.mu.Lock()
	r.note(kind + " " + d.Digest.String())
	r.mu.Unlock()
	return r.Sink.Put(ctx, ref, d, open)
}

func (r *recorder) Tag(ctx context.Context, ref Reference, d v1.Descriptor) error {
	r.note("tag")
	return r.Sink.Tag(ctx, ref, d)
}

func TestProgressOnlyGrows(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	src := newStore(t)
	ref, _ := tagged(t, src)
	var cut atomic.Int32
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPatch && q.ContentLength > 1<<20 && cut.CompareAndSwap(0, 1) {
			io.CopyN(io.Discard, q.Body, 2<<20)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, q)
	})
	last := map[v1.Hash]int64{}
	var tagged bool
	_, err := Copy(t.Context(), r, f.ref(t, "k3s:v1"), src, ref, CopyOptions{Observe: func(e Event) {
		if e.Kind != EventTagged && e.Done < last[e.Digest] {
			t.Errorf("%s went from %d back to %d", e.Digest, last[e.Digest], e.Done)
		}
		last[e.Digest] = e.Done
		tagged = e.Kind == EventTagged
		want := "k3s:v1"
		if tagged {
			want = f.ref(t, "k3s:v1").Familiar() // what has the name now
		}
		if e.Ref != want {
			t.Errorf("event about %q, want %q", e.Ref, want)
		}
	}})
	check(t, err)
	if cut.Load() != 1 || !tagged {
		t.Errorf("cut %d times, last event is the tag: %v", cut.Load(), tagged)
	}
}

func TestCopyPicksThePlatform(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	amd, arm := addImage(t, src, "amd64", []string{"amd", "1"}), addImage(t, src, "arm64", []string{"arm", "1"})
	note := addImage(t, src, "unknown", []string{"note", "1"})
	note.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	ref := mustRef(t, "k3s:v1")
	check(t, src.Tag(t.Context(), ref, addIndex(t, src, amd, arm, note)))
	d, err := Copy(t.Context(), dst, ref, src, ref, CopyOptions{Platform: &v1.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}})
	check(t, err)
	if d.Digest != arm.Digest {
		t.Errorf("copied %s, want %s", d.Digest, arm.Digest)
	}
	if has, _ := dst.Has(t.Context(), ref, amd); has {
		t.Error("the other platform came along")
	}
	_, m, cfg, err := Manifest(t.Context(), src, ref, &v1.Platform{OS: "linux", Architecture: "amd64"})
	check(t, err)
	if cfg.Architecture != "amd64" || len(m.Layers) != 1 {
		t.Errorf("Manifest returned %s with %d layers", cfg.Architecture, len(m.Layers))
	}
	_, _, _, err = Manifest(t.Context(), src, ref, nil)
	wantError(t, err, "linux/amd64, linux/arm64", "--platform")
	_, _, _, err = Manifest(t.Context(), src, ref, &v1.Platform{OS: "linux", Architecture: "s390x"})
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("platform that is not there: %v", err)
	}
}

func TestCopyNamesForeignLayers(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	cfg := addJSON(t, src, types.OCIConfigJSON, v1.ConfigFile{})
	foreign := v1.Descriptor{MediaType: types.DockerForeignLayer, Size: 9, Digest: digestOf([]byte("far away")), URLs: []string{"https://example.com/layer"}}
	ref := mustRef(t, "windows:v1")
	check(t, src.Tag(t.Context(), ref, addJSON(t, src, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: cfg, Layers: []v1.Descriptor{foreign}})))
	var skipped []string
	_, err := Copy(t.Context(), dst, ref, src, ref, CopyOptions{Observe: func(e Event) {
		if e.Kind == EventSkipped {
			skipped = append(skipped, e.Name)
		}
	}})
	check(t, err)
	if len(skipped) != 1 || !strings.Contains(skipped[0], "https://example.com/layer") {
		t.Errorf("skipped: %v", skipped)
	}
}

func TestCopyLeavesOutWhatTheOtherSideHas(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	ref, d := tagged(t, src)
	_, m, _, err := Manifest(t.Context(), src, ref, nil)
	check(t, err)
	_, err = Copy(t.Context(), dst, ref, src, ref, CopyOptions{Have: func(h v1.Hash) bool { return h == m.Layers[0].Digest || h == d.Digest }})
	check(t, err)
	if has, _ := dst.Has(t.Context(), ref, m.Layers[0]); has {
		t.Error("a blob went that the other side was said to have")
	}
	if has, _ := dst.Has(t.Context(), ref, d); !has {
		t.Error("the manifest did not go")
	}
}

func TestCopyDoesNotNameWhatIsNotWhole(t *testing.T) {
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, path string)
		want   string
	}{
		{"missing", func(t *testing.T, path string) { check(t, os.Remove(path)) }, "not found"},
		{"changed", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			check(t, err)
			b[len(b)/2] ^= 1
			check(t, os.WriteFile(path, b, 0o644))
		}, "the source is damaged"},
		{"cut", func(t *testing.T, path string) { check(t, os.Truncate(path, 100)) }, "100 bytes of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, src := newFakeRegistry(t), newStore(t)
			ref, _ := tagged(t, src)
			_, m, _, err := Manifest(t.Context(), src, ref, nil)
			check(t, err)
			big := m.Layers[1]
			tc.damage(t, src.BlobPath(big.Digest))
			dst := newStore(t)
			for _, sink := range []Sink{dst, fastRegistry(RegistryOptions{}), NewArchiveSink(io.Discard)} {
				to := f.ref(t, "k3s:v1")
				_, err = Copy(t.Context(), sink, to, src, ref, CopyOptions{})
				wantError(t, err, tc.want, "k3s:v1", big.Digest.String())
				if s, ok := sink.(Source); ok {
					if _, err := s.Resolve(t.Context(), to); !errors.Is(err, ErrNotFound) {
						t.Errorf("%T: the name is there: %v", sink, err)
					}
				}
			}
		})
	}
}

func TestManifestsAreBounded(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	huge := fmt.Sprintf(`{"schemaVersion":2,"config":{},"x":%q}`, strings.Repeat("x", MaxManifest))
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Docker-Content-Digest", digestOf([]byte(huge)).String())
			w.Header().Set("Content-Length", fmt.Sprint(len(huge)))
			if q.Method == http.MethodGet {
				io.WriteString(w, huge)
			}
			return
		}
		next.ServeHTTP(w, q)
	})
	_, err := Copy(t.Context(), newStore(t), mustRef(t, "a"), r, f.ref(t, "a:v1"), CopyOptions{})
	wantError(t, err, "4.0 MiB", "a:v1")
}

func TestCopyStopsWithItsContext(t *testing.T) {
	src := newStore(t)
	ref, _ := tagged(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	dst := newStore(t)
	_, err := Copy(ctx, dst, ref, src, ref, CopyOptions{Observe: func(e Event) {
		if e.Kind == EventStarted {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if left := ingest(t, dst); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
}
