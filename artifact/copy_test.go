package artifact_test

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

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/registry"
)

func TestPushAndPull(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), registry.New(registry.Options{})
	src := registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	remote := f.Ref(t, "team/k3s:v1")
	if got := artifacttest.CopyImage(t, r, remote, src, ref); got.Digest != d.Digest {
		t.Fatalf("pushed %s, want %s", got.Digest, d.Digest)
	}
	dst := registrytest.Store(t)
	if got := artifacttest.CopyImage(t, dst, ref, r, remote); got.Digest != d.Digest {
		t.Fatalf("pulled %s, want %s", got.Digest, d.Digest)
	}
	artifacttest.RequireWholeStore(t, dst, ref)
	if left := artifacttest.Ingest(t, dst); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
}

func TestPushOfWhatIsThereSendsNothing(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, registry.New(registry.Options{}), f.Ref(t, "k3s:v1"), src, ref)
	f.Requests()
	artifacttest.CopyImage(t, registry.New(registry.Options{}), f.Ref(t, "k3s:v1"), src, ref)
	if diff := cmp.Diff([]string{"GET /v2/", "HEAD /v2/k3s/manifests/v1"}, f.Requests()); diff != "" {
		t.Errorf("second push (-want +got):\n%s", diff)
	}
	artifacttest.CopyImage(t, registry.New(registry.Options{}), f.Ref(t, "k3s:v2"), src, ref)
	for _, q := range f.Requests() {
		if strings.Contains(q, "/blobs/") {
			t.Errorf("another tag of the same image asks %s", q)
		}
	}
}

func TestCopyToAnotherDigestIsRefused(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	src := registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	to := f.Ref(t, "k3s@"+artifacttest.DigestOf([]byte("another")).String())
	_, err := artifact.Copy(t.Context(), registry.New(registry.Options{}), to, src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, to.Familiar(), "another digest", d.Digest.String())
	artifacttest.CopyImage(t, registry.New(registry.Options{}), to.WithDigest(d.Digest), src, ref)

	// An index is still found under its digest when only one platform of it was copied.
	index := artifacttest.AddIndex(t, src, artifacttest.AddImage(t, src, "amd64", []string{"a", "b"}), artifacttest.AddImage(t, src, "arm64", []string{"a", "c"}))
	pinned := artifacttest.MustRef(t, "multi").WithDigest(index.Digest)
	_, err = artifact.Copy(t.Context(), registrytest.Store(t), pinned, src, pinned, artifact.CopyOptions{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}})
	artifacttest.Check(t, err)
}

func TestPullOfWhatIsThereFetchesNothing(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, registry.New(registry.Options{}), f.Ref(t, "k3s:v1"), src, ref)
	f.Requests()
	artifacttest.CopyImage(t, src, ref, registry.New(registry.Options{}), f.Ref(t, "k3s:v1"))
	if diff := cmp.Diff([]string{"GET /v2/", "HEAD /v2/k3s/manifests/v1"}, f.Requests()); diff != "" {
		t.Errorf("second pull (-want +got):\n%s", diff)
	}
}

func TestCopyBetweenRepositoriesMounts(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), registry.New(registry.Options{})
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "a:v1"), src, ref)
	f.Requests()
	mounted := 0
	_, err := artifact.Copy(t.Context(), r, f.Ref(t, "b:v1"), r, f.Ref(t, "a:v1"), artifact.CopyOptions{Observe: func(e artifact.Event) {
		if e.Kind == artifact.EventMounted || e.Kind == artifact.EventExists {
			mounted++
		}
	}})
	artifacttest.Check(t, err)
	for _, q := range f.Requests() {
		if strings.HasPrefix(q, "PATCH") {
			t.Errorf("bytes were sent: %s", q)
		}
	}
	if mounted == 0 {
		t.Error("nothing was mounted")
	}
	dst := registrytest.Store(t)
	artifacttest.CopyImage(t, dst, ref, r, f.Ref(t, "b:v1"))
	artifacttest.RequireWholeStore(t, dst, ref)
}

