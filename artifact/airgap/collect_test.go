package airgap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/registrytest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

func TestCollectFetchesEachBlobOnce(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "base", "a"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1<<20, "base", "b"))
	reg.Push(t, "c:1", registrytest.Image(t, amd64, 1000, "small", "small", "other"))
	reg.Fetched()
	store := registrytest.Store(t)
	set := collect(t, list(t, reg, "a:1", "b:1", "c:1", "a:1"), options(store))
	gets := reg.Fetched()
	for what, n := range gets {
		if n != 1 {
			t.Errorf("%s was fetched %d times", what, n)
		}
	}
	if want := 3 + 3 + 3 + 2; len(gets) != want { // manifests, configs, big and small layers
		t.Errorf("%d objects were fetched, %d wanted: %v", len(gets), want, gets)
	}
	again := collect(t, list(t, reg, "c:1", "b:1", "a:1"), options(store))
	if diff := cmp.Diff(set, again); diff != "" {
		t.Errorf("the second build differs: %s", diff)
	}
	if gets := reg.Fetched(); len(gets) != 0 {
		t.Errorf("the second build fetched %v", gets)
	}
	elsewhere := collect(t, list(t, reg, "a:1", "b:1", "c:1"), options(registrytest.Store(t)))
	if diff := cmp.Diff(set, elsewhere); diff != "" {
		t.Errorf("another machine gets other layers: %s", diff)
	}
}

// TestCollectReadsItsOwnLayers is a build after a sweep, which leaves of all that
// was fetched only the layers of tagged images.
func TestCollectReadsItsOwnLayers(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1000, "a", "b", "c"))
	store := registrytest.Store(t)
	set := collect(t, list(t, reg, "a:1"), options(store))
	blobs, err := store.Inventory(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	layers := digests(set)
	for _, h := range blobs {
		if !slices.Contains(layers, h.String()) {
			if err := os.Remove(store.BlobPath(h)); err != nil {
				t.Fatal(err)
			}
		}
	}
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1000, "a", "d"))
	reg.Fetched()
	collect(t, list(t, reg, "a:1", "b:1"), options(store))
	if gets := reg.Fetched(); len(gets) != 3 {
		t.Errorf("fetched %v; wanted are manifest, config and one layer of the new image", gets)
	}
}

func TestCollectSharesLayersWithChangedList(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "base", "a"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1<<20, "base", "b"))
	reg.Push(t, "b:2", registrytest.Image(t, amd64, 1<<20, "base", "b2"))
	store := registrytest.Store(t)
	before := collect(t, list(t, reg, "a:1", "b:1"), options(store))
	reg.Fetched()
	after := collect(t, list(t, reg, "a:1", "b:2"), options(store))
	if gets := reg.Fetched(); len(gets) != 3 {
		t.Errorf("fetched %v; wanted are manifest, config and one layer of the new image", gets)
	}
	shared := digests(before)
	var fresh int
	for _, l := range after.Layers {
		if !slices.Contains(shared, l.Blob.Digest.String()) {
			fresh++
		}
	}
	// One layer is big; manifest and config are in at most two buckets that lost
	// and two that gained; the last one is the index.
	if fresh > 1+4+1 {
		t.Errorf("%d of %d layers are new", fresh, len(after.Layers))
	}
	big := func(s *Set) (n int) {
		for _, l := range s.Layers {
			if len(l.Blobs) == 1 && l.Blob.Size > smallBlob && slices.Contains(shared, l.Blob.Digest.String()) {
				n++
			}
		}
		return n
	}
	if big(after) != 2 {
		t.Errorf("%d big layers are shared, 2 wanted", big(after))
	}
}

