package layout_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/store"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// sameAs compares everything in contents with an unpacked images/ directory.
func sameAs(t *testing.T, c *layout.Contents, dir string) {
	t.Helper()
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if c.Digest() != l.Digest() {
		t.Errorf("index %s, %s in the directory", c.Digest(), l.Digest())
	}
	if diff := cmp.Diff(l.Entries(), c.Entries()); diff != "" {
		t.Error(diff)
	}
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil || len(blobs) == 0 {
		t.Fatal(blobs, err)
	}
	for _, path := range blobs {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		h := v1.Hash{Algorithm: "sha256", Hex: filepath.Base(path)}
		if n, err := c.BlobSize(t.Context(), h); err != nil || n != int64(len(want)) {
			t.Errorf("size of %s: %d, %v; %d wanted", h, n, err, len(want))
		}
		for _, offset := range []int{0, 1, len(want) - 1, len(want)} {
			r, err := c.Open(t.Context(), artifact.Reference{}, v1.Descriptor{Digest: h}, int64(offset))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want[offset:]) {
				t.Errorf("%s from %d: %d other bytes, %d wanted", h, offset, len(got), len(want)-offset)
			}
		}
	}
}

func TestContentsOfLayersAsBuilt(t *testing.T) {
	c, dir, _, _ := airgaptest.TwoImages(t)
	sameAs(t, c.Contents(t), dir)
}

func TestContentsOfOneLayer(t *testing.T) {
	for _, compress := range []bool{false, true} {
		_, dir, _, _ := airgaptest.TwoImages(t)
		store := registrytest.Store(t)
		c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, compress, airgaptest.Files(t, dir)...))
		sameAs(t, c.Contents(t), dir)
	}
}

func TestContentsOfArchive(t *testing.T) {
	c, dir, _, _ := airgaptest.TwoImages(t)
	raw, err := c.Store.PutBytes(t.Context(), types.OCIConfigJSON, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	c.Manifest.Config = raw
	file := filepath.Join(t.TempDir(), "cluster.tar")
	manifest := putJSON(t, c.Store, types.OCIManifestSchema1, c.Manifest)
	if err := archive.Save(t.Context(), file, c.Store, []artifact.Reference{c.Ref.WithDigest(manifest.Digest)}, archive.Options{}); err != nil {
		t.Fatal(err)
	}
	opened, err := archive.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	contents, err := layout.OpenContents(t.Context(), opened, c.Ref, c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	sameAs(t, contents, dir)
}

func TestContentsOfLayersOverOthers(t *testing.T) {
	blob := func(content string) airgaptest.File {
		return airgaptest.File{Name: "images/blobs/sha256/" + layout.DigestOf([]byte(content)).Hex, Content: content}
	}
	index := func(content string) airgaptest.File {
		return airgaptest.File{Name: "images/index.json", Content: content}
	}
	one, two := `{"manifests":[]}`, `{"schemaVersion":2,"manifests":[]}`
	x := blob("x")
	tests := []struct {
		name   string
		layers [][]airgaptest.File
		index  string // "" is none
		has    bool   // the blob x
	}{
		{"later index", [][]airgaptest.File{{index(one), x}, {index(two)}}, two, true},
		{"names of other tools", [][]airgaptest.File{{{Name: "./images/index.json", Content: one}, {Name: "./" + x.Name, Content: "x"}}}, one, true},
		{"deleted blob", [][]airgaptest.File{{x}, {{Name: "images/blobs/sha256/.wh." + layout.DigestOf([]byte("x")).Hex}}, {index(one)}}, one, false},
		{"deleted index", [][]airgaptest.File{{index(one), x}, {{Name: "images/.wh.index.json"}}}, "", true},
		{"deleted images", [][]airgaptest.File{{index(one), x}, {{Name: ".wh.images"}}}, "", false},
		{"opaque images", [][]airgaptest.File{{index(one), x}, {{Name: "images/.wh..wh..opq"}, index(two)}}, two, false},
		{"opaque root", [][]airgaptest.File{{index(one), x}, {{Name: ".wh..wh..opq"}, index(two)}}, two, false},
		{"opaque blobs", [][]airgaptest.File{{x}, {{Name: "images/blobs/.wh..wh..opq"}, index(two)}}, two, false},
		{"whiteout beside its new file", [][]airgaptest.File{{x}, {x, {Name: "images/blobs/sha256/.wh." + layout.DigestOf([]byte("x")).Hex}, index(two)}}, two, true},
		{"images is a link now", [][]airgaptest.File{{index(one), x}, {{Name: "images", Kind: tar.TypeSymlink, Link: "elsewhere"}}}, "", false},
		{"blob is a directory now", [][]airgaptest.File{{index(one), x}, {{Name: x.Name + "/", Kind: tar.TypeDir}}}, one, false},
		{"hard link to another file", [][]airgaptest.File{{index(one), {Name: "copy/x", Content: "x"}, {Name: x.Name, Kind: tar.TypeLink, Link: "copy/x"}}}, one, true},
	}
	for _, tt := range tests {
		for _, compress := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				store := registrytest.Store(t)
				var layers []v1.Descriptor
				for _, files := range tt.layers {
					layers = append(layers, airgaptest.PutLayer(t, store, compress, files...))
				}
				cluster := airgaptest.NewCluster(t, store, layers...)
				some, err := layout.OpenContents(t.Context(), store, cluster.Ref, cluster.Manifest)
				if tt.index == "" && !errors.Is(err, fs.ErrNotExist) || tt.index != "" && err != nil {
					t.Fatalf("index %q, %v", tt.index, err)
				}
				all, err := layout.ReadContents(t.Context(), store, cluster.Ref, cluster.Manifest, 0, func(int, *tar.Header, io.Reader) error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range []*layout.Contents{all, some} {
					if c != nil {
						checkContents(t, c, tt.index, tt.has)
					}
				}
			})
		}
	}
}