func TestCopyMountsFromWhereItIsToldTo(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), registry.New(registry.Options{})
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "a:v1"), src, ref)
	f.Set(func(w http.ResponseWriter, r *http.Request, next http.Handler) { // a registry that keeps repositories apart
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
	f.Requests()
	mounted := 0
	_, err := artifact.Copy(t.Context(), r, f.Ref(t, "b:v1"), src, ref, artifact.CopyOptions{
		MountFrom: func(v1.Hash) (artifact.Reference, bool) { return f.Ref(t, "a:v1"), true },
		Observe: func(e artifact.Event) {
			if e.Kind == artifact.EventMounted {
				mounted++
			}
		},
	})
	artifacttest.Check(t, err)
	for _, q := range f.Requests() {
		if strings.HasPrefix(q, "PATCH") {
			t.Errorf("bytes were sent: %s", q)
		}
	}
	if mounted == 0 {
		t.Error("nothing was mounted")
	}
}

func TestCopyOrderAndEvents(t *testing.T) {
	src := registrytest.Store(t)
	shared := []string{"shared", "x"}
	amd := artifacttest.AddImage(t, src, "amd64", shared, []string{"amd", "1"})
	arm := artifacttest.AddImage(t, src, "arm64", shared, []string{"arm", "1"})
	idx := artifacttest.AddIndex(t, src, amd, arm)
	ref := artifacttest.MustRef(t, "k3s:v1")
	artifacttest.Check(t, src.Tag(t.Context(), ref, idx))
	var puts []string
	rec := &recorder{Sink: registrytest.Store(t), note: func(s string) { puts = append(puts, s) }}
	_, err := artifact.Copy(t.Context(), rec, ref, src, ref, artifact.CopyOptions{Jobs: 1})
	artifacttest.Check(t, err)
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
	artifact.Sink
	mu   sync.Mutex
	note func(string)
}

func (r *recorder) Put(ctx context.Context, ref artifact.Reference, d v1.Descriptor, open artifact.OpenFunc) error {
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

func (r *recorder) Tag(ctx context.Context, ref artifact.Reference, d v1.Descriptor) error {
	r.note("tag")
	return r.Sink.Tag(ctx, ref, d)
}

func TestProgressOnlyGrows(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), registry.New(registry.Options{})
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	var cut atomic.Int32
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPatch && q.ContentLength > 1<<20 && cut.CompareAndSwap(0, 1) {
			io.CopyN(io.Discard, q.Body, 2<<20)
			panic(http.ErrAbortHandler)
		}
		next.ServeHTTP(w, q)
	})
	last := map[v1.Hash]int64{}
	var tagged bool
	_, err := artifact.Copy(t.Context(), r, f.Ref(t, "k3s:v1"), src, ref, artifact.CopyOptions{Observe: func(e artifact.Event) {
		if e.Kind != artifact.EventTagged && e.Done < last[e.Digest] {
			t.Errorf("%s went from %d back to %d", e.Digest, last[e.Digest], e.Done)
		}
		last[e.Digest] = e.Done
		tagged = e.Kind == artifact.EventTagged
		want := "k3s:v1"
		if tagged {
			want = f.Ref(t, "k3s:v1").Familiar() // what has the name now
		}
		if e.Ref != want {
			t.Errorf("event about %q, want %q", e.Ref, want)
		}
	}})
	artifacttest.Check(t, err)
	if cut.Load() != 1 || !tagged {
		t.Errorf("cut %d times, last event is the tag: %v", cut.Load(), tagged)
	}
}

func TestCopyPicksThePlatform(t *testing.T) {
	src, dst := registrytest.Store(t), registrytest.Store(t)
	amd, arm := artifacttest.AddImage(t, src, "amd64", []string{"amd", "1"}), artifacttest.AddImage(t, src, "arm64", []string{"arm", "1"})
	note := artifacttest.AddImage(t, src, "unknown", []string{"note", "1"})
	note.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	ref := artifacttest.MustRef(t, "k3s:v1")
	artifacttest.Check(t, src.Tag(t.Context(), ref, artifacttest.AddIndex(t, src, amd, arm, note)))
	d, err := artifact.Copy(t.Context(), dst, ref, src, ref, artifact.CopyOptions{Platform: &v1.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}})
	artifacttest.Check(t, err)
	if d.Digest != arm.Digest {
		t.Errorf("copied %s, want %s", d.Digest, arm.Digest)
	}
	if has, _ := dst.Has(t.Context(), ref, amd); has {
		t.Error("the other platform came along")
	}
	_, m, cfg, err := artifact.Manifest(t.Context(), src, ref, &v1.Platform{OS: "linux", Architecture: "amd64"})
	artifacttest.Check(t, err)
	if cfg.Architecture != "amd64" || len(m.Layers) != 1 {
		t.Errorf("Manifest returned %s with %d layers", cfg.Architecture, len(m.Layers))
	}
	_, _, _, err = artifact.Manifest(t.Context(), src, ref, nil)
	artifacttest.WantError(t, err, "linux/amd64, linux/arm64", "--platform")
	_, _, _, err = artifact.Manifest(t.Context(), src, ref, &v1.Platform{OS: "linux", Architecture: "s390x"})
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("platform that is not there: %v", err)
	}
}