func TestCollectedTreeIsAnImageLayout(t *testing.T) {
	reg := registrytest.New(t)
	img := registrytest.Image(t, amd64, 1<<20, "x")
	digest := reg.Push(t, "x:1", img)
	store := registrytest.Store(t)
	set := collect(t, list(t, reg, "x:1", "x@"+digest.String(), "x:1@"+digest.String()), options(store))
	unpacked := unpack(t, store, set)
	l, err := layout.Open(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var got []string
	for _, e := range l.Entries() {
		got = append(got, e.Name+" "+e.Desc.Digest.String())
	}
	want := []string{
		reg.Host + "/x:1 " + digest.String(),
		reg.Host + "/x@" + digest.String() + " " + digest.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l.Digest() != set.Index {
		t.Errorf("index.json is %s, %s was said", l.Digest(), set.Index)
	}
	for _, d := range entriesOf(t, unpacked) {
		if d.Annotations["org.opencontainers.image.ref.name"] == "" || d.Annotations["org.opencontainers.image.ref.name"] != d.Annotations["io.containerd.image.name"] {
			t.Errorf("annotations %v", d.Annotations)
		}
	}
}

func TestCollectKeepsIndexNamedByDigest(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	mine := registrytest.Image(t, amd64, 1000, "amd64")
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: registrytest.Image(t, arm, 1000, "arm64"), Descriptor: v1.Descriptor{Platform: &arm}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &amd64}})
	digest := reg.Push(t, "multi:1", index)
	manifest, err := mine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	prefix := reg.Host + "/multi"
	tests := []struct {
		name, line string
		want       map[string]v1.Hash
		hasIndex   bool
	}{
		{"tag", "multi:1", map[string]v1.Hash{prefix + ":1": manifest}, false},
		{"tag and digest", "multi:1@" + digest.String(), map[string]v1.Hash{prefix + ":1": manifest, prefix + "@" + digest.String(): digest}, true},
		{"digest", "multi@" + digest.String(), map[string]v1.Hash{prefix + "@" + manifest.String(): manifest, prefix + "@" + digest.String(): digest}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := registrytest.Store(t)
			dir := unpack(t, store, collect(t, list(t, reg, tt.line), options(store)))
			l, err := layout.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			got := map[string]v1.Hash{}
			for _, e := range l.Entries() {
				got[e.Name] = e.Desc.Digest
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if _, err := l.BlobSize(t.Context(), digest); (err == nil) != tt.hasIndex {
				t.Errorf("the index is kept: %v", err == nil)
			}
			if err := layout.WriteArchive(t.Context(), io.Discard, dir, nil); err != nil {
				t.Errorf("archive without the other platforms: %v", err)
			}
		})
	}
}

func TestCollectSkipsWhatBaseCarries(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "base", "a"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 1<<20, "base", "b"))
	store := registrytest.Store(t)
	base := collect(t, list(t, reg, "a:1"), options(store))
	index, err := os.ReadFile(filepath.Join(unpack(t, store, base), "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[v1.Hash]bool{}
	for _, l := range base.Layers {
		for _, h := range l.Blobs {
			have[h] = true
		}
	}
	o := options(store)
	o.Have, o.BaseIndex, o.BaseLayers = func(h v1.Hash) bool { return have[h] }, index, len(base.Layers)
	set := collect(t, list(t, reg, "b:1"), o)
	for _, l := range set.Layers {
		for _, h := range l.Blobs {
			if have[h] {
				t.Errorf("%s is added again", h)
			}
		}
	}
	merged := &Set{Layers: append(slices.Clone(base.Layers), set.Layers...)}
	l, err := layout.Open(unpack(t, store, merged))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := len(l.Entries()); n != 2 {
		t.Errorf("%d images, the base's and the new one wanted", n)
	}
	same := collect(t, list(t, reg, "a:1"), o)
	if len(same.Layers) != 0 || same.Index != base.Index {
		t.Errorf("nothing new gives %d layers", len(same.Layers))
	}
}

func TestCollectNamesAllMissingImages(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 10, "a"))
	reg.Push(t, "arm:1", registrytest.Image(t, arm, 10, "arm"))
	_, err := Collect(t.Context(), list(t, reg, "a:1", "gone:1", "arm:1", "gone:1", "lost:2"), options(registrytest.Store(t)))
	var missing *MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, m := range missing.Missing {
		got = append(got, fmt.Sprintf("%s%v%v", m.Ref.Path(), m.Where, errors.Is(m.Err, artifact.ErrNotFound)))
	}
	want := []string{"gone[imageList:2 imageList:4]true", "arm[imageList:3]false", "lost[imageList:5]true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(err.Error(), "imageList:2, imageList:4: ") || !strings.Contains(err.Error(), "linux/arm64, linux/amd64 is wanted") {
		t.Errorf("error: %v", err)
	}
}

