package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// withReferrers is a registry that has the referrers API.
func withReferrers(t *testing.T) *registrytest.Registry {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)), ggcr.WithReferrersSupport(true)))
	t.Cleanup(server.Close)
	return &registrytest.Registry{Host: strings.TrimPrefix(server.URL, "http://")}
}

// asking are the options of a build that carries signatures.
func asking(s *store.Store) Options {
	o := options(s)
	o.Signatures = o.Source.(*registry.Client)
	return o
}

// note is an artifact of one small layer that means nothing.
func note(t *testing.T, content string) v1.Image {
	t.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), "application/vnd.example.note")
	img, err := mutate.AppendLayers(img, static.NewLayer([]byte(content), "application/vnd.example.text"))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// refer pushes a note that refers to an image or index of a repository.
func refer(t *testing.T, r *registrytest.Registry, repo string, h v1.Hash, mt types.MediaType, content string) v1.Hash {
	t.Helper()
	img := mutate.Subject(note(t, content), v1.Descriptor{MediaType: mt, Digest: h, Size: 1}).(v1.Image)
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return r.Push(t, repo+"@"+d.String(), img)
}

// multi pushes an index for two platforms and returns its digest and that of the manifest for amd64.
func multi(t *testing.T, r *registrytest.Registry, ref string) (index, manifest v1.Hash) {
	t.Helper()
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	mine := registrytest.Image(t, amd64, 1000, "amd64 "+ref)
	index = r.Push(t, ref, mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: registrytest.Image(t, arm, 1000, "arm64"), Descriptor: v1.Descriptor{Platform: &arm}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &amd64}}))
	manifest, err := mine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return index, manifest
}

func tagOf(h v1.Hash, suffix string) string { return "sha256-" + h.Hex + suffix }

// attached lists the names in a layout that are no images'.
func attached(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	for _, d := range entriesOf(t, dir) {
		if name := layout.AttachedName(d); name != "" {
			names = append(names, name)
		}
		for _, runtimes := range []string{artifact.AnnotationContainerdName, artifact.AnnotationRefName} {
			if layout.AttachedName(d) != "" && d.Annotations[runtimes] != "" {
				t.Errorf("runtimes find %v", d.Annotations)
			}
		}
	}
	return names
}

func TestCollectCarriesSignatures(t *testing.T) {
	for name, reg := range map[string]*registrytest.Registry{"with the referrers API": withReferrers(t), "without": registrytest.New(t)} {
		t.Run(name, func(t *testing.T) {
			index, manifest := multi(t, reg, "app:1")
			reg.Push(t, "app:"+tagOf(index, ".sig"), note(t, "sig of the index"))
			reg.Push(t, "app:"+tagOf(index, ".att"), note(t, "att of the index"))
			reg.Push(t, "app:"+tagOf(manifest, ".att"), note(t, "without a signature"))
			bundle := refer(t, reg, "app", manifest, types.OCIManifestSchema1, "bundle")
			reg.Push(t, "plain:1", registrytest.Image(t, amd64, 1000, "plain"))
			store := registrytest.Store(t)
			images := list(t, reg, "app:1", "plain:1")
			set := collect(t, images, asking(store))
			dir := unpack(t, store, set)
			repo := reg.Host + "/app"
			want := []string{repo + ":" + tagOf(index, ".att"), repo + ":" + tagOf(index, ".sig"), repo + ":" + tagOf(manifest, ".att"), repo + "@" + bundle.String()}
			slices.Sort(want)
			if diff := cmp.Diff(want, attached(t, dir)); diff != "" {
				t.Error(diff)
			}
			l, err := layout.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if _, err := l.BlobSize(t.Context(), index); err != nil {
				t.Error("the signed index is not kept")
			}
			for _, e := range l.Entries() {
				if _, err := layout.Describe(t.Context(), l, e); err != nil {
					t.Errorf("not whole: %v", err)
				}
			}
			slices.Reverse(images)
			if diff := cmp.Diff(set, collect(t, images, asking(registrytest.Store(t)))); diff != "" {
				t.Errorf("another build differs: %s", diff)
			}
		})
	}
}

func TestSignaturesOfTheBaseStay(t *testing.T) {
	reg := registrytest.New(t)
	index, _ := multi(t, reg, "app:1")
	reg.Push(t, "app:"+tagOf(index, ".sig"), note(t, "old"))
	store := registrytest.Store(t)
	base := collect(t, list(t, reg, "app:1"), asking(store))
	o := onBase(t, store, base)
	reg.Push(t, "other:1", registrytest.Image(t, amd64, 10, "other"))
	set := collect(t, list(t, reg, "other:1"), o)
	both := &Set{Layers: append(slices.Clone(base.Layers), set.Layers...)}
	sig := []string{reg.Host + "/app:" + tagOf(index, ".sig")}
	if diff := cmp.Diff(sig, attached(t, unpack(t, store, both))); diff != "" {
		t.Error(diff)
	}
	same := collect(t, list(t, reg, "app:1"), o)
	if len(same.Layers) != 0 || same.Index != base.Index {
		t.Errorf("nothing new gives %d layers", len(same.Layers))
	}
	reg.Push(t, "app:"+tagOf(index, ".sig"), note(t, "new"))
	o.Signatures = asking(store).Signatures
	if set = collect(t, list(t, reg, "app:1"), o); set.Index != base.Index {
		t.Error("an image of the base, which is kept as it is, has another signature")
	}
}

