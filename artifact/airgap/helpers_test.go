package airgap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// list returns the images of a list in that registry.
func list(t *testing.T, r *registrytest.Registry, lines ...string) []Image {
	t.Helper()
	for i, line := range lines {
		lines[i] = r.Host + "/" + line
	}
	images, err := ParseList("imageList", strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// options are those of a build into s from registries on loopback.
func options(s *store.Store) Options {
	return Options{Source: registry.New(registry.Options{PlainHTTP: true, Retries: -1}), Store: s, Platform: amd64}
}

func collect(t *testing.T, images []Image, o Options) *Set {
	t.Helper()
	set, err := Collect(t.Context(), images, o)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// unpack extracts the layers of a set and returns the images/ directory.
func unpack(t *testing.T, s *store.Store, set *Set) string {
	t.Helper()
	var layers []v1.Hash
	for _, l := range set.Layers {
		layers = append(layers, l.Blob.Digest)
	}
	return registrytest.Unpack(t, s, layers)
}

// digests returns the digests of the layers of a set.
func digests(set *Set) []string {
	var list []string
	for _, l := range set.Layers {
		list = append(list, l.Blob.Digest.String())
	}
	return list
}

// entriesOf returns what index.json of an images/ directory lists.
func entriesOf(t *testing.T, dir string) []v1.Descriptor {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	idx, err := layout.ParseIndex(raw)
	if err != nil {
		t.Fatal(err)
	}
	return idx.Manifests
}
