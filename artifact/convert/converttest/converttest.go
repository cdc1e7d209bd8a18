// Package converttest makes cluster images as sealos and sealer write them, for tests.
package converttest

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/store"
)

// File is a file of a tree, see [airgaptest.File].
type File = airgaptest.File

// Text is a file with content.
func Text(name, content string) File { return File{Name: name, Content: content} }

// Dir is a directory.
func Dir(name string) File { return File{Name: name + "/", Kind: tar.TypeDir} }

// Storage is the storage of a docker distribution registry as files of a tree.
type Storage struct {
	t     testing.TB
	files map[string]string
}

// NewStorage returns an empty storage.
func NewStorage(t testing.TB) *Storage { return &Storage{t, map[string]string{}} }

// Root is where the storage lies in a tree.
const Root = "registry/docker/registry/v2/"

// BlobPath returns where a blob lies.
func BlobPath(h v1.Hash) string { return Root + "blobs/sha256/" + h.Hex[:2] + "/" + h.Hex + "/data" }

// TagPath returns where a tag lies.
func TagPath(repo, tag string) string {
	return Root + "repositories/" + repo + "/_manifests/tags/" + tag + "/current/link"
}

// Push adds an image under a repository, and under a tag unless that is empty, and returns its digest.
func (s *Storage) Push(repo, tag string, img v1.Image) v1.Hash {
	s.t.Helper()
	layers, err := img.Layers()
	must(s.t, err)
	for _, l := range layers {
		r, err := l.Compressed()
		must(s.t, err)
		b, err := io.ReadAll(r)
		must(s.t, err)
		s.blob(repo, b, true)
	}
	config, err := img.RawConfigFile()
	must(s.t, err)
	s.blob(repo, config, true)
	manifest, err := img.RawManifest()
	must(s.t, err)
	return s.manifest(repo, tag, manifest)
}

// PushIndex adds an index of images, of which the storage gets those that are given too.
func (s *Storage) PushIndex(repo, tag string, idx v1.ImageIndex, present ...v1.Image) v1.Hash {
	s.t.Helper()
	for _, img := range present {
		s.Push(repo, "", img)
	}
	raw, err := idx.RawManifest()
	must(s.t, err)
	return s.manifest(repo, tag, raw)
}

func (s *Storage) manifest(repo, tag string, raw []byte) v1.Hash {
	h := s.blob(repo, raw, false)
	at := Root + "repositories/" + repo + "/_manifests/"
	s.files[at+"revisions/sha256/"+h.Hex+"/link"] = h.String()
	if tag != "" {
		s.files[TagPath(repo, tag)] = h.String()
		s.files[at+"tags/"+tag+"/index/sha256/"+h.Hex+"/link"] = h.String()
	}
	return h
}

func (s *Storage) blob(repo string, b []byte, link bool) v1.Hash {
	h, _, err := v1.SHA256(bytes.NewReader(b))
	must(s.t, err)
	s.files[BlobPath(h)] = string(b)
	if link {
		s.files[Root+"repositories/"+repo+"/_layers/sha256/"+h.Hex+"/link"] = h.String()
	}
	return h
}

// Files returns the storage, with its directories, as entries of a layer.
func (s *Storage) Files() []File {
	var list []File
	seen := map[string]bool{}
	names := make([]string, 0, len(s.files))
	for name := range s.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for i, c := range name {
			if dir := name[:i]; c == '/' && !seen[dir] {
				seen[dir] = true
				list = append(list, Dir(dir))
			}
		}
		list = append(list, Text(name, s.files[name]))
	}
	return list
}

// Image is a cluster image in the making.
type Image struct {
	Platform    v1.Platform
	Labels      map[string]string
	Annotations map[string]string // of the manifest
	Env         []string
	Cmd         []string
	Entrypoint  []string
	Layers      [][]File
	Config      string // JSON of the configuration; "" makes it of the fields above
}

// Put writes an image to a store without naming it.
func Put(t testing.TB, s *store.Store, img Image) v1.Descriptor {
	t.Helper()
	cfg := v1.ConfigFile{OS: img.Platform.OS, Architecture: img.Platform.Architecture,
		Config: v1.Config{Labels: img.Labels, Env: img.Env, Cmd: img.Cmd, Entrypoint: img.Entrypoint}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: img.Annotations, Layers: []v1.Descriptor{}}
	for i, files := range img.Layers {
		m.Layers = append(m.Layers, airgaptest.PutLayer(t, s, i%2 == 0, files...))
		h, _, err := v1.SHA256(bytes.NewReader(airgaptest.Tar(t, files...)))
		must(t, err)
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, h)
		cfg.History = append(cfg.History, v1.History{CreatedBy: "COPY of the test"})
	}
	cfg.RootFS.Type = "layers"
	config, err := json.Marshal(cfg)
	must(t, err)
	if img.Config != "" {
		config = []byte(img.Config)
	}
	m.Config, err = s.PutBytes(t.Context(), types.OCIConfigJSON, config)
	must(t, err)
	raw, err := json.Marshal(m)
	must(t, err)
	d, err := s.PutBytes(t.Context(), m.MediaType, raw)
	must(t, err)
	if img.Platform.OS != "" {
		d.Platform = &img.Platform
	}
	return d
}

// Tag names an image, or an index of several.
func Tag(t testing.TB, s *store.Store, name string, images ...v1.Descriptor) artifact.Reference {
	t.Helper()
	ref := airgaptest.Reference(t, name)
	top := images[0]
	if len(images) > 1 {
		raw, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: images})
		must(t, err)
		top, err = s.PutBytes(t.Context(), types.OCIImageIndex, raw)
		must(t, err)
	}
	top.Platform = nil
	must(t, s.Tag(t.Context(), ref, top))
	return ref
}

// Sealos is an application image of sealos with two container images for a platform: one of registry.k8s.io, one of
// docker.io, which share a layer.
func Sealos(t testing.TB, p v1.Platform) Image {
	t.Helper()
	s := NewStorage(t)
	s.Push("pause", "3.9", registrytest.Image(t, p, 4<<10, "shared", "pause"))
	s.Push("library/nginx", "1.25", registrytest.Image(t, p, 2<<20, "nginx"))
	return Image{
		Platform: p,
		Labels:   map[string]string{"sealos.io.type": "application", "io.buildah.version": "1.27.1"},
		Env:      []string{"PATH=/usr/local/sbin:/usr/local/bin", "NAMESPACE=web"},
		Cmd:      []string{"kubectl create ns $(NAMESPACE)", "kubectl apply -n $(NAMESPACE) -f manifests"},
		Layers: [][]File{
			{Dir("manifests"), Text("manifests/app.yaml", pods("registry.k8s.io/pause:3.9", "nginx:1.25")), Dir("opt"), Text("opt/tool", strings.Repeat("tool", 1000))},
			s.Files(),
		},
	}
}

// pods returns a manifest of a pod with these images.
func pods(images ...string) string {
	text := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\nspec:\n  containers:\n"
	for _, image := range images {
		text += "  - name: c\n    image: " + image + "\n"
	}
	return text
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
