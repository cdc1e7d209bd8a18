package export

import (
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// target is a registry that is pushed to, and counts what it gets.
type target struct {
	host string

	mu    sync.Mutex
	bytes int64 // of blobs
}

func newTarget(t *testing.T) *target {
	t.Helper()
	r := &target{}
	inner := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		if req.Method == http.MethodPatch {
			r.bytes += req.ContentLength
		}
		r.mu.Unlock()
		inner.ServeHTTP(w, req)
	}))
	t.Cleanup(server.Close)
	r.host = strings.TrimPrefix(server.URL, "http://")
	return r
}

// sent returns how many bytes of blobs came since the last call.
func (r *target) sent() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.bytes
	r.bytes = 0
	return n
}

// push pushes and returns the names that were pushed, without the registry, and
// the notes.
func (r *target) push(t *testing.T, variants []Variant, o PushOptions) (pushed, notes []string, err error) {
	t.Helper()
	o.Prefix = r.host + "/k8s"
	o.Note = func(text string) { notes = append(notes, text) }
	o.Pushed = func(to artifact.Reference, d v1.Descriptor) error {
		if h, ok := to.Digest(); ok && h != d.Digest {
			t.Errorf("%s has digest %s", to, d.Digest)
		}
		pushed = append(pushed, strings.TrimPrefix(to.String(), r.host+"/"))
		return nil
	}
	dst := registry.New(registry.Options{PlainHTTP: true, Retries: -1})
	err = Push(t.Context(), dst, variants, o)
	return pushed, notes, err
}

// get returns what a name means in the registry, and checks that all of it is
// there.
func (r *target) get(t *testing.T, ref string) *remote.Descriptor {
	t.Helper()
	n, err := name.ParseReference(r.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := remote.Get(n)
	if err != nil {
		t.Fatal(err)
	}
	if d.MediaType.IsImage() {
		img, err := d.Image()
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img, validate.Fast); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	return d
}

// variants collects a list for platforms, each into a cluster image of its own.
func variants(t *testing.T, r *registrytest.Registry, lines []string, platforms ...v1.Platform) []Variant {
	t.Helper()
	var list []Variant
	for _, p := range platforms {
		store := registrytest.Store(t)
		set := airgaptest.Collect(t, store, p, airgaptest.List(t, r, lines...))
		list = append(list, Variant{p, airgaptest.NewCluster(t, store, airgaptest.Layers(set)...).Contents(t)})
	}
	return list
}

func TestMapped(t *testing.T) {
	h := layout.DigestOf(nil).String()
	tests := map[string]string{
		"nginx:1.25":                     "harbor.example.com/k8s/library/nginx:1.25",
		"docker.io/calico/node:v3":       "harbor.example.com/k8s/calico/node:v3",
		"registry.k8s.io/pause:3.9":      "harbor.example.com/k8s/pause:3.9",
		"quay.io/a/b/c:1":                "harbor.example.com/k8s/a/b/c:1",
		"localhost:5000/x@" + h:          "harbor.example.com/k8s/x@" + h,
		"registry.k8s.io/pause:3.9@" + h: "harbor.example.com/k8s/pause:3.9@" + h,
	}
	for from, want := range tests {
		to, err := Mapped("harbor.example.com/k8s/", airgaptest.Reference(t, from))
		if err != nil || to.String() != want {
			t.Errorf("%s is %s, %v; want %s", from, to, err, want)
		}
	}
	if to, err := Mapped("registry.lan:5000", airgaptest.Reference(t, "nginx")); err != nil || to.String() != "registry.lan:5000/library/nginx:latest" {
		t.Errorf("%s, %v", to, err)
	}
}

func TestPushSendsEachBlobOnce(t *testing.T) {
	c, _, a, _ := airgaptest.TwoImages(t)
	variants := []Variant{{amd64, c.Contents(t)}}
	r := newTarget(t)
	pushed, notes, err := r.push(t, variants, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"k8s/a:1", "k8s/b:1"}, pushed); diff != "" {
		t.Error(diff)
	}
	if len(notes) > 0 {
		t.Errorf("notes: %q", notes)
	}
	if n := r.sent(); n < 9<<20 || n > 9<<20+10<<10 { // three layers, one of which both have
		t.Errorf("%d bytes were sent", n)
	}
	r.get(t, "k8s/b:1")
	d := r.get(t, "k8s/a:1")
	want, err := variants[0].Images.Resolve(t.Context(), airgaptest.Reference(t, a))
	if err != nil || d.Digest != want.Digest {
		t.Errorf("%s instead of %s, %v", d.Digest, want.Digest, err)
	}
	if pushed, _, err := r.push(t, variants, PushOptions{}); err != nil || len(pushed) != 2 || r.sent() != 0 {
		t.Errorf("again: %v, %v", pushed, err)
	}
}

