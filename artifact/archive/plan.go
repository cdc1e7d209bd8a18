package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Names of the files of an archive (OCI image-spec image-layout.md; the last one is ours).
const (
	layoutName   = "oci-layout"
	indexName    = "index.json"
	blobDir      = "blobs/sha256/"
	presumesName = "presumes.json" // an Inventory: what a delta needs beside itself
)

// Options says how archives are written; the zero value is usable.
type Options struct {
	Base     []*Inventory         // what the other side has: layers that are in one of them are left out, and listed
	Platform *v1.Platform         // of indexes, only this platform's image; nil: all
	Observe  func(artifact.Event) // called one event at a time; may be nil
}

// plan is what an archive will hold, down to the byte, before the first byte is written.
type plan struct {
	src      artifact.Source
	observe  func(artifact.Event)
	index    artifact.Index
	images   []Image
	list     []planned
	presumes *Inventory // nil: it is complete
	have     map[v1.Hash]Blob
	base     *Inventory
	seen     map[v1.Hash]bool
}

// planned is a blob or manifest that goes into an archive.
type planned struct {
	artifact.Part
	ref artifact.Reference // of the image it was met in first
}

// newPlan reads the manifests of the images and of what is attached to them.
func newPlan(ctx context.Context, src artifact.Source, refs []artifact.Reference, o Options) (*plan, error) {
	p := &plan{src: src, observe: o.Observe, seen: map[v1.Hash]bool{}, have: map[v1.Hash]Blob{}, base: newInventory()}
	if p.observe == nil {
		p.observe = func(artifact.Event) {}
	}
	for _, b := range o.Base {
		p.base.add(b)
		p.presumes = newInventory()
	}
	for _, b := range p.base.Blobs {
		if known, ok := p.have[b.Digest]; !ok || known.Image == nil {
			p.have[b.Digest] = b
		}
	}
	if len(refs) == 0 {
		return nil, errors.New("write archive: no image is to be put into it")
	}
	for _, ref := range inOrder(refs) {
		if err := p.addImage(ctx, ref, o.Platform); err != nil {
			return nil, err
		}
	}
	p.nameBases()
	return p, nil
}

func inOrder(refs []artifact.Reference) []artifact.Reference {
	refs = slices.Clone(refs)
	slices.SortFunc(refs, func(a, b artifact.Reference) int { return strings.Compare(a.String(), b.String()) })
	return slices.Compact(refs)
}

func (p *plan) addImage(ctx context.Context, ref artifact.Reference, platform *v1.Platform) error {
	d, err := p.src.Resolve(ctx, ref)
	if err == nil && platform != nil && d.MediaType.IsIndex() {
		d, _, _, err = artifact.Manifest(ctx, p.src, ref, platform)
	}
	if err != nil {
		return err
	}
	p.index.SetName(ref, d, artifact.AnnotationContainerdName)
	p.images = append(p.images, Image{ref, d.Digest})
	return p.add(ctx, ref, d)
}

