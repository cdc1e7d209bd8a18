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

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

func TestCollectFetchesEachBlobOnce(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1<<20, "base", "a"))
	reg.push(t, "b:1", image(t, amd64, 1<<20, "base", "b"))
	reg.push(t, "c:1", image(t, amd64, 1000, "small", "small", "other"))
	reg.fetched()
	store := openStore(t)
	set := collect(t, reg.list(t, "a:1", "b:1", "c:1", "a:1"), options(store))
	gets := reg.fetched()
	for what, n := range gets {
		if n != 1 {
			t.Errorf("%s was fetched %d times", what, n)
		}
	}
	if want := 3 + 3 + 3 + 2; len(gets) != want { // manifests, configs, big and small layers
		t.Errorf("%d objects were fetched, %d wanted: %v", len(gets), want, gets)
	}
	again := collect(t, reg.list(t, "c:1", "b:1", "a:1"), options(store))
	if diff := cmp.Diff(set, again); diff != "" {
		t.Errorf("the second build differs: %s", diff)
	}
	if gets := reg.fetched(); len(gets) != 0 {
		t.Errorf("the second build fetched %v", gets)
	}
	elsewhere := collect(t, reg.list(t, "a:1", "b:1", "c:1"), options(openStore(t)))
	if diff := cmp.Diff(set, elsewhere); diff != "" {
		t.Errorf("another machine gets other layers: %s", diff)
	}
}

// TestCollectReadsItsOwnLayers is a build after a sweep, which leaves of all that
// was fetched only the layers of tagged images.
func TestCollectReadsItsOwnLayers(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1000, "a", "b", "c"))
	store := openStore(t)
	set := collect(t, reg.list(t, "a:1"), options(store))
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
	reg.push(t, "b:1", image(t, amd64, 1000, "a", "d"))
	reg.fetched()
	collect(t, reg.list(t, "a:1", "b:1"), options(store))
	if gets := reg.fetched(); len(gets) != 3 {
		t.Errorf("fetched %v; wanted are manifest, config and one layer of the new image", gets)
	}
}

func TestCollectSharesLayersWithChangedList(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1<<20, "base", "a"))
	reg.push(t, "b:1", image(t, amd64, 1<<20, "base", "b"))
	reg.push(t, "b:2", image(t, amd64, 1<<20, "base", "b2"))
	store := openStore(t)
	before := collect(t, reg.list(t, "a:1", "b:1"), options(store))
	reg.fetched()
	after := collect(t, reg.list(t, "a:1", "b:2"), options(store))
	if gets := reg.fetched(); len(gets) != 3 {
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
	reg := newRegistry(t)
	img := image(t, amd64, 1<<20, "x")
	digest := reg.push(t, "x:1", img)
	store := openStore(t)
	set := collect(t, reg.list(t, "x:1", "x@"+digest.String(), "x:1@"+digest.String()), options(store))
	l, err := Open(unpack(t, store, set))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var got []string
	for _, e := range l.Entries() {
		got = append(got, e.Name+" "+e.Desc.Digest.String())
	}
	want := []string{
		reg.host + "/x:1 " + digest.String(),
		reg.host + "/x@" + digest.String() + " " + digest.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if l.Digest() != set.Index {
		t.Errorf("index.json is %s, %s was said", l.Digest(), set.Index)
	}
	for _, d := range l.index.Manifests {
		if d.Annotations["org.opencontainers.image.ref.name"] == "" || d.Annotations["org.opencontainers.image.ref.name"] != d.Annotations["io.containerd.image.name"] {
			t.Errorf("annotations %v", d.Annotations)
		}
	}
}

func TestCollectKeepsIndexNamedByDigest(t *testing.T) {
	reg := newRegistry(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	mine := image(t, amd64, 1000, "amd64")
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: image(t, arm, 1000, "arm64"), Descriptor: v1.Descriptor{Platform: &arm}},
		mutate.IndexAddendum{Add: mine, Descriptor: v1.Descriptor{Platform: &amd64}})
	digest := reg.push(t, "multi:1", index)
	manifest, err := mine.Digest()
	if err != nil {
		t.Fatal(err)
	}
	prefix := reg.host + "/multi"
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
			store := openStore(t)
			dir := unpack(t, store, collect(t, reg.list(t, tt.line), options(store)))
			l, err := Open(dir)
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
			if has := l.has(v1.Descriptor{Digest: digest}); has != tt.hasIndex {
				t.Errorf("the index is kept: %v", has)
			}
			if err := WriteArchive(t.Context(), io.Discard, dir, nil); err != nil {
				t.Errorf("archive without the other platforms: %v", err)
			}
		})
	}
}