func TestCopyNamesForeignLayers(t *testing.T) {
	src, dst := registrytest.Store(t), registrytest.Store(t)
	cfg := artifacttest.AddJSON(t, src, types.OCIConfigJSON, v1.ConfigFile{})
	foreign := v1.Descriptor{MediaType: types.DockerForeignLayer, Size: 9, Digest: artifacttest.DigestOf([]byte("far away")), URLs: []string{"https://example.com/layer"}}
	ref := artifacttest.MustRef(t, "windows:v1")
	artifacttest.Check(t, src.Tag(t.Context(), ref, artifacttest.AddJSON(t, src, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: cfg, Layers: []v1.Descriptor{foreign}})))
	var skipped []string
	_, err := artifact.Copy(t.Context(), dst, ref, src, ref, artifact.CopyOptions{Observe: func(e artifact.Event) {
		if e.Kind == artifact.EventSkipped {
			skipped = append(skipped, e.Name)
		}
	}})
	artifacttest.Check(t, err)
	if len(skipped) != 1 || !strings.Contains(skipped[0], "https://example.com/layer") {
		t.Errorf("skipped: %v", skipped)
	}
}

func TestCopyLeavesOutWhatTheOtherSideHas(t *testing.T) {
	src, dst := registrytest.Store(t), registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	_, m, _, err := artifact.Manifest(t.Context(), src, ref, nil)
	artifacttest.Check(t, err)
	_, err = artifact.Copy(t.Context(), dst, ref, src, ref, artifact.CopyOptions{Have: func(h v1.Hash) bool { return h == m.Layers[0].Digest || h == d.Digest }})
	artifacttest.Check(t, err)
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
		{"missing", func(t *testing.T, path string) { artifacttest.Check(t, os.Remove(path)) }, "not found"},
		{"changed", func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			artifacttest.Check(t, err)
			b[len(b)/2] ^= 1
			artifacttest.Check(t, os.WriteFile(path, b, 0o644))
		}, "the source is damaged"},
		{"cut", func(t *testing.T, path string) { artifacttest.Check(t, os.Truncate(path, 100)) }, "100 bytes of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, src := artifacttest.NewFakeRegistry(t), registrytest.Store(t)
			ref, _ := artifacttest.Tagged(t, src)
			_, m, _, err := artifact.Manifest(t.Context(), src, ref, nil)
			artifacttest.Check(t, err)
			big := m.Layers[1]
			tc.damage(t, src.BlobPath(big.Digest))
			dst := registrytest.Store(t)
			for _, sink := range []artifact.Sink{dst, registry.New(registry.Options{})} {
				to := f.Ref(t, "k3s:v1")
				_, err = artifact.Copy(t.Context(), sink, to, src, ref, artifact.CopyOptions{})
				artifacttest.WantError(t, err, tc.want, "k3s:v1", big.Digest.String())
				if s, ok := sink.(artifact.Source); ok {
					if _, err := s.Resolve(t.Context(), to); !errors.Is(err, artifact.ErrNotFound) {
						t.Errorf("%T: the name is there: %v", sink, err)
					}
				}
			}
		})
	}
}

func TestManifestsAreBounded(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), registry.New(registry.Options{})
	huge := fmt.Sprintf(`{"schemaVersion":2,"config":{},"x":%q}`, strings.Repeat("x", artifact.MaxManifest))
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			w.Header().Set("Docker-Content-Digest", artifacttest.DigestOf([]byte(huge)).String())
			w.Header().Set("Content-Length", fmt.Sprint(len(huge)))
			if q.Method == http.MethodGet {
				io.WriteString(w, huge)
			}
			return
		}
		next.ServeHTTP(w, q)
	})
	_, err := artifact.Copy(t.Context(), registrytest.Store(t), artifacttest.MustRef(t, "a"), r, f.Ref(t, "a:v1"), artifact.CopyOptions{})
	artifacttest.WantError(t, err, "4.0 MiB", "a:v1")
}

func TestCopyStopsWithItsContext(t *testing.T) {
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	ctx, cancel := context.WithCancel(t.Context())
	dst := registrytest.Store(t)
	_, err := artifact.Copy(ctx, dst, ref, src, ref, artifact.CopyOptions{Observe: func(e artifact.Event) {
		if e.Kind == artifact.EventStarted {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if left := artifacttest.Ingest(t, dst); len(left) > 0 {
		t.Errorf("left in ingest: %v", left)
	}
}
