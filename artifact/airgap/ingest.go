package airgap

import (
	"bufio"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// Ingest reads a blob of a container image from r, verified, and leaves it in the store in the form that Collect looks
// for: a big one as the layer that holds it, a small one as it is. Of d digest and size matter. A blob that is on this
// machine already is not read.
// Of the options Store, Compression and Buffers matter: compression is that of big blobs which are no more than an archive.
// What is ingested stays in the store as long as somebody holds or tags it, see [store.Store.Hold].
func Ingest(ctx context.Context, d v1.Descriptor, r io.Reader, o Options) error {
	if err := layout.Check(d); err != nil {
		return err
	}
	p := &packer{packed: packed{o.Store}, o: o}
	if near, err := p.near(d); near || err != nil {
		return err
	}
	if d.Size < smallBlob {
		open := func(int64) (io.ReadCloser, error) { return io.NopCloser(r), nil }
		return o.Store.Put(ctx, artifact.Reference{}.WithDigest(d.Digest), d, open)
	}
	content := bufio.NewReaderSize(layout.Verify(io.NopCloser(layer.UntilDone(ctx, r)), layout.Bare(d), nil), 64<<10)
	options := layer.Options{Compression: layer.None}
	if head, _ := content.Peek(512); layout.IsTar(head) { // an error comes again with the next Read
		options = layer.Options{Compression: o.Compression, Buffers: o.Buffers}
	}
	open := func(v1.Descriptor) (io.ReadCloser, error) { return io.NopCloser(content), nil }
	l, err := p.write(ctx, p.blobEntries([]v1.Descriptor{d}, open), options)
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	return p.remember([]v1.Descriptor{d}, newRecord(l))
}

// near reports whether a blob is on this machine already.
func (p packed) near(d v1.Descriptor) (bool, error) {
	l, err := p.open(d)
	if l == nil || err != nil {
		return false, err
	}
	return true, l.Close()
}