func TestCollectSkipsWhatBaseCarries(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1<<20, "base", "a"))
	reg.push(t, "b:1", image(t, amd64, 1<<20, "base", "b"))
	store := openStore(t)
	base := collect(t, reg.list(t, "a:1"), options(store))
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
	set := collect(t, reg.list(t, "b:1"), o)
	for _, l := range set.Layers {
		for _, h := range l.Blobs {
			if have[h] {
				t.Errorf("%s is added again", h)
			}
		}
	}
	merged := &Set{Layers: append(slices.Clone(base.Layers), set.Layers...)}
	l, err := Open(unpack(t, store, merged))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if n := len(l.Entries()); n != 2 {
		t.Errorf("%d images, the base's and the new one wanted", n)
	}
	same := collect(t, reg.list(t, "a:1"), o)
	if len(same.Layers) != 0 || same.Index != base.Index {
		t.Errorf("nothing new gives %d layers", len(same.Layers))
	}
}

func TestCollectNamesAllMissingImages(t *testing.T) {
	reg := newRegistry(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	reg.push(t, "a:1", image(t, amd64, 10, "a"))
	reg.push(t, "arm:1", image(t, arm, 10, "arm"))
	_, err := Collect(t.Context(), reg.list(t, "a:1", "gone:1", "arm:1", "gone:1", "lost:2"), options(openStore(t)))
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
	reg := newRegistry(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	reg.push(t, "arm:1", image(t, arm, 10, "arm"))
	reg.push(t, "any:1", image(t, v1.Platform{}, 10, "any"))
	var notes []string
	o := options(openStore(t))
	o.Observe = func(e artifact.Event) {
		if e.Kind == artifact.EventNote {
			notes = append(notes, e.Name)
		}
	}
	collect(t, reg.list(t, "arm:1 --platform=linux/arm64", "any:1"), o)
	if len(notes) != 1 || !strings.Contains(notes[0], "imageList:2: "+reg.host+"/any:1 names no platform") {
		t.Errorf("notes %q", notes)
	}
	_, err := Collect(t.Context(), reg.list(t, "arm:1 --platform=linux/arm64", "arm:1 --platform=linux/s390x"), o)
	if err == nil || !strings.Contains(err.Error(), "imageList:2: ") {
		t.Errorf("two platforms of one name: %v", err)
	}
	_, err = Collect(t.Context(), reg.list(t, "arm:1 --platform=linux/arm64", "arm:1 --platform=linux/amd64"), o)
	if err == nil || !strings.Contains(err.Error(), "linux/amd64 is wanted") {
		t.Errorf("of alternatives the cluster image's platform is taken: %v", err)
	}
}

func TestCollectRefusesDamagedBlob(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1<<20, "a"))
	store := openStore(t)
	o := options(store)
	o.Source = damaging{o.Source}
	_, err := Collect(t.Context(), reg.list(t, "a:1"), o)
	if err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Fatalf("got %v", err)
	}
	o = options(store)
	collect(t, reg.list(t, "a:1"), o)
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
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 10, "a"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Collect(ctx, reg.list(t, "a:1"), options(openStore(t))); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCreatedTouchesOnlyTheIndexLayer(t *testing.T) {
	reg := newRegistry(t)
	reg.push(t, "a:1", image(t, amd64, 1<<20, "a"))
	store := openStore(t)
	epoch := collect(t, reg.list(t, "a:1"), options(store))
	o := options(store)
	o.Created = time.Unix(1700000000, 0)
	later := collect(t, reg.list(t, "a:1"), o)
	n := len(epoch.Layers) - 1
	if diff := cmp.Diff(digests(epoch)[:n], digests(later)[:n]); diff != "" {
		t.Error(diff)
	}
	if digests(epoch)[n] == digests(later)[n] {
		t.Error("the layer of the index does not carry the time")
	}
}

func TestFormatIndexIsGolden(t *testing.T) {
	found := []*resolved{{entries: []v1.Descriptor{entry("z:1", v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: digestOf(nil), Size: 7})}}}
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