// add takes in a manifest, all that it points at, and what is attached to each manifest of it.
func (p *plan) add(ctx context.Context, ref artifact.Reference, d v1.Descriptor) error {
	if p.seen[d.Digest] {
		return nil
	}
	list, missing, err := artifact.Contents(ctx, p.src, ref, d)
	if err == nil && len(missing) > 0 {
		_, err = artifact.ReadManifest(ctx, p.src, ref, missing[0].Descriptor)
	}
	if err != nil {
		return err
	}
	var manifests []v1.Descriptor
	for _, part := range list {
		if p.seen[part.Digest] {
			continue
		}
		p.seen[part.Digest] = true
		p.put(planned{part, ref})
		if artifact.IsManifest(part.MediaType) {
			manifests = append(manifests, part.Descriptor)
		}
	}
	for _, m := range manifests {
		if err := p.addAttached(ctx, ref.WithDigest(m.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// put takes in a part unless it is a layer that the other side has.
func (p *plan) put(e planned) {
	if b, ok := p.have[e.Digest]; ok && e.Name == "layer" {
		b.Size, b.Of = e.Size, &e.ref
		p.presumes.Blobs = append(p.presumes.Blobs, b)
		return
	}
	p.list = append(p.list, e)
}

func (p *plan) addAttached(ctx context.Context, ref artifact.Reference) error {
	describer, ok := p.src.(artifact.Describer)
	if !ok {
		return nil
	}
	list, err := describer.Attached(ctx, ref)
	if err != nil {
		return err
	}
	for _, n := range list {
		if err := p.add(ctx, n.Ref, n.Desc); err != nil {
			return err
		}
		if _, err := p.index.Attach(ref, n); err != nil {
			return err
		}
	}
	return nil
}

// nameBases keeps of the images of the base those that something is presumed of.
func (p *plan) nameBases() {
	if p.presumes == nil {
		return
	}
	place := map[int]*int{}
	for i, b := range p.presumes.Blobs {
		if b.Image == nil {
			continue
		}
		if place[*b.Image] == nil {
			n := len(p.presumes.Images)
			place[*b.Image] = &n
			p.presumes.Images = append(p.presumes.Images, p.base.Images[*b.Image])
		}
		p.presumes.Blobs[i].Image = place[*b.Image]
	}
	slices.SortFunc(p.presumes.Blobs, func(a, b Blob) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
}

// size returns the bytes of the archive.
func (p *plan) size() (int64, error) {
	n := entrySize(int64(len(artifact.LayoutFile))) + 2*block + trailer
	for _, e := range p.list {
		n += entrySize(e.Size)
	}
	index, err := p.index.Format()
	if err != nil {
		return 0, err
	}
	n += entrySize(int64(len(index)))
	if p.presumes != nil {
		b, err := p.presumes.Format()
		if err != nil {
			return 0, err
		}
		n += entrySize(int64(len(b)))
	}
	return n, nil
}

// write writes the archive.
func (p *plan) write(ctx context.Context, to io.Writer) error {
	w := newWriter(to)
	if err := w.begin(); err != nil {
		return err
	}
	if p.presumes != nil {
		b, err := p.presumes.Format()
		if err == nil {
			err = w.bytes(presumesName, b)
		}
		if err != nil {
			return err
		}
	}
	for _, e := range p.list {
		if err := p.blob(ctx, w, e); err != nil {
			return err
		}
	}
	if err := w.index(&p.index); err != nil {
		return err
	}
	if err := w.end(); err != nil {
		return err
	}
	p.tellTagged()
	return nil
}

// tellTagged tells of the images once all of them are written.
func (p *plan) tellTagged() {
	for _, i := range p.images {
		p.observe(artifact.Event{Kind: artifact.EventTagged, Ref: i.Name.Familiar(), Digest: i.Digest})
	}
}

// begin writes what stands before the first blob, so that tools see at once what the archive is.
func (w *writer) begin() error {
	err := w.bytes(layoutName, []byte(artifact.LayoutFile))
	for _, dir := range []string{"blobs/", blobDir} {
		if err == nil {
			err = w.dir(dir)
		}
	}
	return err
}

func (w *writer) index(x *artifact.Index) error {
	b, err := x.Format()
	if err != nil {
		return err
	}
	return w.bytes(indexName, b)
}

// blob writes a whole blob and tells of it.
func (p *plan) blob(ctx context.Context, w *writer, e planned) error {
	r, err := p.src.Open(ctx, e.ref, e.Descriptor, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	event := artifact.Event{Kind: artifact.EventStarted, Ref: e.ref.Familiar(), Digest: e.Digest, Name: e.Name, Size: e.Size}
	p.observe(event)
	event.Kind = artifact.EventProgress
	err = w.file(blobDir+e.Digest.Hex, e.Size, func() error {
		return verified(ctx, w, r, e.Descriptor, func(done int64) {
			event.Done = done
			p.observe(event)
		})
	})
	if err != nil {
		return p.advise(e, err)
	}
	event.Kind, event.Done = artifact.EventDone, e.Size
	p.observe(event)
	return nil
}

// advise adds to an error of a blob of a store that is damaged which file that is and what to do.
func (p *plan) advise(e planned, err error) error {
	if s, ok := p.src.(*store.Store); ok && isDamaged(err) {
		return fmt.Errorf("%s: %w: remove %s, then pull or load the image again", e.ref.Familiar(), err, s.BlobPath(e.Digest))
	}
	return err
}
