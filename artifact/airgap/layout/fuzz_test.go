package layout

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// FuzzContents reads what is no cluster image of ours: it must not panic, and
// what it finds must have the size that it says.
func FuzzContents(f *testing.F) {
	good := []struct{ name, content string }{{name: "images/blobs/sha256/" + DigestOf([]byte("x")).Hex, content: "x"}, {name: "images/index.json", content: `{"manifests":[]}`}}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, g := range good {
		w.WriteHeader(&tar.Header{Name: g.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(g.content))})
		io.WriteString(w, g.content)
	}
	w.WriteHeader(&tar.Header{Name: "images/.wh.oci-layout", Typeflag: tar.TypeReg})
	w.WriteHeader(&tar.Header{Name: "images/oci-layout", Typeflag: tar.TypeLink, Linkname: "images/index.json"})
	w.Close()
	f.Add(b.Bytes(), b.Bytes())
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	z.Write(b.Bytes())
	z.Close()
	f.Add(small.Bytes(), b.Bytes()[:700])
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		src := memory{DigestOf(lower): lower, DigestOf(upper): upper}
		m := &v1.Manifest{Layers: []v1.Descriptor{
			{MediaType: types.OCILayer, Digest: DigestOf(lower), Size: int64(len(lower))},
			{MediaType: types.OCIUncompressedLayer, Digest: DigestOf(upper), Size: int64(len(upper))},
		}}
		c := newContents(src, artifact.Reference{}, m)
		if err := c.load(t.Context()); err != nil && c.below > 0 {
			return
		}
		for name, p := range c.files {
			r, size, err := c.openPlace(t.Context(), p, 0)
			if err != nil {
				continue
			}
			n, err := io.Copy(io.Discard, r)
			r.Close()
			if err == nil && n != size {
				t.Errorf("%s: %d bytes, %d announced", name, n, size)
			}
		}
	})
}

// memory is a source of a few small blobs.
type memory map[v1.Hash][]byte

func (m memory) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (m memory) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b, ok := m[d.Digest]
	if !ok {
		return nil, artifact.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b[min(offset, int64(len(b))):])), nil
}
