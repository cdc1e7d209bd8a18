// Package export brings the container images of a cluster image to registries
// and programs that know no cluster images.
package export

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Variant is what a cluster image has for one platform.
type Variant struct {
	Platform v1.Platform
	Images   layout.Images
}

// PushOptions says what Push pushes and where. Prefix is required.
type PushOptions struct {
	Prefix string               // a registry, and the path before every repository there: see Mapped
	Names  []artifact.Reference // the images to push; none: all
	// AllPlatforms pushes every image for all variants, as one index.
	AllPlatforms bool
	Copy         artifact.CopyOptions
	Note         func(text string)                                  // told what differs from upstream; may be nil
	Pushed       func(to artifact.Reference, d v1.Descriptor) error // called for every reference that is there now; may be nil
}

// Mapped returns the name that an image gets below a prefix: its repository
// keeps its path and loses its registry. docker.io/library/nginx:1.25 below
// harbor.example.com/k8s is harbor.example.com/k8s/library/nginx:1.25, which is
// where mirrors of registries are asked for it.
func Mapped(prefix string, ref artifact.Reference) (artifact.Reference, error) {
	h, pinned := ref.Digest()
	name := strings.TrimSuffix(prefix, "/") + "/" + ref.Path()
	if ref.Tag() != "" {
		name += ":" + ref.Tag()
	}
	if pinned {
		name += "@" + h.String()
	}
	return artifact.ParseReference(name)
}

// IncompleteError lists the references that a registry refused because not all
// they consist of is in the cluster image.
type IncompleteError struct {
	Refused []error
}

func (e *IncompleteError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the references are not there, whoever names them does not find them:", len(e.Refused))
	for _, err := range e.Refused {
		fmt.Fprintf(&b, "\n  %v", err)
	}
	b.WriteString("\nbuild the cluster image for all these platforms and copy with --all-platforms, or name another digest in the tree")
	return b.String()
}

// Unwrap returns the causes.
func (e *IncompleteError) Unwrap() []error { return e.Refused }

// Push pushes container images of a cluster image to a registry, tags and
// digests as they are named inside, and the signatures of what is pushed. What
// the registry has is not sent again, and what several images share is sent
// once where the registry takes blobs from its other repositories.
//
// Without AllPlatforms a tag names the image of the one variant. An index that a
// reference names by digest is pushed when all of it is here. Otherwise its
// images that are here are, and the index as it is, which many registries
// refuse; everything else is pushed all the same, and the error is an
// *IncompleteError. Two images that would get one name are an error that names
// both, before anything is pushed.
func Push(ctx context.Context, dst artifact.Sink, variants []Variant, o PushOptions) error {
	if o.Note == nil {
		o.Note = func(string) {}
	}
	if o.Pushed == nil {
		o.Pushed = func(artifact.Reference, v1.Descriptor) error { return nil }
	}
	p := &pushing{o: o, dst: dst, variants: variants, there: map[v1.Hash]artifact.Reference{}}
	for _, v := range variants {
		p.src = append(p.src, v.Images)
	}
	p.o.Copy.MountFrom = func(h v1.Hash) (artifact.Reference, bool) { ref, ok := p.there[h]; return ref, ok }
	if err := p.plan(); err != nil {
		return err
	}
	for _, w := range p.wanted {
		if err := p.push(ctx, w); err != nil {
			return fmt.Errorf("push %s: %w", w.from.Familiar(), err)
		}
	}
	if err := p.signatures(ctx); err != nil {
		return err
	}
	if len(p.refused) > 0 {
		return &IncompleteError{Refused: p.refused}
	}
	return nil
}

// wanted is a name, what it means on each platform, and where it goes.
type wanted struct {
	from, to artifact.Reference
	on       []onPlatform
}

type onPlatform struct {
	platform v1.Platform
	desc     v1.Descriptor
}

// pushing is one Push under way.
type pushing struct {
	o        PushOptions
	dst      artifact.Sink
	variants []Variant
	src      union
	wanted   []*wanted                      // sorted by destination
	there    map[v1.Hash]artifact.Reference // blobs that were pushed, and where to
	refused  []error
}

