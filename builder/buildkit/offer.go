package buildkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// storeID names the offer in definitions. It is part of what the daemon caches by, so it never changes.
const storeID = "sealrt"

// offer is all that the daemon may read from here during one solve, as a read-only content store. The daemon asks for
// blobs by digest, those that it lacks.
type offer struct {
	readOnly
	mu    sync.Mutex
	blobs map[digest.Digest]blob
}

// blob is the size in bytes of a blob, and how to read it from an offset on.
type blob struct {
	size int64
	open func(ctx context.Context, offset int64) (io.ReadCloser, error)
}

func newOffer() *offer { return &offer{blobs: map[digest.Digest]blob{}} }

func (o *offer) add(h v1.Hash, b blob) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.blobs[digest.Digest(h.String())] = b
}

// addBytes offers a small blob and returns its descriptor.
func (o *offer) addBytes(mediaType string, data []byte) (ocispecs.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(data))
	if err != nil {
		return ocispecs.Descriptor{}, err
	}
	o.add(h, blob{size: n, open: func(_ context.Context, offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data[min(offset, n):])), nil
	}})
	return ocispecs.Descriptor{MediaType: mediaType, Digest: digest.Digest(h.String()), Size: n}, nil
}

// state returns the file system of an offered image. The name is a form; the digest decides.
func (o *offer) state(manifest v1.Hash) llb.State {
	return llb.OCILayout("sealrt/tree@"+manifest.String(), llb.OCIStore("", storeID))
}

func (o *offer) get(d digest.Digest) (blob, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	b, ok := o.blobs[d]
	if !ok {
		return blob{}, fmt.Errorf("blob %s: %w", d, errdefs.ErrNotFound)
	}
	return b, nil
}

// Info implements content.InfoProvider.
func (o *offer) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	b, err := o.get(d)
	return content.Info{Digest: d, Size: b.size}, err
}

// ReaderAt implements content.Provider.
func (o *offer) ReaderAt(ctx context.Context, d ocispecs.Descriptor) (content.ReaderAt, error) {
	b, err := o.get(d.Digest)
	if err != nil {
		return nil, err
	}
	return &blobReader{blob: b, ctx: ctx}, nil
}

// blobReader reads a blob that can only be read from an offset on. Reading in order opens it once. It lives for one
// call of the daemon and is not used concurrently.
type blobReader struct {
	blob
	ctx context.Context
	r   io.ReadCloser // nil: not open
	at  int64         // offset of r
}

// Size implements content.ReaderAt.
func (b *blobReader) Size() int64 { return b.size }

// ReadAt implements io.ReaderAt.
func (b *blobReader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= b.size {
		return 0, io.EOF
	}
	if b.r == nil || b.at != off {
		if err := b.Close(); err != nil {
			return 0, err
		}
		r, err := b.open(b.ctx, off)
		if err != nil {
			return 0, err
		}
		b.r, b.at = r, off
	}
	n, err := io.ReadFull(b.r, p)
	b.at += int64(n)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// Close implements io.Closer. It can be called twice.
func (b *blobReader) Close() error {
	if b.r == nil {
		return nil
	}
	r := b.r
	b.r = nil
	return r.Close()
}

// readOnly refuses the operations of a content.Store that no daemon asks of its client.
type readOnly struct{}

func (readOnly) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errdefs.ErrNotImplemented
}

func (readOnly) Walk(context.Context, content.WalkFunc, ...string) error {
	return errdefs.ErrNotImplemented
}

func (readOnly) Delete(context.Context, digest.Digest) error { return errdefs.ErrNotImplemented }

func (readOnly) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errdefs.ErrNotFound
}

func (readOnly) ListStatuses(context.Context, ...string) ([]content.Status, error) { return nil, nil }

func (readOnly) Abort(context.Context, string) error { return errdefs.ErrNotFound }

func (readOnly) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errdefs.ErrPermissionDenied
}
