package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxAttachedDepth bounds what is attached to what is attached: a list of contents is signed, the signature stamped.
const maxAttachedDepth = 3

// sendAttached copies what signs or describes the image d, and the images of its platforms when it is an index.
func (c *copying) sendAttached(ctx context.Context, d v1.Descriptor) error {
	src, describes := c.src.(Describer)
	dst, attaches := c.dst.(Attacher)
	if !c.o.Attached || !describes || !attaches {
		return nil
	}
	subjects, err := c.manifests(ctx, d)
	if err != nil {
		return err
	}
	a := &attaching{copying: c, src: src, dst: dst}
	for _, s := range subjects {
		if err := a.sendAll(ctx, s, 0); err != nil {
			return err
		}
	}
	return nil
}

// manifests returns d and, of an index, the manifests below it.
func (c *copying) manifests(ctx context.Context, d v1.Descriptor) ([]v1.Descriptor, error) {
	list := []v1.Descriptor{d}
	for i := 0; i < len(list); i++ {
		if !list[i].MediaType.IsIndex() {
			continue
		}
		raw, err := ReadManifest(ctx, c, c.from, list[i])
		if err != nil {
			return nil, err
		}
		below, err := Parts(list[i], raw)
		if err != nil {
			return nil, fmt.Errorf("%s: manifest %s: %w", c.from.Familiar(), list[i].Digest, err)
		}
		for _, p := range below {
			if !slices.ContainsFunc(list, func(d v1.Descriptor) bool { return d.Digest == p.Digest }) {
				list = append(list, p.Descriptor)
			}
		}
	}
	return list, nil
}

// attaching copies what is attached to the images of one Copy.
type attaching struct {
	*copying
	src Describer
	dst Attacher
}

func (a *attaching) sendAll(ctx context.Context, subject v1.Descriptor, depth int) error {
	list, err := a.src.Attached(ctx, a.from.WithDigest(subject.Digest))
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		a.tell(Event{Kind: EventNote, Name: fmt.Sprintf("what signs or describes %s could not be looked for: %v", a.from.Familiar(), err)})
		return nil
	}
	if len(list) == 0 {
		return nil
	}
	there := a.there(ctx, subject)
	for _, n := range list {
		if err := a.send(ctx, subject, n, there, depth); err != nil {
			return fmt.Errorf("attachment %s: %w", n.Ref.Familiar(), err)
		}
	}
	return nil
}

// there lists what the destination has attached to subject already. That it cannot tell is no reason to send nothing.
func (a *attaching) there(ctx context.Context, subject v1.Descriptor) []Named {
	if d, ok := a.copying.dst.(Describer); ok {
		if list, err := d.Attached(ctx, a.to.WithDigest(subject.Digest)); err == nil {
			return list
		}
	}
	return nil
}

func (a *attaching) send(ctx context.Context, subject v1.Descriptor, n Named, there []Named, depth int) error {
	named := Named{Ref: a.to.WithDigest(n.Desc.Digest), Desc: n.Desc}
	named.Ref.tag = ""
	if n.Ref.Tag() != "" {
		var err error
		if named.Ref, err = a.to.WithTag(n.Ref.Tag()); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(there, func(t Named) bool { return t.Ref == named.Ref })
	switch {
	case i >= 0 && there[i].Desc.Digest == n.Desc.Digest:
		a.tell(Event{Kind: EventExists, Digest: n.Desc.Digest, Name: "attachment", Size: n.Desc.Size, Done: n.Desc.Size})
	case i >= 0 && !a.contains(ctx, n, there[i]):
		a.tell(Event{Kind: EventNote, Name: fmt.Sprintf("%s has more than is copied under that name: it stays as it is", named.Ref.Familiar())})
		return nil
	default:
		if err := a.sendOne(ctx, subject, named); err != nil {
			return err
		}
	}
	if depth >= maxAttachedDepth || n.Ref.Tag() != "" {
		return nil
	}
	return a.sendAll(ctx, n.Desc, depth+1)
}

func (a *attaching) sendOne(ctx context.Context, subject v1.Descriptor, n Named) error {
	a.blobs, a.trunk = nil, nil
	if err := a.plan(ctx, n.Desc, 0); err != nil {
		return err
	}
	if err := a.sendBlobs(ctx); err != nil {
		return err
	}
	for _, m := range a.trunk {
		if err := a.sendManifest(ctx, m); err != nil {
			return err
		}
	}
	return a.dst.Attach(ctx, a.to.WithDigest(subject.Digest), n)
}

// contains reports whether n, which lives under a tag, has all layers of what is there under that tag: signatures of
// others are not to be lost.
func (a *attaching) contains(ctx context.Context, n, there Named) bool {
	dst, ok := a.copying.dst.(Source)
	if !ok {
		return true
	}
	theirs, err := readLayers(ctx, dst, a.to, there.Desc)
	if errors.Is(err, ErrNotFound) {
		return true
	}
	ours, oerr := readLayers(ctx, a.copying, a.from, n.Desc)
	if err != nil || oerr != nil {
		return false
	}
	for _, l := range theirs {
		if !slices.Contains(ours, l) {
			return false
		}
	}
	return true
}

// readLayers returns what the layers of a manifest are, with the signatures that cosign keeps in their annotations.
func readLayers(ctx context.Context, src Source, ref Reference, d v1.Descriptor) ([]string, error) {
	raw, err := ReadManifest(ctx, src, ref, d)
	if err != nil {
		return nil, err
	}
	m, err := parseManifest(raw)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, l := range m.Layers {
		list = append(list, fmt.Sprint(l.Digest, l.Annotations))
	}
	return list, nil
}