// onBase are the options of a build on a cluster image that has a set.
func onBase(t *testing.T, store *store.Store, base *Set) Options {
	t.Helper()
	dir := unpack(t, store, base)
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	o := asking(store)
	o.Base, o.BaseIndex, o.BaseLayers = unpacked(dir), index, len(base.Layers)
	o.Have = func(h v1.Hash) bool {
		_, err := os.Stat(filepath.Join(dir, layout.BlobPath(h)))
		return err == nil
	}
	return o
}

// unpacked is the images/ directory of a base image as a source.
type unpacked string

func (unpacked) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (dir unpacked) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(dir), layout.BlobPath(d.Digest)))
}

// refusing is a check that says what it was shown, and refuses everything.
func refusing(ctx context.Context, s Signed) error {
	var list []string
	for _, n := range s.Signatures {
		m, err := layout.ReadAttached(ctx, s.Source, n)
		if err != nil {
			return err
		}
		b, err := artifact.ReadManifest(ctx, s.Source, n.Ref, m.Layers[0])
		if err != nil {
			return err
		}
		list = append(list, string(b))
	}
	return fmt.Errorf("%s: %d subjects: %s (%v)", s.Ref.Path(), len(s.Subjects), list, s.Err)
}

func TestCheckSeesImagesOfTheTreeAndOfTheBase(t *testing.T) {
	reg := registrytest.New(t)
	index, _ := multi(t, reg, "based:1")
	reg.Push(t, "based:"+tagOf(index, ".sig"), note(t, "sig of the base's index"))
	pinned, manifest := multi(t, reg, "pinned:1")
	reg.Push(t, "pinned:"+tagOf(manifest, ".sig"), note(t, "sig of the base's manifest"))
	store := registrytest.Store(t)
	o := onBase(t, store, collect(t, list(t, reg, "based:1", "pinned@"+pinned.String()), asking(store)))
	plain := reg.Push(t, "plain:1", registrytest.Image(t, amd64, 10, "plain"))
	o.Check = refusing
	_, err := Collect(t.Context(), list(t, reg, "plain:1", "plain@"+plain.String()), o)
	var unsigned *UnsignedError
	if !errors.As(err, &unsigned) {
		t.Fatal(err)
	}
	var got []string
	for _, m := range unsigned.Unsigned {
		got = append(got, fmt.Sprint(m.Where, " ", m.Err))
	}
	want := []string{
		"[imageList:1] plain: 1 subjects: [] (<nil>)",
		"[imageList:2] plain: 1 subjects: [] (<nil>)",
		"[images/index.json of the base image] based: 2 subjects: [sig of the base's index] (<nil>)",
		"[images/index.json of the base image] pinned: 1 subjects: [sig of the base's manifest] (<nil>)",
		"[images/index.json of the base image] pinned: 2 subjects: [sig of the base's manifest] (<nil>)",
	}
	slices.Sort(got[2:]) // two differ in their digests
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	o.Check = func(context.Context, Signed) error { return nil }
	collect(t, list(t, reg, "plain:1"), o)
}

