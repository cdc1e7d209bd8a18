package platforms

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// image puts an image for a platform, os/arch/variant, into the store.
func image(t *testing.T, s *store.Store, name, platform string, mt types.MediaType) v1.Descriptor {
	t.Helper()
	config := v1.ConfigFile{Author: name}
	if p, err := v1.ParsePlatform(platform); err == nil && platform != "" {
		config.OS, config.Architecture, config.Variant = p.OS, p.Architecture, p.Variant
	}
	d := artifacttest.AddJSON(t, s, mt, v1.Manifest{SchemaVersion: 2, MediaType: mt, Config: artifacttest.AddJSON(t, s, types.OCIConfigJSON, config), Layers: []v1.Descriptor{}})
	if err := s.Tag(t.Context(), artifacttest.MustRef(t, name), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// listed returns the platforms of an index, in its order.
func listed(t *testing.T, s *store.Store, d v1.Descriptor) []string {
	t.Helper()
	raw, err := artifact.ReadManifest(t.Context(), s, artifacttest.MustRef(t, "x"), d)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	list := []string{string(idx.MediaType)}
	for _, m := range idx.Manifests {
		list = append(list, m.Platform.String())
	}
	return list
}

func TestTheOrderOfImagesDoesNotMatter(t *testing.T) {
	s := newStore(t)
	image(t, s, "a:1", "linux/arm/v7", types.OCIManifestSchema1)
	image(t, s, "b:1", "linux/arm/v6", types.OCIManifestSchema1)
	image(t, s, "c:1", "linux/amd64", types.DockerManifestSchema2)
	first, err := Create(t.Context(), s, artifacttest.MustRef(t, "x:1"), []artifact.Reference{artifacttest.MustRef(t, "a:1"), artifacttest.MustRef(t, "b:1"), artifacttest.MustRef(t, "c:1")})
	if err != nil {
		t.Fatal(err)
	}
	second, err := Create(t.Context(), s, artifacttest.MustRef(t, "x:2"), []artifact.Reference{artifacttest.MustRef(t, "c:1"), artifacttest.MustRef(t, "a:1"), artifacttest.MustRef(t, "b:1"), artifacttest.MustRef(t, "x:1")})
	if err != nil || !cmp.Equal(first, second) {
		t.Errorf("%v, %v: %v", first, second, err)
	}
	want := []string{string(types.OCIImageIndex), "linux/amd64", "linux/arm/v6", "linux/arm/v7"}
	if diff := cmp.Diff(want, listed(t, s, first)); diff != "" {
		t.Error(diff)
	}
}

func TestAnIndexOfDockerImagesIsDockers(t *testing.T) {
	s := newStore(t)
	image(t, s, "a:1", "linux/arm64", types.DockerManifestSchema2)
	d, err := Create(t.Context(), s, artifacttest.MustRef(t, "x:1"), []artifact.Reference{artifacttest.MustRef(t, "a:1")})
	if err != nil || d.MediaType != types.DockerManifestList {
		t.Errorf("%v: %v", d.MediaType, err)
	}
}

func TestNotesOfBuildToolsAreLeftOut(t *testing.T) {
	s := newStore(t)
	a := image(t, s, "a:1", "linux/amd64", types.OCIManifestSchema1)
	note := image(t, s, "note:1", "", types.OCIManifestSchema1)
	note.Platform = &v1.Platform{OS: "unknown", Architecture: "unknown"}
	idx := artifacttest.AddJSON(t, s, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{a, note}})
	if err := s.Tag(t.Context(), artifacttest.MustRef(t, "buildx:1"), idx); err != nil {
		t.Fatal(err)
	}
	d, err := Create(t.Context(), s, artifacttest.MustRef(t, "x:1"), []artifact.Reference{artifacttest.MustRef(t, "buildx:1")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{string(types.OCIImageIndex), "linux/amd64"}, listed(t, s, d)); diff != "" {
		t.Error(diff)
	}
}

func TestWhatMakesNoIndex(t *testing.T) {
	s := newStore(t)
	image(t, s, "a:1", "linux/amd64", types.OCIManifestSchema1)
	image(t, s, "b:1", "linux/amd64", types.OCIManifestSchema1)
	image(t, s, "arm:1", "linux/arm64", types.OCIManifestSchema1)
	image(t, s, "v8:1", "linux/arm64/v8", types.OCIManifestSchema1)
	image(t, s, "none:1", "", types.OCIManifestSchema1)
	absent := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 5, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}
	sparse := artifacttest.AddJSON(t, s, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{absent}})
	nested := artifacttest.AddJSON(t, s, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{sparse}})
	for name, d := range map[string]v1.Descriptor{"sparse:1": sparse, "nested:1": nested} {
		if err := s.Tag(t.Context(), artifacttest.MustRef(t, name), d); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		names []string
		want  string
	}{
		{[]string{"a:1", "arm:1", "b:1"}, "are both for linux/amd64: leave out one"},
		{[]string{"arm:1", "v8:1"}, "are both for linux/arm64"},
		{[]string{"none:1"}, "none:1: the image does not state its platform: build it with --platform"},
		{[]string{"sparse:1"}, "sparse:1 lists it for linux/s390x: pull it again"},
		{[]string{"nested:1"}, "an index inside of an index"},
		{[]string{"missing:1"}, "missing:1: not found"},
	} {
		var refs []artifact.Reference
		for _, name := range test.names {
			refs = append(refs, artifacttest.MustRef(t, name))
		}
		_, err := Create(t.Context(), s, artifacttest.MustRef(t, "x:1"), refs)
		if err == nil || !strings.HasPrefix(err.Error(), "create index x:1: ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: error %v, want %q", test.names, err, test.want)
		}
	}
	if _, err := s.Resolve(t.Context(), artifacttest.MustRef(t, "x:1")); err == nil {
		t.Error("an index was made")
	}
}
