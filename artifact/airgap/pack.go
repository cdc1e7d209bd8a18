package airgap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// packer writes layers of images/.
type packer struct {
	packed
	o    Options
	refs map[v1.Hash]artifact.Reference // a repository that has the blob
}

// pack writes the layers that hold what was found, and the one of the index.
func pack(ctx context.Context, found []*resolved, index []byte, o Options) (*Set, error) {
	p := &packer{packed: packed{o.Store}, o: o, refs: map[v1.Hash]artifact.Reference{}}
	groups := group(p.lacking(found), o.BaseLayers)
	if err := p.checkSpace(groups); err != nil {
		return nil, err
	}
	set := &Set{Layers: make([]Layer, len(groups)), Index: digestOf(index)}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(o.Jobs)
	for i, blobs := range groups {
		g.Go(func() (err error) {
			set.Layers[i], err = p.layer(gctx, blobs)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(groups) == 0 && string(index) == string(o.BaseIndex) {
		return set, nil
	}
	last, err := p.write(ctx, indexEntries(index), layer.Options{Compression: layer.None, Created: o.Created})
	if err != nil {
		return nil, fmt.Errorf("index.json: %w", err)
	}
	set.Layers = append(set.Layers, Layer{Blob: last})
	return set, nil
}

// lacking returns each blob once that the base image does not carry.
func (p *packer) lacking(found []*resolved) []v1.Descriptor {
	var blobs []v1.Descriptor
	for _, f := range found {
		for _, b := range f.blobs {
			if _, known := p.refs[b.Digest]; known || p.o.Have != nil && p.o.Have(b.Digest) {
				continue
			}
			p.refs[b.Digest] = b.ref
			blobs = append(blobs, b.Descriptor)
		}
	}
	return blobs
}

// checkSpace compares what is to be written with the room there is.
func (p *packer) checkSpace(groups [][]v1.Descriptor) error {
	var need int64
	for _, blobs := range groups {
		if _, ok := p.cached(blobs); ok {
			continue
		}
		for _, b := range blobs {
			need += b.Size
		}
	}
	return p.o.Store.CheckSpace(need)
}

// layer returns the layer that holds blobs, which are in the order of their
// digests: the one that was written before, or a new one.
func (p *packer) layer(ctx context.Context, blobs []v1.Descriptor) (Layer, error) {
	l := Layer{Blobs: make([]v1.Hash, len(blobs))}
	for i, b := range blobs {
		l.Blobs[i] = b.Digest
	}
	if r, ok := p.cached(blobs); ok {
		l.Blob = layer.Blob{Digest: r.Digest, DiffID: r.DiffID, Size: r.Size, MediaType: layer.None.MediaType()}
		p.o.Observe(artifact.Event{Kind: artifact.EventExists, Digest: r.Digest, Name: "layer", Size: r.Size})
		return l, nil
	}
	var err error
	if l.Blob, err = p.write(ctx, p.blobEntries(ctx, blobs), layer.Options{Compression: layer.None}); err != nil {
		return Layer{}, err
	}
	return l, p.remember(blobs, l.Blob)
}

// layerKey is the key of the record of the layer that holds just these blobs.
func layerKey(blobs []v1.Descriptor) string {
	h := sha256.New()
	for _, b := range blobs {
		io.WriteString(h, b.Digest.String()+"\n")
	}
	return "airgap/layer/" + hex.EncodeToString(h.Sum(nil))
}

// cached returns the layer of just these blobs if the store has it.
func (p *packer) cached(blobs []v1.Descriptor) (record, bool) {
	r, ok := p.record(layerKey(blobs))
	if !ok || r.DiffID.Hex == "" {
		return record{}, false
	}
	fi, err := os.Stat(p.store.BlobPath(r.Digest))
	return r, err == nil && fi.Size() == r.Size
}

// remember records which layer holds the blobs.
func (p *packer) remember(blobs []v1.Descriptor, l layer.Blob) error {
	for _, b := range blobs {
		if err := p.put(blobKey(b.Digest), record{Digest: l.Digest}); err != nil {
			return err
		}
	}
	return p.put(layerKey(blobs), record{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size})
}

func (p *packer) put(key string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return p.store.CachePut(key, b)
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
func (p *packer) blobEntries(ctx context.Context, blobs []v1.Descriptor) []layer.Entry {
	entries := dirs("images", "images/blobs", blobDir)
	for _, b := range blobs {
		entries = append(entries, layer.Entry{
			Name: blobDir + "/" + b.Digest.Hex, Mode: 0o644, Size: b.Size,
			Open: func() (io.ReadCloser, error) { return p.open(ctx, b) },
		})
	}
	return entries
}

// indexEntries lists the files of the layer that makes a layout of the blobs.
func indexEntries(index []byte) []layer.Entry {
	return append(dirs("images", "images/blobs", blobDir),
		content("images/oci-layout", layoutFile()), content("images/index.json", index))
}

// dirs returns directories that everybody may enter.
func dirs(names ...string) []layer.Entry {
	entries := make([]layer.Entry, len(names))
	for i, name := range names {
		entries[i] = layer.Entry{Name: name, Mode: fs.ModeDir | 0o755}
	}
	return entries
}

// open returns the verified content of a blob from this machine, or else from
// the source.
func (p *packer) open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	ref := p.refs[d.Digest]
	local, err := p.packed.open(d)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	if local != nil {
		return verify(local, d, nil), nil
	}
	remote, err := p.o.Source.Open(ctx, ref, d, 0)
	if err != nil {
		return nil, err
	}
	event := artifact.Event{Kind: artifact.EventStarted, Ref: ref.Familiar(), Digest: d.Digest, Name: "layer", Size: d.Size}
	p.o.Observe(event)
	return verify(remote, d, func(done int64, end bool) {
		event.Kind, event.Done = artifact.EventProgress, done
		if end {
			event.Kind = artifact.EventDone
		}
		p.o.Observe(event)
	}), nil
}

// digestOf returns the sha256 digest of b.
func digestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
