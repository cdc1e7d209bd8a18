package buildkit

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

func TestOfferIsReadByDigestOnly(t *testing.T) {
	o := newOffer()
	d, err := o.addBytes("text/plain", []byte("some text"))
	if err != nil {
		t.Fatal(err)
	}
	far := remote(t, o)
	info, err := far.Info(t.Context(), d.Digest)
	if err != nil || info.Size != 9 {
		t.Errorf("info %+v, %v", info, err)
	}
	got, err := content.ReadBlob(t.Context(), far, d)
	if err != nil || string(got) != "some text" {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := far.Info(t.Context(), digest.FromString("other")); !errdefs.IsNotFound(err) {
		t.Errorf("a blob that is not offered: %v", err)
	}
	if _, err := content.ReadBlob(t.Context(), far, ocispecs.Descriptor{Digest: digest.FromString("other"), Size: 1}); !errdefs.IsNotFound(err) {
		t.Errorf("a blob that is not offered: %v", err)
	}
	err = content.WriteBlob(t.Context(), far, "x", strings.NewReader("x"), ocispecs.Descriptor{Digest: digest.FromString("x"), Size: 1})
	if !errdefs.IsPermissionDenied(err) {
		t.Errorf("the daemon wrote: %v", err)
	}
	if err := far.Delete(t.Context(), d.Digest); err == nil {
		t.Error("the daemon deleted")
	}
}

func TestBlobsAreOpenedOnceToBeReadInOrder(t *testing.T) {
	times := 0
	r := &blobReader{blob: opened(&times, "0123456789"), ctx: t.Context()}
	all, err := io.ReadAll(iotest.OneByteReader(io.NewSectionReader(r, 0, r.Size())))
	if err != nil || string(all) != "0123456789" || times != 1 {
		t.Errorf("read %q, %v, opened %d times", all, err, times)
	}
	p := make([]byte, 4)
	if n, err := r.ReadAt(p, 3); n != 4 || err != nil || string(p) != "3456" {
		t.Errorf("from the middle: %q, %v", p[:n], err)
	}
	if n, err := r.ReadAt(p, 8); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %q, %v", p[:n], err)
	}
	if _, err := r.ReadAt(p, 11); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
}

func TestEqualLayersAreEqualImages(t *testing.T) {
	var manifests []digest.Digest
	for range 2 {
		s, o := newStore(t), newOffer()
		var layers []v1.Descriptor
		var ids []v1.Hash
		for _, c := range []layer.Compression{layer.Zstd, layer.Gzip, layer.None} {
			b := putLayer(t, s, c, file("a", c.String()))
			d := b.Descriptor()
			d.Annotations = map[string]string{"note": s.Root()} // is no part of the tree
			layers, ids = append(layers, d), append(ids, b.DiffID)
		}
		p := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
		known, err := o.tree(t.Context(), s, layers, ids, p)
		if err != nil {
			t.Fatal(err)
		}
		computed, err := o.tree(t.Context(), s, layers, nil, p)
		if err != nil {
			t.Fatal(err)
		}
		a, errA := known.Marshal(t.Context())
		b, errB := computed.Marshal(t.Context())
		if errA != nil || errB != nil || string(a.Def[0]) != string(b.Def[0]) {
			t.Errorf("known and computed diff IDs make different images: %v, %v", errA, errB)
		}
		manifests = append(manifests, digest.FromBytes(a.Def[0]))
		if len(o.blobs) != 5 {
			t.Errorf("%d blobs are offered, want 3 layers, a manifest and a config", len(o.blobs))
		}
	}
	if manifests[0] != manifests[1] {
		t.Error("stores elsewhere make different images")
	}
}