func TestPushSome(t *testing.T) {
	c, _, _, b := airgaptest.TwoImages(t)
	r := newTarget(t)
	pushed, _, err := r.push(t, []Variant{{amd64, c.Contents(t)}}, PushOptions{Names: []artifact.Reference{airgaptest.Reference(t, b)}})
	if diff := cmp.Diff([]string{"k8s/b:1"}, pushed); diff != "" || err != nil {
		t.Error(diff, err)
	}
	_, _, err = r.push(t, []Variant{{amd64, c.Contents(t)}}, PushOptions{Names: []artifact.Reference{airgaptest.Reference(t, b), airgaptest.Reference(t, "x:1"), airgaptest.Reference(t, "y:2")}})
	if !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "x:1, y:2") {
		t.Errorf("unknown names: %v", err)
	}
}

func TestPushOfAnIndexDigest(t *testing.T) {
	reg := registrytest.New(t)
	whole := registrytest.Index(t, registrytest.Image(t, amd64, 100, "amd"), registrytest.Image(t, arm64, 100, "arm"))
	h := reg.Push(t, "multi:1", whole)
	lines := []string{"multi:1@" + h.String()}
	manifest := func(v Variant) string {
		return v.Images.Entries()[slices.IndexFunc(v.Images.Entries(), func(e layout.Entry) bool { return e.Desc.MediaType.IsImage() })].Desc.Digest.String()
	}
	one, both := variants(t, reg, lines, amd64), variants(t, reg, lines, amd64, arm64)

	r := newTarget(t)
	pushed, notes, err := r.push(t, one, PushOptions{})
	var incomplete *IncompleteError
	if !errors.As(err, &incomplete) || !strings.Contains(err.Error(), "linux/arm64") || !strings.Contains(err.Error(), h.String()) || !strings.Contains(err.Error(), "--all-platforms") {
		t.Errorf("index without a platform: %v", err)
	}
	if diff := cmp.Diff([]string{"k8s/multi:1"}, pushed); diff != "" {
		t.Error(diff)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], h.String()) || !strings.Contains(notes[0], manifest(one[0])) {
		t.Errorf("notes: %q", notes)
	}
	if d := r.get(t, "k8s/multi:1"); d.Digest.String() != manifest(one[0]) {
		t.Errorf("the tag is %s", d.Digest)
	}

	r = newTarget(t)
	pushed, notes, err = r.push(t, both, PushOptions{AllPlatforms: true})
	if err != nil || len(notes) > 0 {
		t.Fatal(err, notes)
	}
	if diff := cmp.Diff([]string{"k8s/multi:1", "k8s/multi@" + h.String()}, pushed); diff != "" {
		t.Error(diff)
	}
	if d := r.get(t, "k8s/multi:1"); d.Digest != h {
		t.Errorf("the tag is %s, upstream's is %s", d.Digest, h)
	}
	idx, err := r.get(t, "k8s/multi@"+h.String()).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx, validate.Fast); err != nil {
		t.Error(err)
	}
}

func TestPushAllPlatformsOfTags(t *testing.T) {
	reg := registrytest.New(t)
	amd, arm := registrytest.Image(t, amd64, 100, "amd"), registrytest.Image(t, arm64, 100, "arm")
	upstream := reg.Push(t, "multi:1", registrytest.Index(t, amd, arm))
	reg.Push(t, "one:1", registrytest.Image(t, v1.Platform{}, 100, "any"))
	variants := variants(t, reg, []string{"multi:1", "one:1"}, arm64, amd64)
	r := newTarget(t)
	pushed, notes, err := r.push(t, variants, PushOptions{AllPlatforms: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"k8s/multi:1", "k8s/one:1"}, pushed); diff != "" {
		t.Error(diff)
	}
	d := r.get(t, "k8s/multi:1")
	idx, err := d.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx, validate.Fast); err != nil {
		t.Error(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range m.Manifests {
		got = append(got, c.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, got); diff != "" {
		t.Error(diff)
	}
	if len(notes) != 2 || !strings.Contains(notes[0], d.Digest.String()) || !strings.Contains(notes[0], "upstream") || !strings.Contains(notes[1], "the only one") {
		t.Errorf("upstream's is %s; notes: %q", upstream, notes)
	}
	if !r.get(t, "k8s/one:1").MediaType.IsImage() {
		t.Error("an image that fits every platform became an index")
	}
	pushed2, _, err := r.push(t, []Variant{variants[1], variants[0]}, PushOptions{AllPlatforms: true})
	if err != nil || len(pushed2) != 2 || r.get(t, "k8s/multi:1").Digest != d.Digest {
		t.Errorf("in another order the index is another: %v", err)
	}
}

func TestPushRefusesCollisions(t *testing.T) {
	dir, put, index := airgaptest.Layout(t)
	config := put(types.OCIConfigJSON, []byte("{}"))
	image := func(note string) v1.Descriptor {
		b, _ := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Annotations: map[string]string{"note": note}})
		return put(types.OCIManifestSchema1, b)
	}
	index(airgaptest.Entry("quay.io/x/y:1", image("a")), airgaptest.Entry("ghcr.io/x/y:1", image("b")))
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newTarget(t)
	pushed, _, err := r.push(t, []Variant{{amd64, l}}, PushOptions{})
	if err == nil || len(pushed) > 0 || !strings.Contains(err.Error(), "ghcr.io/x/y:1 and quay.io/x/y:1") || !strings.Contains(err.Error(), r.host+"/k8s/x/y:1") {
		t.Errorf("%v, pushed %v", err, pushed)
	}
	index(airgaptest.Entry("quay.io/x/y:1", image("a")), airgaptest.Entry("ghcr.io/x/y:1", image("a")))
	if l, err = layout.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if pushed, _, err := r.push(t, []Variant{{amd64, l}}, PushOptions{}); err != nil || len(pushed) != 2 {
		t.Errorf("the same image in two registries: %v, %v", pushed, err)
	}
}