// checkContents compares index.json, "" is none, and whether the blob x is there.
func checkContents(t *testing.T, c *layout.Contents, index string, has bool) {
	t.Helper()
	if index == "" && c.Digest() != (v1.Hash{}) || index != "" && c.Digest() != layout.DigestOf([]byte(index)) {
		t.Errorf("index %s, want that of %q", c.Digest(), index)
	}
	size, err := c.BlobSize(t.Context(), layout.DigestOf([]byte("x")))
	if (err == nil && size == 1) != has {
		t.Errorf("blob of %d bytes, %v", size, err)
	}
	if !has {
		return
	}
	r, err := c.Open(t.Context(), artifact.Reference{}, v1.Descriptor{Digest: layout.DigestOf([]byte("x"))}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err := io.ReadAll(r); string(b) != "x" || err != nil {
		t.Errorf("content %q, %v", b, err)
	}
}

// counting is a source that counts what is opened and read.
type counting struct {
	artifact.Source
	opened, read atomic.Int64
}

func (c *counting) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	c.opened.Add(1)
	r, err := c.Source.Open(ctx, ref, d, offset)
	if err != nil {
		return nil, err
	}
	if f, ok := r.(*os.File); ok {
		return countedFile{f, c}, nil
	}
	return r, nil
}

type countedFile struct {
	*os.File
	c *counting
}

func (f countedFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	f.c.read.Add(int64(n))
	return n, err
}

