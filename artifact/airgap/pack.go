package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// packer writes layers of images/.
type packer struct {
	packed
	o       Options
	origins map[v1.Hash]*origin
	slots   slots

	mu   sync.Mutex
	lost map[*Request]error
}

// origin is where a blob is to be had, and who wants it.
type origin struct {
	blob
	wanted []*Request
}

// lostError says that a blob cannot be had.
type lostError struct {
	digest v1.Hash
	err    error // names the image
}

func (e *lostError) Error() string { return e.err.Error() }

// Unwrap returns the cause.
func (e *lostError) Unwrap() error { return e.err }

// final reports whether asking for other blobs makes sense: the next one is
// another matter.
func (e *lostError) final() bool {
	return errors.Is(e.err, artifact.ErrNotFound) || errors.Is(e.err, artifact.ErrUnauthorized) || errors.Is(e.err, layout.ErrDamaged)
}

// pack writes the layers that hold what was found, and the one of the index.
func pack(ctx context.Context, wanted []*Request, found []*resolved, index []byte, o Options) (*Set, error) {
	p := &packer{packed: packed{o.Store}, o: o, origins: map[v1.Hash]*origin{}, slots: make(slots, o.Jobs), lost: map[*Request]error{}}
	groups := group(p.lacking(wanted, found), o.BaseLayers)
	if err := p.checkSpace(groups); err != nil {
		return nil, err
	}
	set := &Set{Layers: make([]Layer, len(groups)), Index: layout.DigestOf(index)}
	err := p.layers(ctx, groups, set.Layers)
	if missing := p.missing(wanted); missing != nil && ctx.Err() == nil {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if len(groups) == 0 && string(index) == string(o.BaseIndex) {
		return set, nil
	}
	last, err := p.write(ctx, layout.Files("images", index), layer.Options{Compression: layer.None, Created: o.Created})
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	set.Layers = append(set.Layers, Layer{Blob: last})
	return set, nil
}

// layers writes the layer of each group to its place in list. The buckets, which
// have to wait for answers, go beside the big blobs, which have to wait for bytes.
func (p *packer) layers(ctx context.Context, groups [][]v1.Descriptor, list []Layer) error {
	g, ctx := errgroup.WithContext(ctx)
	big, buckets := make(slots, p.o.Jobs), make(slots, min(p.o.Jobs, bucketsAtOnce))
	for i, blobs := range groups {
		turn := big
		if blobs[0].Size < smallBlob {
			turn = buckets
		}
		g.Go(func() error {
			free, err := turn.take(ctx)
			if err != nil {
				return err
			}
			defer free()
			list[i], err = p.layer(ctx, blobs)
			return p.lose(ctx, err)
		})
	}
	return g.Wait()
}

// lacking returns each blob once that the base image does not carry.
func (p *packer) lacking(wanted []*Request, found []*resolved) []v1.Descriptor {
	var blobs []v1.Descriptor
	for i, f := range found {
		for _, b := range f.blobs {
			if p.o.Have != nil && p.o.Have(b.Digest) {
				continue
			}
			at := p.origins[b.Digest]
			if at == nil {
				at = &origin{blob: b}
				p.origins[b.Digest] = at
				blobs = append(blobs, b.Descriptor)
			}
			at.wanted = append(at.wanted, wanted[i])
		}
	}
	return blobs
}

// lose notes who lacks a blob that cannot be had, and returns the errors that
// end the work for the others.
func (p *packer) lose(ctx context.Context, err error) error {
	var lost *lostError
	if !errors.As(err, &lost) || ctx.Err() != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.origins[lost.digest].wanted {
		if p.lost[r] == nil {
			p.lost[r] = lost.err
		}
	}
	if lost.final() {
		return nil
	}
	return err
}

// missing returns a *MissingError if a blob is.
func (p *packer) missing(wanted []*Request) error {
	var list []Missing
	for _, r := range wanted {
		if err := p.lost[r]; err != nil {
			list = append(list, r.missing(err))
		}
	}
	if list == nil {
		return nil
	}
	return &MissingError{Missing: list}
}

// checkSpace compares what is to be written with the room there is.
func (p *packer) checkSpace(groups [][]v1.Descriptor) error {
	var need int64
	for _, blobs := range groups {
		if _, ok := p.cached(blobs); ok {
			continue
		}
		for _, b := range blobs {
			need += max(0, b.Size-p.store.KeptSize(partialKey(b.Digest)))
		}
	}
	return p.o.Store.CheckSpace(need)
}

// layer returns the layer that holds blobs, which are in the order of their
// digests: the one that was written before, or a new one. A big blob that
// another build is fetching is waited for.
func (p *packer) layer(ctx context.Context, blobs []v1.Descriptor) (Layer, error) {
	if l, ok := p.written(blobs); ok {
		return l, nil
	}
	if len(blobs) == 1 && blobs[0].Size >= store.PartialFrom {
		release, err := p.store.Claim(ctx, partialKey(blobs[0].Digest), p.waiting(blobs[0]))
		if err != nil {
			return Layer{}, err
		}
		defer release()
		if l, ok := p.written(blobs); ok {
			return l, nil
		}
	}
	return p.make(ctx, blobs)
}

// written returns the layer of blobs that was written before.
func (p *packer) written(blobs []v1.Descriptor) (Layer, bool) {
	r, ok := p.cached(blobs)
	if !ok {
		return Layer{}, false
	}
	p.o.Observe(artifact.Event{Kind: artifact.EventExists, Digest: r.Digest, Name: "layer", Size: r.Size})
	b := layer.Blob{Digest: r.Digest, DiffID: r.DiffID, Size: r.Size, MediaType: r.mediaType()}
	return Layer{Blob: b, Blobs: hashes(blobs)}, true
}

// make writes the layer of blobs.
func (p *packer) make(ctx context.Context, blobs []v1.Descriptor) (l Layer, err error) {
	l.Blobs = hashes(blobs)
	switch {
	case len(blobs) == 1 && layout.IsPlain(blobs[0].MediaType) && blobs[0].Size >= smallBlob:
		l.Blob, err = p.compressed(ctx, blobs)
	case len(blobs) == 1 && blobs[0].Size >= store.PartialFrom:
		l.Blob, err = p.big(ctx, blobs[0])
	default:
		l.Blob, err = p.bucket(ctx, blobs)
	}
	if err != nil {
		return Layer{}, err
	}
	return l, p.remember(blobs, newRecord(l.Blob))
}

func hashes(blobs []v1.Descriptor) []v1.Hash {
	list := make([]v1.Hash, len(blobs))
	for i, b := range blobs {
		list[i] = b.Digest
	}
	return list
}

// waiting tells that another build is fetching a blob.
func (p *packer) waiting(d v1.Descriptor) func(text string) {
	return func(text string) {
		p.o.Observe(artifact.Event{Kind: artifact.EventNote, Ref: p.origins[d.Digest].ref.Familiar(), Digest: d.Digest, Name: text})
	}
}

// compressed writes the layer of a blob that is not compressed itself.
func (p *packer) compressed(ctx context.Context, blobs []v1.Descriptor) (layer.Blob, error) {
	open := func(d v1.Descriptor) (io.ReadCloser, error) { return p.open(ctx, d) }
	return p.write(ctx, p.blobEntries(blobs, open), layer.Options{Compression: p.o.Compression, Buffers: p.o.Buffers})
}

// write puts a layer into the store while it is made.
func (p *packer) write(ctx context.Context, entries []layer.Entry, o layer.Options) (layer.Blob, error) {
	w, err := p.store.NewBlob(ctx)
	if err != nil {
		return layer.Blob{}, err
	}
	defer w.Close()
	l, err := layer.Write(ctx, w, layer.Sorted(entries), o)
	if err != nil {
		return layer.Blob{}, err
	}
	return l, w.Commit(l.Digest, l.Size)
}

// blobEntries lists the files of a layer of blobs, with their directories.
func (p *packer) blobEntries(blobs []v1.Descriptor, open func(v1.Descriptor) (io.ReadCloser, error)) []layer.Entry {
	entries := layout.Dirs("images")
	for _, b := range blobs {
		entries = append(entries, layer.Entry{
			Name: blobDir + "/" + b.Digest.Hex, Mode: 0o644, Size: b.Size,
			Open: func() (io.ReadCloser, error) { return open(b) },
		})
	}
	return entries
}
