// Package airgaptest makes cluster images with container images inside, for tests.
package airgaptest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
)

// Cluster is a cluster image in a store that tests put together layer by layer.
type Cluster struct {
	Store    *store.Store
	Ref      artifact.Reference
	Manifest *v1.Manifest
	Config   *v1.ConfigFile
}

// NewCluster makes a cluster image of layers.
func NewCluster(t testing.TB, store *store.Store, layers ...v1.Descriptor) Cluster {
	t.Helper()
	return Cluster{Store: store, Ref: Reference(t, "cluster:1"), Config: &v1.ConfigFile{},
		Manifest: &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: layers}}
}

// Reference parses a reference.
func Reference(t testing.TB, s string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// Layers returns the layers of a set as a manifest has them.
func Layers(set *airgap.Set) []v1.Descriptor {
	var list []v1.Descriptor
	for _, l := range set.Layers {
		list = append(list, l.Blob.Descriptor())
	}
	return list
}

// Contents opens the container images in the cluster image.
func (c Cluster) Contents(t testing.TB) *layout.Contents {
	t.Helper()
	contents, err := layout.OpenContents(t.Context(), c.Store, c.Ref, c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	return contents
}

// File is an entry of a layer that a test writes by hand.
type File struct {
	Name, Content string
	Kind          byte // 0 is a file
	Link          string
}

// Tar returns an archive of files.
func Tar(t testing.TB, files ...File) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		hdr := &tar.Header{Name: f.Name, Typeflag: f.Kind, Linkname: f.Link, Mode: 0o644, Size: int64(len(f.Content))}
		if f.Kind == 0 {
			hdr.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, f.Content)
	}
	w.Close()
	return b.Bytes()
}

// Gzipped returns b compressed.
func Gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// PutLayer puts a layer into the store, compressed or not.
func PutLayer(t testing.TB, store *store.Store, compress bool, files ...File) v1.Descriptor {
	t.Helper()
	b, mt := Tar(t, files...), types.OCIUncompressedLayer
	if compress {
		b, mt = Gzipped(b), types.OCILayer
	}
	d, err := store.PutBytes(t.Context(), mt, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// Files returns an images/ directory as the files of a layer.
func Files(t testing.TB, dir string) []File {
	t.Helper()
	var files []File
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		b, err := os.ReadFile(path)
		files = append(files, File{Name: "images/" + filepath.ToSlash(rel), Content: string(b)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TwoImages returns a cluster image with two container images that share a
// layer of 3 MiB, and their names.
func TwoImages(t testing.TB) (c Cluster, dir, a, b string) {
	t.Helper()
	reg := registrytest.New(t)
	amd64 := v1.Platform{OS: "linux", Architecture: "amd64"}
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 3<<20, "base", "a"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 3<<20, "base", "b"))
	store := registrytest.Store(t)
	set := Collect(t, store, amd64, List(t, reg, "a:1", "b:1"))
	return NewCluster(t, store, Layers(set)...), Unpack(t, store, set), reg.Host + "/a:1", reg.Host + "/b:1"
}

// List returns the images of a list in that registry.
func List(t testing.TB, r *registrytest.Registry, lines ...string) []airgap.Image {
	t.Helper()
	images, err := airgap.ParseList("imageList", strings.NewReader(r.Host+"/"+strings.Join(lines, "\n"+r.Host+"/")))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// Collect collects images from registries on loopback into a store.
func Collect(t testing.TB, store *store.Store, platform v1.Platform, images []airgap.Image) *airgap.Set {
	t.Helper()
	set, err := airgap.Collect(t.Context(), images, airgap.Options{Source: Registry(), Store: store, Platform: platform})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// Registry asks registries on loopback, once.
func Registry() *registry.Client {
	return registry.New(registry.Options{PlainHTTP: true, Retries: -1})
}

// Unpack extracts the layers of a set and returns the images/ directory.
func Unpack(t testing.TB, store *store.Store, set *airgap.Set) string {
	t.Helper()
	var layers []v1.Hash
	for _, l := range set.Layers {
		layers = append(layers, l.Blob.Digest)
	}
	return registrytest.Unpack(t, store, layers)
}

// Layout makes an empty image layout. put writes a blob to it, and index its
// index.json.
func Layout(t testing.TB) (dir string, put func(mt types.MediaType, b []byte) v1.Descriptor, index func(entries ...v1.Descriptor)) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		t.Fatal(err)
	}
	write("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put = func(mt types.MediaType, b []byte) v1.Descriptor {
		d := v1.Descriptor{MediaType: mt, Digest: layout.DigestOf(b), Size: int64(len(b))}
		write(layout.BlobPath(d.Digest), b)
		return d
	}
	index = func(entries ...v1.Descriptor) {
		b, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: entries})
		if err != nil {
			t.Fatal(err)
		}
		write("index.json", b)
	}
	return dir, put, index
}

// Entry is the entry of index.json that calls d a name.
func Entry(name string, d v1.Descriptor) v1.Descriptor {
	d.Annotations = map[string]string{artifact.AnnotationRefName: name, artifact.AnnotationContainerdName: name}
	return d
}

// Members returns the names in a tar archive.
func Members(t testing.TB, archive []byte) []string {
	t.Helper()
	var names []string
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, hdr.Name)
	}
}