func TestContentsReadsHeadersOnce(t *testing.T) {
	c, dir, _, _ := airgaptest.TwoImages(t)
	// below what the build packed, a compressed layer that nothing is needed of
	below := airgaptest.PutLayer(t, c.Store, true, airgaptest.File{Name: "bin/tool", Content: strings.Repeat("x", 1<<20)})
	c.Manifest.Layers = slices.Insert(c.Manifest.Layers, 0, below)
	src := &counting{Source: c.Store}
	contents, err := layout.OpenContents(t.Context(), src, c.Ref, c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if n := src.read.Load(); n > 200<<10 {
		t.Errorf("%d bytes were read of %d, to know the headers", n, artifact.Size(c.Manifest))
	}
	scans := src.opened.Load()
	if most := int64(len(c.Manifest.Layers)); scans > most { // one for each layer but the lowest, and one for index.json
		t.Errorf("layers were opened %d times, %d layers", scans, most)
	}
	blobs, _ := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	for _, path := range blobs {
		if _, err := contents.BlobSize(t.Context(), v1.Hash{Algorithm: "sha256", Hex: filepath.Base(path)}); err != nil {
			t.Error(err)
		}
	}
	if n := src.opened.Load(); n != scans {
		t.Errorf("what is known was looked for again: layers opened %d times instead of %d", n, scans)
	}
	for range 2 {
		_, err := contents.BlobSize(t.Context(), layout.DigestOf([]byte("nobody's")))
		if !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("absent blob: %v", err)
		}
	}
	if n := src.opened.Load(); n != scans+1 {
		t.Errorf("%d layers were opened for what is nowhere, the lowest was left", n-scans)
	}
}

func TestContentsAreAPlace(t *testing.T) {
	c, _, a, b := airgaptest.TwoImages(t)
	var place airgap.Place = c.Contents(t)
	refs, err := place.Refs(t.Context())
	if err != nil || len(refs) != 2 || refs[0].Ref.String() != a || refs[1].Ref.String() != b {
		t.Fatal(refs, err)
	}
	dst := registrytest.Store(t) // as the source of another build
	for _, n := range refs {
		if d, err := artifact.Copy(t.Context(), dst, n.Ref, place, n.Ref, artifact.CopyOptions{}); err != nil || d.Digest != n.Desc.Digest {
			t.Errorf("%s: %v, %v", n.Ref, d, err)
		}
	}
}

// sequential is a source whose readers only go forward, like those of a registry.
type sequential struct {
	artifact.Source
	opened atomic.Int64
}

func (s *sequential) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	s.opened.Add(1)
	r, err := s.Source.Open(ctx, ref, d, offset)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{r, r}, nil
}

func TestContentsFromARegistryAsksLittle(t *testing.T) {
	c, dir, _, _ := airgaptest.TwoImages(t)
	src := &sequential{Source: c.Store}
	contents, err := layout.OpenContents(t.Context(), src, c.Ref, c.Manifest)
	if err != nil {
		t.Fatal(err)
	}
	if n, most := src.opened.Load(), int64(2*len(c.Manifest.Layers)+1); n > most { // start and end of a layer, and index.json
		t.Errorf("%d requests for %d layers", n, len(c.Manifest.Layers))
	}
	sameAs(t, contents, dir)
}

