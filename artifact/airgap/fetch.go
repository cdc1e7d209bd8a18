package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// open returns the verified content of a blob from this machine, or else from
// its source.
func (p *packer) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	near, err := p.packed.open(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.origins[d.Digest].ref.Familiar(), err)
	}
	if near != nil {
		return &kept{layout.Verify(near, d, nil), near.file.Name()}, nil
	}
	return p.fetch(ctx, d, nil, 0)
}

// kept is a blob of the store, whose errors name the file.
type kept struct {
	io.ReadCloser
	file string
}

func (k *kept) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	if errors.Is(err, layout.ErrDamaged) {
		err = damagedFile(k.file, err)
	}
	return n, err
}

// fetch returns the verified content of a blob, of which the first n bytes are
// there already: before yields them, and the source the others.
func (p *packer) fetch(ctx context.Context, d v1.Descriptor, before io.Reader, n int64) (io.ReadCloser, error) {
	at := p.origins[d.Digest]
	r := &arriving{ctx: ctx, slots: p.slots, open: func() (io.ReadCloser, error) { return at.src.Open(ctx, at.ref, d, n) }}
	var all io.Reader = r
	switch {
	case n == 0: // what cannot be opened is told before anything is written
		if err := r.connect(); err != nil {
			return nil, at.explain(err)
		}
	case n < d.Size:
		all = io.MultiReader(before, r)
	default:
		all = before
	}
	event := artifact.Event{Kind: artifact.EventStarted, Ref: at.ref.Familiar(), Digest: d.Digest, Name: "layer", Size: d.Size}
	p.o.Observe(event)
	content := layout.Verify(struct {
		io.Reader
		io.Closer
	}{all, r}, d, func(done int64, end bool) {
		event.Kind, event.Done = artifact.EventProgress, done
		if end {
			event.Kind = artifact.EventDone
		}
		p.o.Observe(event)
	})
	return &explained{at: at, ReadCloser: content}, nil
}

// arriving is a blob in its source, opened when it is first read and there is a
// slot. It lives for one read; hence the context.
type arriving struct {
	ctx   context.Context
	slots slots
	open  func() (io.ReadCloser, error)
	r     io.ReadCloser // nil until it is open
	free  func()
}

func (r *arriving) connect() (err error) {
	if r.free, err = r.slots.take(r.ctx); err != nil {
		return err
	}
	if r.r, err = r.open(); err != nil {
		r.free()
	}
	return err
}

func (r *arriving) Read(p []byte) (int, error) {
	if r.r == nil {
		if err := r.connect(); err != nil {
			return 0, err
		}
	}
	return r.r.Read(p)
}

func (r *arriving) Close() error {
	if r.r == nil {
		return nil
	}
	defer r.free()
	return r.r.Close()
}

// explained is a reader whose errors say which image they are about.
type explained struct {
	at *origin
	io.ReadCloser
}

func (r *explained) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.at.explain(err)
	}
	return n, err
}

// explain says what an error of the source means for the blob, and what to do.
func (at *origin) explain(err error) error {
	if errors.Is(err, layout.ErrDamaged) { // the others name the image
		err = fmt.Errorf("%s: %w", at.ref.Familiar(), err)
	}
	switch {
	case !errors.Is(err, artifact.ErrNotFound):
	case len(at.urls) > 0:
		err = fmt.Errorf("%w: its layer %s is not to be distributed and only at %s: push the image with this layer to a registry of yours and name that", err, at.Digest, at.urls[0])
	default:
		err = fmt.Errorf("%w: its blob %s is gone: push the image again", err, at.Digest)
	}
	return &lostError{digest: at.Digest, err: err}
}

// partialKey names what has come so far of the layer of one blob. The number
// changes with what precedes the blob in the layer.
func partialKey(h v1.Hash) string { return "layer1-" + h.Hex }

// big returns the layer of one blob, which takes long enough to go on where an
// earlier build stopped. What that left is read and hashed like the rest; when
// the digest turns out wrong, all is fetched anew.
func (p *packer) big(ctx context.Context, d v1.Descriptor) (layer.Blob, error) {
	l, kept, err := p.resume(ctx, d)
	if kept > 0 && errors.Is(err, layout.ErrDamaged) && ctx.Err() == nil {
		ref := p.origins[d.Digest].ref.Familiar()
		p.o.Observe(artifact.Event{Kind: artifact.EventNote, Ref: ref, Digest: d.Digest,
			Name: fmt.Sprintf("%s: %s is fetched anew: what was left of an earlier attempt, or of the source, is damaged", ref, d.Digest)})
		l, _, err = p.resume(ctx, d)
	}
	return l, err
}

// resume writes the layer of one blob and returns how much of the blob there was
// already.
func (p *packer) resume(ctx context.Context, d v1.Descriptor) (l layer.Blob, kept int64, err error) {
	w, err := p.store.ResumeBlob(ctx, partialKey(d.Digest))
	if err != nil {
		return layer.Blob{}, 0, err
	}
	defer w.Close()
	from := contentOffset(d)
	if startsWith(w.KeptReader(0), d, from) {
		kept = min(w.Kept()-from, d.Size)
		w.Reuse(from, from+kept)
	}
	open := func(d v1.Descriptor) (io.ReadCloser, error) {
		if kept > 0 {
			return p.fetch(ctx, d, io.LimitReader(w.KeptReader(from), kept), kept)
		}
		return p.open(ctx, d)
	}
	l, err = layer.Write(ctx, w, layer.Sorted(p.blobEntries([]v1.Descriptor{d}, open)), layer.Options{Compression: layer.None})
	if errors.Is(err, layout.ErrDamaged) {
		w.Drop()
	}
	if err != nil {
		return layer.Blob{}, kept, err
	}
	return l, kept, w.Commit(l.Digest, l.Size)
}

// contentOffset is where the blob begins in its layer: behind the headers of
// three directories and its own, which has two blocks more from 8 GiB on (POSIX
// pax, "size").
func contentOffset(d v1.Descriptor) int64 {
	const block = 512
	if d.Size >= 8<<30 {
		return 6 * block
	}
	return 4 * block
}

// startsWith reports whether r has the beginning of the layer of d, with bytes of
// d from offset on.
func startsWith(r *io.SectionReader, d v1.Descriptor, offset int64) bool {
	if r.Size() <= offset {
		return false
	}
	if _, err := seekEntry(r, blobDir+"/"+d.Digest.Hex); err != nil {
		return false
	}
	at, err := r.Seek(0, io.SeekCurrent)
	return err == nil && at == offset
}
