package airgap

import (
	"bytes"
	"context"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	// window is how many small blobs of a bucket are fetched at a time. They are held
	// in memory until their turn in the layer.
	window = 4
	// bucketsAtOnce bounds the buckets that do so.
	bucketsAtOnce = 4
)

// slots bounds what is fetched at a time.
type slots chan struct{}

// take waits for a slot. What it returns gives it back, once.
func (s slots) take(ctx context.Context) (free func(), err error) {
	select {
	case s <- struct{}{}:
		return sync.OnceFunc(func() { <-s }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// bucket returns the layer of blobs that are small, which mostly wait for their
// registry: the next ones are asked for while one is awaited.
func (p *packer) bucket(ctx context.Context, blobs []v1.Descriptor) (layer.Blob, error) {
	ctx, stop := context.WithCancel(ctx)
	a := &ahead{ctx: ctx, p: p, blobs: blobs, got: map[v1.Hash]chan fetched{}}
	defer a.workers.Wait()
	defer stop()
	return p.write(ctx, p.blobEntries(blobs, a.open), layer.Options{Compression: layer.None})
}

// ahead opens blobs in their order. It lives for one layer; hence the context.
type ahead struct {
	ctx     context.Context
	p       *packer
	blobs   []v1.Descriptor
	next    int // the first that was not asked for
	got     map[v1.Hash]chan fetched
	workers sync.WaitGroup
}

type fetched struct {
	content []byte
	err     error
}

// open returns a blob that is small, once it is there, and any other as it comes.
func (a *ahead) open(d v1.Descriptor) (io.ReadCloser, error) {
	for ; a.next < len(a.blobs) && len(a.got) < window; a.next++ {
		a.start(a.blobs[a.next])
	}
	c := a.got[d.Digest]
	if c == nil {
		return a.p.open(a.ctx, d)
	}
	delete(a.got, d.Digest)
	select {
	case f := <-c:
		return io.NopCloser(bytes.NewReader(f.content)), f.err
	case <-a.ctx.Done():
		return nil, context.Cause(a.ctx)
	}
}

// start begins to fetch a blob.
func (a *ahead) start(d v1.Descriptor) {
	if d.Size > smallBlob {
		return
	}
	c := make(chan fetched, 1)
	a.got[d.Digest] = c
	a.workers.Go(func() {
		var f fetched
		f.content, f.err = a.read(d)
		c <- f
	})
}

func (a *ahead) read(d v1.Descriptor) ([]byte, error) {
	r, err := a.p.open(a.ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := bytes.NewBuffer(make([]byte, 0, d.Size+bytes.MinRead))
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}
