package export

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// dockerLayout has images made of a shared plain layer and one of their own,
// compressed, and returns the digest of the first manifest.
func dockerLayout(t *testing.T, spoil func([]byte) []byte) (l *layout.Layout, dir string, manifest v1.Hash) {
	t.Helper()
	dir, put, index := airgaptest.Layout(t)
	shared := airgaptest.Tar(t, airgaptest.File{Name: "base", Content: strings.Repeat("base", 1000)})
	imageOf := func(content string) v1.Descriptor {
		own := airgaptest.Tar(t, airgaptest.File{Name: "own", Content: content})
		layers := []v1.Descriptor{put(types.OCIUncompressedLayer, shared), put(types.DockerLayer, airgaptest.Gzipped(spoil(own)))}
		cfg, _ := json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layout.DigestOf(shared), layout.DigestOf(own)}}})
		m, _ := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.DockerManifestSchema2, Config: put(types.DockerConfigJSON, cfg), Layers: layers})
		return put(types.DockerManifestSchema2, m)
	}
	a, b, c := imageOf("a"), imageOf("b"), imageOf("c")
	child := c
	child.Platform = &amd64
	idx, _ := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{child}})
	whole := put(types.OCIImageIndex, idx)
	index(airgaptest.Entry("docker.io/library/a:1", a), airgaptest.Entry("docker.io/library/a:latest", a), airgaptest.Entry("quay.io/x/b:1", b),
		airgaptest.Entry("docker.io/library/c@"+whole.Digest.String(), whole))
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, dir, a.Digest
}

func same(b []byte) []byte { return b }

func TestWriteDocker(t *testing.T) {
	l, _, _ := dockerLayout(t, same)
	var b bytes.Buffer
	var notes []string
	if err := WriteDocker(t.Context(), &b, l, amd64, nil, func(text string) { notes = append(notes, text) }); err != nil {
		t.Fatal(err)
	}
	if names := airgaptest.Members(t, b.Bytes()); len(names) != 1+3+4 || names[0] != "manifest.json" {
		t.Errorf("members: %v", names)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], "c@sha256:") {
		t.Errorf("notes: %q", notes)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		t.Fatal(err)
	}
	var tags [][]string
	for _, d := range manifest {
		tags = append(tags, d.RepoTags)
	}
	if diff := cmp.Diff([][]string{{"a:1", "a:latest"}, nil, {"quay.io/x/b:1"}}, tags); diff != "" {
		t.Error(diff)
	}
	for _, ref := range []string{"a:1", "a:latest", "quay.io/x/b:1"} {
		tag, _ := name.NewTag(ref)
		img, err := tarball.Image(open, &tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", ref, err)
		}
	}
	var again, some bytes.Buffer
	if err := WriteDocker(t.Context(), &again, l, amd64, nil, nil); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Errorf("a second archive has other bytes, %v", err)
	}
	if err := WriteDocker(t.Context(), &some, l, amd64, []string{"quay.io/x/b:1"}, nil); err != nil || len(airgaptest.Members(t, some.Bytes())) != 4 {
		t.Errorf("one image: %v, %v", airgaptest.Members(t, some.Bytes()), err)
	}
}

func TestWriteDockerRefuses(t *testing.T) {
	damaged, _, _ := dockerLayout(t, func(b []byte) []byte { return append(bytes.Clone(b), 0) })
	good, goodDir, manifest := dockerLayout(t, same)
	if err := os.Remove(filepath.Join(goodDir, layout.BlobPath(manifest))); err != nil {
		t.Fatal(err)
	}
	dir, put, index := airgaptest.Layout(t)
	m, _ := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: put("application/vnd.cncf.helm.config.v1+json", []byte("{}"))})
	index(airgaptest.Entry("docker.io/library/chart:1", put(types.OCIManifestSchema1, m)))
	chart, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer chart.Close()
	tests := []struct {
		name   string
		images *layout.Layout
		names  []string
		want   string
	}{
		{"damaged layer", damaged, nil, "damaged"},
		{"missing manifest", good, []string{"docker.io/library/a:1"}, artifact.ErrNotFound.Error()},
		{"unknown name", good, []string{"docker.io/library/nobody:1"}, "nobody"},
		{"what is no container image", chart, nil, "--format oci"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := WriteDocker(t.Context(), io.Discard, tt.images, amd64, tt.names, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