// plan lists what there is to push, each name once.
func (p *pushing) plan() error {
	byName := map[artifact.Reference]*wanted{}
	found := make([]bool, len(p.o.Names))
	for _, v := range p.variants {
		for _, e := range v.Images.Entries() {
			if e.Name == "" {
				continue
			}
			ref, err := artifact.ParseReference(e.Name)
			if err != nil {
				return fmt.Errorf("images/index.json: %w", err)
			}
			chosen := len(p.o.Names) == 0
			for i, named := range p.o.Names {
				if means(named, e) {
					found[i], chosen = true, true
				}
			}
			if !chosen {
				continue
			}
			w := byName[ref]
			if w == nil {
				to, err := Mapped(p.o.Prefix, ref)
				if err != nil {
					return err
				}
				w = &wanted{from: ref, to: to}
				byName[ref] = w
			}
			w.on = append(w.on, onPlatform{v.Platform, e.Desc})
		}
	}
	if err := absent(p.o.Names, found); err != nil {
		return err
	}
	p.wanted = slices.SortedFunc(maps.Values(byName), func(a, b *wanted) int {
		return strings.Compare(a.to.String()+" "+a.from.String(), b.to.String()+" "+b.from.String())
	})
	for i, w := range p.wanted[:max(len(p.wanted)-1, 0)] {
		if next := p.wanted[i+1]; next.to == w.to && !sameImages(w, next) {
			return fmt.Errorf("%s and %s would both be %s: name one of them, and copy the other to another prefix", w.from, next.from, w.to)
		}
	}
	return nil
}

func sameImages(a, b *wanted) bool {
	return slices.EqualFunc(a.on, b.on, func(x, y onPlatform) bool { return x.desc.Digest == y.desc.Digest })
}

// push pushes what one name means.
func (p *pushing) push(ctx context.Context, w *wanted) error {
	d := w.on[0].desc
	_, pinned := w.from.Digest()
	switch {
	case pinned && d.MediaType.IsIndex():
		return p.index(ctx, w, d)
	case pinned:
		return p.copy(ctx, w, d, nil)
	case p.o.AllPlatforms:
		return p.all(ctx, w)
	}
	if upstream, _, err := p.upstream(ctx, w); err != nil {
		return err
	} else if upstream.Digest.Hex != "" && d.MediaType.IsImage() {
		p.o.Note(fmt.Sprintf("%s is the manifest %s of %s, upstream's is the index %s of several platforms", w.to.Familiar(), d.Digest, w.on[0].platform, upstream.Digest))
	}
	return p.copy(ctx, w, d, &w.on[0].platform)
}

// copy pushes the image that d is, of an index that of a platform.
func (p *pushing) copy(ctx context.Context, w *wanted, d v1.Descriptor, platform *v1.Platform) error {
	got, err := p.send(ctx, p.src, w, w.to, d, platform)
	if err != nil {
		return err
	}
	return p.o.Pushed(w.to, got)
}

// send pushes d and remembers where its blobs are.
func (p *pushing) send(ctx context.Context, src artifact.Source, w *wanted, to artifact.Reference, d v1.Descriptor, platform *v1.Platform) (v1.Descriptor, error) {
	o := p.o.Copy
	o.Platform = platform
	got, err := artifact.Copy(ctx, p.dst, to, src, w.from.WithDigest(d.Digest), o)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return got, p.remember(ctx, src, w.to, got)
}

// remember notes where the blobs of an image or index are now.
func (p *pushing) remember(ctx context.Context, src artifact.Source, to artifact.Reference, d v1.Descriptor) error {
	children, err := layout.Children(ctx, src, d)
	if err != nil {
		return err
	}
	for _, child := range children {
		if child.MediaType.IsImage() || child.MediaType.IsIndex() {
			if err := p.remember(ctx, src, to, child); err != nil {
				return err
			}
		} else if _, known := p.there[child.Digest]; !known {
			p.there[child.Digest] = to
		}
	}
	return nil
}

// untagged returns the name by digest alone of something in the repository of ref.
func untagged(ref artifact.Reference, h v1.Hash) artifact.Reference {
	if pinned, err := artifact.ParseReference(ref.Name() + "@" + h.String()); err == nil {
		return pinned
	}
	return ref.WithDigest(h) // which no name of ref's kind comes to
}