func TestPushCarriesSignatures(t *testing.T) {
	dir, put, index := airgaptest.Layout(t)
	config := put(types.OCIConfigJSON, []byte("{}"))
	manifest := func(v any) v1.Descriptor {
		b, _ := json.Marshal(v)
		return put(types.OCIManifestSchema1, b)
	}
	img := manifest(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config})
	other := manifest(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Annotations: map[string]string{"x": "y"}})
	tagged := manifest(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Annotations: map[string]string{"sig": "tag"}})
	referrer := manifest(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Subject: &img})
	carried := tagged
	sigTag := "sha256-" + img.Digest.Hex + ".sig"
	carried.Annotations = map[string]string{artifact.AnnotationImageName: "quay.io/x/y:" + sigTag}
	index(airgaptest.Entry("quay.io/x/y:1", img), airgaptest.Entry("quay.io/z:1", other), carried, referrer)
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := newTarget(t)
	pushed, _, err := r.push(t, []Variant{{amd64, l}}, PushOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"k8s/x/y:1", "k8s/z:1", "k8s/x/y:" + sigTag, "k8s/x/y@" + referrer.Digest.String()}, pushed); diff != "" {
		t.Error(diff)
	}
	for ref, want := range map[string]v1.Hash{"k8s/x/y:1": img.Digest, "k8s/x/y:" + sigTag: tagged.Digest, "k8s/x/y@" + referrer.Digest.String(): referrer.Digest} {
		n, _ := name.ParseReference(r.host + "/" + ref)
		if d, err := remote.Head(n); err != nil || d.Digest != want {
			t.Errorf("%s: %v, %v", ref, d, err)
		}
	}
	pushed, _, err = r.push(t, []Variant{{amd64, l}}, PushOptions{Names: []artifact.Reference{airgaptest.Reference(t, "quay.io/z:1")}})
	if diff := cmp.Diff([]string{"k8s/z:1"}, pushed); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestPushListsReferrers is about registries without the referrers API, as
// Debian's: there a tag lists what refers to an image, and cosign looks there.
func TestPushListsReferrers(t *testing.T) {
	dir, put, setIndex := airgaptest.Layout(t)
	config := put(types.OCIConfigJSON, []byte("{}"))
	manifest := func(subject *v1.Descriptor, note string) v1.Descriptor {
		b, _ := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Subject: subject, Annotations: map[string]string{"note": note}})
		return put(types.OCIManifestSchema1, b)
	}
	img := manifest(nil, "")
	first, second := manifest(&img, "first"), manifest(&img, "second")
	r := newTarget(t)
	for _, entries := range [][]v1.Descriptor{{first}, {first, second}, {second}} { // what others listed stays
		setIndex(append(entries, airgaptest.Entry("quay.io/x/y:1", img))...)
		l, err := layout.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if _, _, err := r.push(t, []Variant{{amd64, l}}, PushOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := r.get(t, "k8s/x/y:"+artifact.ReferrersTag(img.Digest)).ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	idx, err := list.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	want := []v1.Descriptor{first, second}
	for i, note := range []string{"first", "second"} {
		want[i].ArtifactType = string(types.OCIConfigJSON)
		want[i].Annotations = map[string]string{"note": note}
	}
	if diff := cmp.Diff(want, idx.Manifests); diff != "" {
		t.Error(diff)
	}
}

func TestPushOfDamagedImages(t *testing.T) {
	_, dir, _, _ := airgaptest.TwoImages(t)
	files := airgaptest.Files(t, dir)
	for i, f := range files {
		if len(f.Content) > 1<<20 {
			files[i].Content = f.Content[1:] + "!"
		}
	}
	store := registrytest.Store(t)
	c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, false, files...)).Contents(t)
	pushed, _, err := newTarget(t).push(t, []Variant{{amd64, c}}, PushOptions{})
	if err == nil || len(pushed) > 0 || !strings.Contains(err.Error(), "digest") {
		t.Errorf("%v, pushed %v", err, pushed)
	}
}