func TestCollectPlatforms(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	reg.Push(t, "arm:1", registrytest.Image(t, arm, 10, "arm"))
	reg.Push(t, "any:1", registrytest.Image(t, v1.Platform{}, 10, "any"))
	var notes []string
	o := options(registrytest.Store(t))
	o.Observe = func(e artifact.Event) {
		if e.Kind == artifact.EventNote {
			notes = append(notes, e.Name)
		}
	}
	collect(t, list(t, reg, "arm:1 --platform=linux/arm64", "any:1"), o)
	if len(notes) != 1 || !strings.Contains(notes[0], "imageList:2: "+reg.Host+"/any:1 names no platform") {
		t.Errorf("notes %q", notes)
	}
	_, err := Collect(t.Context(), list(t, reg, "arm:1 --platform=linux/arm64", "arm:1 --platform=linux/s390x"), o)
	if err == nil || !strings.Contains(err.Error(), "imageList:2: ") {
		t.Errorf("two platforms of one name: %v", err)
	}
	_, err = Collect(t.Context(), list(t, reg, "arm:1 --platform=linux/arm64", "arm:1 --platform=linux/amd64"), o)
	if err == nil || !strings.Contains(err.Error(), "linux/amd64 is wanted") {
		t.Errorf("of alternatives the cluster image's platform is taken: %v", err)
	}
}

func TestCollectRefusesDamagedBlob(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "a"))
	store := registrytest.Store(t)
	o := options(store)
	o.Source = damaging{o.Source}
	_, err := Collect(t.Context(), list(t, reg, "a:1"), o)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v", err)
	}
	o = options(store)
	collect(t, list(t, reg, "a:1"), o)
}

// damaging is a source whose layers have one bit wrong.
type damaging struct{ artifact.Source }

func (d damaging) Open(ctx context.Context, ref artifact.Reference, desc v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := d.Source.Open(ctx, ref, desc, offset)
	if err != nil || desc.Size < smallBlob {
		return r, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader([]byte{1}), io.LimitReader(r, desc.Size-1)), r}, nil
}

func TestCollectStopsWhenCancelled(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 10, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Collect(ctx, list(t, reg, "a:1"), options(registrytest.Store(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCreatedTouchesOnlyTheIndexLayer(t *testing.T) {
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 1<<20, "a"))
	store := registrytest.Store(t)
	epoch := collect(t, list(t, reg, "a:1"), options(store))
	o := options(store)
	o.Created = time.Unix(1700000000, 0)
	later := collect(t, list(t, reg, "a:1"), o)
	n := len(epoch.Layers) - 1
	if diff := cmp.Diff(digests(epoch)[:n], digests(later)[:n]); diff != "" {
		t.Error(diff)
	}
	if digests(epoch)[n] == digests(later)[n] {
		t.Error("the layer of the index does not carry the time")
	}
}

func TestFormatIndexIsGolden(t *testing.T) {
	found := []*resolved{{entries: []v1.Descriptor{entry("z:1", v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: layout.DigestOf(nil), Size: 7})}}}
	b, err := formatIndex(found, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"` +
		someDigest + `","annotations":{"io.containerd.image.name":"z:1","org.opencontainers.image.ref.name":"z:1"}}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Error(diff)
	}
	if !json.Valid(b) {
		t.Error("no JSON")
	}
}

// TestIndexOfTwoImagesOfOneName has layouts that other tools made and a COPY
// brought: hauler gives signatures the name of their image.
func TestIndexOfTwoImagesOfOneName(t *testing.T) {
	entry := func(digit, platform string) string {
		return `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":"sha256:` + strings.Repeat(digit, 64) +
			`","annotations":{"io.containerd.image.name":"docker.io/library/a:1"}` + platform + `}`
	}
	amd, arm := `,"platform":{"os":"linux","architecture":"amd64"}`, `,"platform":{"os":"linux","architecture":"arm64"}`
	for _, c := range []struct {
		name, first, second string
		ok                  bool
	}{
		{"an image and another", entry("1", ""), entry("2", ""), false},
		{"for the same platform", entry("1", amd), entry("2", amd), false},
		{"for two platforms", entry("1", amd), entry("2", arm), true},
		{"the same again", entry("1", ""), entry("1", ""), true},
	} {
		_, err := formatIndex(nil, []byte(`{"schemaVersion":2,"manifests":[`+c.first+","+c.second+`]}`))
		if (err == nil) != c.ok || !c.ok && !strings.Contains(err.Error(), "docker.io/library/a:1 is the name of both sha256:1") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