func TestSignaturesThatCannotBeHad(t *testing.T) {
	reg := registrytest.New(t)
	digest := reg.Push(t, "app:1", registrytest.Image(t, amd64, 10, "app"))
	sig := note(t, "sig")
	reg.Push(t, "app:"+tagOf(digest, ".sig"), sig)
	layers, err := sig.Layers()
	if err != nil {
		t.Fatal(err)
	}
	gone, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	broken := func(part string, o *Options) {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if strings.Contains(q.URL.Path, part) {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			http.Redirect(w, q, "http://"+reg.Host+q.URL.RequestURI(), http.StatusTemporaryRedirect)
		}))
		t.Cleanup(front.Close)
		conf := filepath.Join(t.TempDir(), "registries.conf")
		text := fmt.Sprintf("[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = %q\n", reg.Host, strings.TrimPrefix(front.URL, "http://"))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := registry.New(registry.Options{PlainHTTP: true, Retries: -1, RegistriesConf: conf})
		o.Source, o.Signatures = r, r
	}
	for name, part := range map[string]string{"failing look-ups": "/referrers/", "a blob that is gone": gone.String()} {
		t.Run(name, func(t *testing.T) {
			var notes []string
			store := registrytest.Store(t)
			o := asking(store)
			broken(part, &o)
			o.Observe = func(e artifact.Event) {
				if e.Kind == artifact.EventNote {
					notes = append(notes, e.Name)
				}
			}
			if part == gone.String() { // the mirror is only asked first; the registry itself has the blob
				o.Source = missing{o.Source, gone}
			}
			set := collect(t, list(t, reg, "app:1"), o)
			if names := attached(t, unpack(t, store, set)); len(names) > 0 {
				t.Errorf("%v is carried", names)
			}
			if len(notes) != 1 || !strings.Contains(notes[0], "signatures of images of "+reg.Host+" may be missing") {
				t.Errorf("notes %q", notes)
			}
			o.Check = refusing
			if _, err := Collect(t.Context(), list(t, reg, "app:1"), o); err == nil || !strings.Contains(err.Error(), "imageList:1: app: 1 subjects: [] (") || strings.Contains(err.Error(), "(<nil>)") {
				t.Errorf("the check is not told: %v", err)
			}
			o.Check, o.NeedSignatures = nil, true
			if _, err := Collect(t.Context(), list(t, reg, "app:1"), o); err == nil {
				t.Error("a signature that is needed is left out")
			}
		})
	}
}

// missing is a source that lacks a blob.
type missing struct {
	artifact.Source
	blob v1.Hash
}

func (m missing) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.Digest == m.blob {
		return nil, artifact.ErrNotFound
	}
	return m.Source.Open(ctx, ref, d, offset)
}

// TestSignaturesCostOneRequestAnImage is about registries without the referrers API.
func TestSignaturesCostOneRequestAnImage(t *testing.T) {
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		requests.Add(1)
		inner.ServeHTTP(w, q)
	}))
	t.Cleanup(server.Close)
	reg := &registrytest.Registry{Host: strings.TrimPrefix(server.URL, "http://")}
	var lines []string
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("app%d:1", i))
		multi(t, reg, lines[i])
	}
	count := func(o Options) int32 {
		requests.Store(0)
		collect(t, list(t, reg, slices.Clone(lines)...), o)
		return requests.Load()
	}
	without, with := count(options(registrytest.Store(t))), count(asking(registrytest.Store(t)))
	if with-without > 31 {
		t.Errorf("%d requests without signatures, %d with", without, with)
	}
}

// annex is a store as the annex of an image.
type annex struct{ *store.Store }

func TestPlacesTellTheirSignatures(t *testing.T) {
	from, reg := registrytest.Store(t), registrytest.New(t)
	copied := func(name string) {
		ref, err := artifact.ParseReference(reg.Host + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := artifact.Copy(t.Context(), from, ref, options(nil).Source, ref, artifact.CopyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	digest := reg.Push(t, "app:1", registrytest.Image(t, amd64, 10, "app"))
	other := reg.Push(t, "app:2", registrytest.Image(t, amd64, 10, "other"))
	reg.Push(t, "app:"+tagOf(digest, ".sig"), note(t, "sig"))
	reg.Push(t, "app:"+tagOf(other, ".sig"), note(t, "sig of another"))
	for _, name := range []string{"app:1", "app:" + tagOf(digest, ".sig"), "app:" + tagOf(other, ".sig")} {
		copied(name)
	}
	store := registrytest.Store(t)
	o := options(store)
	o.Source = annex{from}
	set := collect(t, list(t, reg, "app:1"), o)
	dir := unpack(t, store, set)
	want := []string{reg.Host + "/app:" + tagOf(digest, ".sig")}
	if diff := cmp.Diff(want, attached(t, dir)); diff != "" {
		t.Error(diff)
	}
	reg.Push(t, "elsewhere:1", registrytest.Image(t, amd64, 10, "elsewhere"))
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, src := range map[string]artifact.Source{"a place": annex{from}, "images inside another cluster image": l} {
		t.Run(name, func(t *testing.T) {
			registry := asking(nil).Source.(*registry.Client)
			asked := &askedFor{registry, nil}
			first := FirstOf(src, asked)
			o := options(registrytest.Store(t))
			o.Source, o.Signatures = first, first.(Signatures)
			dir := unpack(t, o.Store, collect(t, list(t, reg, "app:1", "elsewhere:1"), o))
			if diff := cmp.Diff(want, attached(t, dir)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"elsewhere"}, asked.paths); diff != "" {
				t.Errorf("the registry is asked for signatures of %s", diff)
			}
		})
	}
}

// askedFor is a registry that notes whose signatures it is asked for.
type askedFor struct {
	*registry.Client
	paths []string
}

func (a *askedFor) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	a.paths = append(a.paths, ref.Path())
	return a.Client.Attached(ctx, ref)
}
