package transport

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// entry is a file of an archive, or a link when content is nil.
type entry struct {
	name    string
	content []byte
	link    string
}

// pack makes an archive.
func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.content)), Mode: 0o644}
		if e.content == nil {
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		w.Write(e.content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// saved is an image as a test has it: layers are not compressed.
type saved struct {
	tags   []string
	config []byte
	layers [][]byte
}

// newImage makes an image with one layer for each seed.
func newImage(t *testing.T, p v1.Platform, tags []string, seeds ...string) saved {
	t.Helper()
	img := saved{tags: tags}
	var diffIDs []string
	for _, seed := range seeds {
		l := pack(t, entry{name: "etc/" + seed, content: bytes.Repeat([]byte(seed+"\n"), 300)})
		img.layers = append(img.layers, l)
		diffIDs = append(diffIDs, digest(l).String())
	}
	img.config = asJSON(t, map[string]any{"architecture": p.Architecture, "os": p.OS, "rootfs": map[string]any{"type": "layers", "diff_ids": diffIDs}})
	return img
}

func digest(b []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
}

func asJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// manifestJSON is what docker save writes about images.
func manifestJSON(t *testing.T, items ...dockerItem) entry {
	t.Helper()
	return entry{name: "manifest.json", content: asJSON(t, items)}
}

// legacy writes images as docker save did up to version 24. A layer that was
// there before is a link.
func legacy(t *testing.T, images ...saved) []entry {
	t.Helper()
	var list []entry
	var items []dockerItem
	first := map[v1.Hash]string{}
	for n, img := range images {
		item := dockerItem{Config: digest(img.config).Hex + ".json", RepoTags: img.tags}
		list = append(list, entry{name: item.Config, content: img.config})
		for m, l := range img.layers {
			id := fmt.Sprintf("%064x", n*100+m)
			item.Layers = append(item.Layers, id+"/layer.tar")
			list = append(list, entry{name: id + "/VERSION", content: []byte("1.0")})
			if at, there := first[digest(l)]; there {
				list = append(list, entry{name: id + "/layer.tar", link: "../" + at})
				continue
			}
			first[digest(l)] = id + "/layer.tar"
			list = append(list, entry{name: id + "/layer.tar", content: l})
		}
		items = append(items, item)
	}
	return append(list, manifestJSON(t, items...), entry{name: "repositories", content: []byte("{}")})
}

// zippedLayers writes images as crane and ko do: layers are compressed.
func zippedLayers(t *testing.T, images ...saved) []entry {
	t.Helper()
	var list []entry
	var items []dockerItem
	for _, img := range images {
		item := dockerItem{Config: digest(img.config).String(), RepoTags: img.tags}
		list = append(list, entry{name: item.Config, content: img.config})
		for _, l := range img.layers {
			packed := zip(t, l)
			name := digest(packed).Hex + ".tar.gz"
			item.Layers = append(item.Layers, name)
			list = append(list, entry{name: name, content: packed})
		}
		items = append(items, item)
	}
	return append(list, manifestJSON(t, items...))
}

func blobEntry(b []byte) entry { return entry{name: blobPath(digest(b)), content: b} }

// ociImage returns the blobs of an image with compressed layers, as a registry
// has them, and the descriptor of its manifest.
func ociImage(t *testing.T, img saved) ([]entry, v1.Descriptor) {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: digest(img.config), Size: int64(len(img.config))}}
	list := []entry{blobEntry(img.config)}
	for _, l := range img.layers {
		packed := zip(t, l)
		list = append(list, blobEntry(packed))
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCILayer, Digest: digest(packed), Size: int64(len(packed))})
	}
	raw := asJSON(t, m)
	return append(list, blobEntry(raw)), v1.Descriptor{MediaType: m.MediaType, Digest: digest(raw), Size: int64(len(raw))}
}

// ociIndex returns the index of one image for several platforms.
func ociIndex(t *testing.T, children ...v1.Descriptor) (entry, v1.Descriptor) {
	t.Helper()
	raw := asJSON(t, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: children})
	return blobEntry(raw), v1.Descriptor{MediaType: types.OCIImageIndex, Digest: digest(raw), Size: int64(len(raw))}
}

// layoutFiles returns the files that make a layout of descriptors.
func layoutFiles(t *testing.T, list ...v1.Descriptor) []entry {
	t.Helper()
	return []entry{{name: "oci-layout", content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", content: asJSON(t, v1.IndexManifest{SchemaVersion: 2, Manifests: list})}}
}

// called gives a descriptor the annotations key, value, key, value...
func called(d v1.Descriptor, annotations ...string) v1.Descriptor {
	d.Annotations = map[string]string{}
	for i := 0; i < len(annotations); i += 2 {
		d.Annotations[annotations[i]] = annotations[i+1]
	}
	return d
}

const (
	refName    = artifact.AnnotationRefName
	containerd = artifact.AnnotationContainerdName
)

func zip(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstdOf(t *testing.T, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

// onDisk writes a file and returns its folder and name.
func onDisk(t *testing.T, b []byte) (dir, name string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app.tar"), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir, "app.tar"
}

// unpackTo writes the files of a layout.
func unpackTo(t *testing.T, dir string, entries []entry) {
	t.Helper()
	for _, e := range entries {
		path := filepath.Join(dir, e.name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, e.content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// stream gives bytes that can only be read from front to back.
func stream(b []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(struct{ io.Reader }{bytes.NewReader(b)}), nil }
}

func open(t *testing.T, name string, o Options) Place {
	t.Helper()
	p, err := Open(t.Context(), name, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func tarballOf(t *testing.T, b []byte, o Options) Place {
	t.Helper()
	if o.TempDir == "" {
		o.TempDir = t.TempDir()
	}
	p, err := Tarball(t.Context(), "images/x.tar", stream(b), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func reference(t *testing.T, s string) artifact.Reference {
	t.Helper()
	ref, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// names returns what a place has, as text.
func names(t *testing.T, p Place) []string {
	t.Helper()
	refs, err := p.Refs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, r := range refs {
		list = append(list, r.Ref.Familiar())
	}
	return list
}

// take copies an image into a store, which verifies every byte, and returns the
// digest of its manifest.
func take(t *testing.T, p artifact.Source, name string) v1.Hash {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ref := reference(t, name)
	d, err := artifact.Copy(t.Context(), s, ref, p, ref, artifact.CopyOptions{Platform: &amd64})
	if err != nil {
		t.Fatalf("copy %s: %v", name, err)
	}
	return d.Digest
}

func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

func isEmpty(t *testing.T, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) > 0 {
		t.Errorf("%s holds %v", dir, list)
	}
}

// clientCertificate returns a certificate and its key, as DER.
func clientCertificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	if cert, err = x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret); err != nil {
		t.Fatal(err)
	}
	if key, err = x509.MarshalPKCS8PrivateKey(secret); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
