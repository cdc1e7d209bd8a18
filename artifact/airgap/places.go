package airgap

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/store"
)

// sources are where images are looked for: the base image, the places that are
// named, and the usual ones.
type sources struct {
	base   *base // nil: there is none that can be read
	usual  *documents
	places map[string]*place
	open   func(ctx context.Context, from string) (Place, error)
	store  *store.Store
}

// place is a place that is open, or why it is not.
type place struct {
	docs  *documents
	named []artifact.Named // all that it has, once that was asked for
	err   error
}

func newSources(o Options) (*sources, error) {
	b, err := newBase(o)
	if err != nil {
		return nil, err
	}
	return &sources{base: b, usual: newDocuments(o.Source, o.Store), places: map[string]*place{}, open: o.Place, store: o.Store}, nil
}

// expand opens the places that images are read from, and puts all images of a
// place where the whole of it is asked for. What cannot be read is missing.
func (s *sources) expand(ctx context.Context, images []Image) (all []Image, missing []Missing, err error) {
	for _, img := range images {
		if img.From == "" {
			all = append(all, img)
			continue
		}
		list, err := s.imagesOf(ctx, img)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if err != nil {
			missing = append(missing, Missing{Ref: img.Ref, Where: []string{img.Where}, Err: ofPlace(img.From, err)})
			continue
		}
		all = append(all, list...)
	}
	return all, missing, nil
}

// imagesOf returns the images of its place that img means.
func (s *sources) imagesOf(ctx context.Context, img Image) ([]Image, error) {
	p := s.place(ctx, img.From)
	if p.err != nil || !img.Ref.IsZero() {
		return []Image{img}, p.err
	}
	if p.named == nil {
		named, err := p.docs.src.(Place).Refs(ctx)
		if err != nil {
			return nil, err
		}
		p.named = named
	}
	if len(p.named) == 0 {
		return nil, errors.New("there is no image in it that has a name")
	}
	all := make([]Image, len(p.named))
	for i, n := range p.named {
		all[i] = img
		all[i].Ref = n.Ref
	}
	return all, nil
}

// place opens a place once.
func (s *sources) place(ctx context.Context, from string) *place {
	p := s.places[from]
	if p != nil {
		return p
	}
	p = &place{}
	s.places[from] = p
	if s.open == nil {
		p.err = errors.New("images are read from registries only here")
		return p
	}
	var src Place
	if src, p.err = s.open(ctx, from); p.err == nil {
		p.docs = newDocuments(src, s.store)
	}
	return p
}

// find looks a request up: where it says so, else in the base image, else in the
// usual places.
func (s *sources) find(ctx context.Context, r *Request, o Options) (*resolved, error) {
	if len(r.From) == 0 {
		if found, err := s.base.find(ctx, r); found != nil || err != nil {
			return found, err
		}
		return resolve(ctx, s.usual, r, o)
	}
	first := r.From[0]
	found, err := resolve(ctx, s.places[first].docs, r, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", first, err)
	}
	for _, from := range r.From[1:] {
		if d, err := s.places[from].docs.Resolve(ctx, r.Ref); err == nil && d.Digest != found.top {
			o.Observe(artifact.Event{Kind: artifact.EventNote, Ref: r.Ref.Familiar(),
				Name: fmt.Sprintf("%s: %s is in %s and, with another digest, in %s: the first is taken", r.Where[0], r.Ref.Familiar(), first, from)})
		}
	}
	return found, nil
}

// base is the images/ directory of the base image as a source.
type base struct {
	artifact.Source
	have   func(v1.Hash) bool
	byName map[string]v1.Descriptor
	docs   *documents
}

func newBase(o Options) (*base, error) {
	if o.Base == nil || o.Have == nil || len(o.BaseIndex) == 0 {
		return nil, nil
	}
	idx, err := layout.ParseIndex(o.BaseIndex)
	if err != nil {
		return nil, fmt.Errorf("images/index.json of the base image: %w", err)
	}
	b := &base{Source: o.Base, have: o.Have, byName: map[string]v1.Descriptor{}}
	for _, d := range idx.Manifests {
		b.byName[layout.NameOf(d)] = d
	}
	b.docs = newDocuments(b, o.Store)
	b.docs.near = true
	return b, nil
}

// ofPlace says which place an error is about, unless it does so itself.
func ofPlace(place string, err error) error {
	if strings.HasPrefix(err.Error(), place) {
		return err
	}
	return fmt.Errorf("%s: %w", place, err)
}

// Resolve implements artifact.Source: a digest counts more than a tag.
func (b *base) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	list := layout.Forms(ref)
	if d, ok := b.byName[list[len(list)-1]]; ok {
		return layout.Bare(d), nil
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w in the base image", ref.Familiar(), artifact.ErrNotFound)
}

// find returns the image that a request means, as the base image has it; nil when
// it lacks a name or a part of it, or has it for another platform.
func (b *base) find(ctx context.Context, r *Request) (*resolved, error) {
	if b == nil {
		return nil, nil
	}
	var entries []v1.Descriptor
	for _, name := range layout.Forms(r.Ref) {
		d, ok := b.byName[name]
		if !ok {
			return nil, nil
		}
		entries = append(entries, d)
	}
	top, err := b.docs.Resolve(ctx, r.Ref)
	if err != nil || !b.have(top.Digest) {
		return nil, ctx.Err()
	}
	found, err := b.whole(ctx, r, top, entries)
	if found == nil || err != nil {
		return nil, ctx.Err() // the error tells why the base image does not do
	}
	return found, nil // what signs it is looked for among the rest of the base image
}

// whole returns the image if the base image has all of it.
func (b *base) whole(ctx context.Context, r *Request, top v1.Descriptor, entries []v1.Descriptor) (*resolved, error) {
	pinned := r.Ref.WithDigest(top.Digest)
	desc, manifest, config, err := artifact.Manifest(ctx, b.docs, pinned, &r.Platform)
	if err != nil {
		return nil, err
	}
	if r.Ref.Tag() != "" && entries[0].Digest != desc.Digest || !artifact.Fits(config, r.Platform) {
		return nil, nil
	}
	found := &resolved{entries: entries, top: top.Digest}
	for _, d := range append([]v1.Descriptor{top, desc, manifest.Config}, manifest.Layers...) {
		if !b.have(d.Digest) {
			return nil, nil
		}
		found.blobs = append(found.blobs, blob{Descriptor: layout.Bare(d), ref: pinned, src: b})
	}
	return found, nil
}