func TestContentsResolve(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	whole := registrytest.Index(t, registrytest.Image(t, amd64, 100, "amd"), registrytest.Image(t, arm, 100, "arm"))
	h := reg.Push(t, "multi:1", whole)
	store := registrytest.Store(t)
	set := airgaptest.Collect(t, store, amd64, airgaptest.List(t, reg, "multi:1", "multi:1@"+h.String()))
	c := airgaptest.NewCluster(t, store, airgaptest.Layers(set)...).Contents(t)
	tagged := airgaptest.Reference(t, reg.Host+"/multi:1")
	manifest, err := c.Resolve(t.Context(), tagged)
	if err != nil || !manifest.MediaType.IsImage() {
		t.Fatal(manifest, err)
	}
	tests := []struct {
		ref  artifact.Reference
		want v1.Hash
	}{
		{tagged.WithDigest(h), h},
		{airgaptest.Reference(t, reg.Host+"/multi@"+h.String()), h},
		{airgaptest.Reference(t, reg.Host+"/multi@"+manifest.Digest.String()), manifest.Digest},
		{airgaptest.Reference(t, "other/name@"+manifest.Digest.String()), manifest.Digest},
	}
	for _, tt := range tests {
		if d, err := c.Resolve(t.Context(), tt.ref); err != nil || d.Digest != tt.want || d.Size == 0 || d.MediaType == "" {
			t.Errorf("%s: %+v, %v", tt.ref, d, err)
		}
	}
	for _, name := range []string{reg.Host + "/multi:2", reg.Host + "/other:1", reg.Host + "/multi@" + layout.DigestOf(nil).String()} {
		if _, err := c.Resolve(t.Context(), airgaptest.Reference(t, name)); !errors.Is(err, artifact.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if refs, err := c.Refs(t.Context()); err != nil || len(refs) != 2 {
		t.Errorf("%v, %v", refs, err)
	}
}

func TestContentsRefusesHostileLayers(t *testing.T) {
	good := airgaptest.File{Name: "images/index.json", Content: `{"manifests":[]}`}
	whole := airgaptest.Tar(t, good)
	tests := []struct {
		name string
		raw  []byte
		want string
	}{
		{"truncated content", whole[:512+4], "EOF"},
		{"truncated header", append(slices.Clone(whole[:1024]), whole[:100]...), "EOF"},
		{"name that leaves the image", airgaptest.Tar(t, airgaptest.File{Name: "../images/index.json", Content: "{}"}), "leaves the image"},
		{"absolute name", airgaptest.Tar(t, airgaptest.File{Name: "/images/index.json", Content: "{}"}), "leaves the image"},
		{"index twice", airgaptest.Tar(t, good, good), "twice"},
		{"index that is a link", airgaptest.Tar(t, airgaptest.File{Name: "images/index.json", Kind: tar.TypeSymlink, Link: "/etc/passwd"}), "no file"},
		{"hard link to nothing", airgaptest.Tar(t, airgaptest.File{Name: "images/index.json", Kind: tar.TypeLink, Link: "nothing"}), "look for nothing"},
		{"no index.json in JSON", airgaptest.Tar(t, airgaptest.File{Name: "images/index.json", Content: "hello"}), "index.json"},
		{"digest that is none", airgaptest.Tar(t, airgaptest.File{Name: "images/index.json", Content: `{"manifests":[{"digest":"sha256:../../x"}]}`}), "index.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			store := registrytest.Store(t)
			d, err := store.PutBytes(t.Context(), types.OCIUncompressedLayer, tt.raw)
			if err != nil {
				t.Fatal(err)
			}
			c := airgaptest.NewCluster(t, store, d)
			_, err = layout.OpenContents(t.Context(), store, c.Ref, c.Manifest)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "cluster:1") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestContentsOfAbsentLayerIsNoAbsentBlob(t *testing.T) {
	store := registrytest.Store(t)
	missing := v1.Descriptor{MediaType: types.OCILayer, Digest: layout.DigestOf([]byte("gone")), Size: 4}
	top := airgaptest.PutLayer(t, store, false, airgaptest.File{Name: "images/index.json", Content: `{"manifests":[]}`})
	c := airgaptest.NewCluster(t, store, missing, top).Contents(t)
	_, err := c.BlobSize(t.Context(), layout.DigestOf(nil))
	if err == nil || errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "layer 1 of 2") {
		t.Errorf("got %v", err)
	}
}

func TestContentsWriteArchiveIsThatOfTheLayout(t *testing.T) {
	c, dir, _, b := airgaptest.TwoImages(t)
	for _, names := range [][]string{nil, {b}} {
		var got bytes.Buffer
		if err := c.Contents(t).WriteArchive(t.Context(), &got, names); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), writeArchive(t, dir, names...)) {
			t.Errorf("%v: the archives differ", names)
		}
	}
}

func TestContentsWriteArchiveVerifies(t *testing.T) {
	_, dir, _, _ := airgaptest.TwoImages(t)
	files := airgaptest.Files(t, dir)
	for i, f := range files {
		if len(f.Content) > 1<<20 {
			files[i].Content = f.Content[1:] + "!"
		}
	}
	store := registrytest.Store(t)
	c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, false, files...)).Contents(t)
	if err := c.WriteArchive(t.Context(), io.Discard, nil); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}

// putJSON puts a document into the store.
func putJSON(t *testing.T, store *store.Store, mt types.MediaType, v any) v1.Descriptor {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.PutBytes(t.Context(), mt, b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}
