package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/disk"
)

// CopyOptions says how Copy works; the zero value is usable.
type CopyOptions struct {
	Jobs     int                // blobs at a time; 0 means 4
	Platform *v1.Platform       // copy only this platform's manifest of an index; nil copies all
	Have     func(v1.Hash) bool // blobs that the other side is known to have; manifests are sent anyway
	Observe  func(Event)        // called one event at a time, from any goroutine; may be nil
	// MountFrom returns a repository of the destination's registry that has a blob, from which it can be taken instead
	// of being sent; nil knows of none.
	MountFrom func(v1.Hash) (Reference, bool)
	// Attached copies what signs or describes the image, too, between a Describer and an Attacher. What the destination
	// has under a tag of cosign and the source has not stays.
	Attached bool
}

// Copy makes to in dst name the image that from names in src, and returns the descriptor that it has there: of the
// index, or with Platform of that platform's manifest. Blobs go before the manifests that point at them, manifests
// before indexes, the name last, so that dst never shows an image that is not whole. What dst has is not sent; every
// byte that is sent is verified. Layers that an image only refers to by URL are not copied, an Event names them.
func Copy(ctx context.Context, dst Sink, to Reference, src Source, from Reference, o CopyOptions) (d v1.Descriptor, err error) {
	o.Observe = OneByOne(o.Observe)
	c := &copying{dst: dst, to: to, src: src, from: from, o: o, seen: map[v1.Hash]bool{}}
	for _, place := range []any{src, dst} {
		if h, ok := place.(holder); ok {
			release, herr := h.Hold(ctx)
			if herr != nil {
				return v1.Descriptor{}, herr
			}
			defer func() { err = errors.Join(err, release()) }()
		}
	}
	root, err := src.Resolve(ctx, from)
	if err != nil {
		return v1.Descriptor{}, err
	}
	whole := root.Digest
	if root.MediaType.IsIndex() && o.Platform != nil {
		if root, _, err = pick(ctx, c, from, root, o.Platform); err != nil {
			return v1.Descriptor{}, err
		}
	}
	root = Bare(root)
	if h, ok := to.Digest(); ok && h != root.Digest && h != whole {
		return v1.Descriptor{}, fmt.Errorf("%s: the image has another digest, %s: give its destination a tag instead", to.Familiar(), root.Digest)
	}
	if n, ok := dst.(namer); ok {
		done, err := c.there(ctx, n, root)
		if err != nil {
			return root, err
		}
		if done {
			return root, c.sendAttached(ctx, root)
		}
	}
	if err := c.run(ctx, root); err != nil {
		return v1.Descriptor{}, err
	}
	c.tell(Event{Kind: EventTagged, Digest: root.Digest})
	return root, nil
}

// there reports whether the image is at its destination under its name, and gives it the name when only that lacks. A
// registry that has an image manifest has what that points at.
func (c *copying) there(ctx context.Context, n namer, root v1.Descriptor) (bool, error) {
	h, err := n.Named(ctx, c.to)
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrUnauthorized) {
		return false, err
	}
	if err == nil && h == root.Digest {
		c.tell(Event{Kind: EventExists, Digest: root.Digest, Name: "manifest", Size: root.Size, Done: root.Size})
		c.tell(Event{Kind: EventTagged, Digest: root.Digest})
		return true, nil
	}
	if !root.MediaType.IsImage() {
		return false, nil
	}
	has, err := c.dst.Has(ctx, c.to, root)
	if !has || err != nil {
		return false, err
	}
	c.tell(Event{Kind: EventExists, Digest: root.Digest, Name: "manifest", Size: root.Size, Done: root.Size})
	if err := c.dst.Tag(ctx, c.to, root); err != nil {
		return false, err
	}
	c.tell(Event{Kind: EventTagged, Digest: root.Digest})
	return true, nil
}

// copying is one Copy under way.
type copying struct {
	dst   Sink
	to    Reference
	src   Source
	from  Reference
	o     CopyOptions
	seen  map[v1.Hash]bool
	blobs []Part
	trunk []manifestBytes // children before parents
	held  int             // bytes of trunk
	notes sync.Map        // sentences that were told
}

type manifestBytes struct {
	v1.Descriptor
	raw []byte
}

func (c *copying) run(ctx context.Context, root v1.Descriptor) error {
	if err := c.plan(ctx, root, 0); err != nil {
		return err
	}
	if err := c.checkRoom(ctx); err != nil {
		return err
	}
	if err := c.sendBlobs(ctx); err != nil {
		return err
	}
	for _, m := range c.trunk {
		if err := c.sendManifest(ctx, m); err != nil {
			return err
		}
	}
	if err := c.sendAttached(ctx, root); err != nil {
		return err
	}
	return c.dst.Tag(ctx, c.to, root)
}

// maxManifests bounds the bytes of all manifests of an image, which are held until they are sent. An index of a hundred
// platforms has a thousandth of that.
const maxManifests = 64 << 20

// plan reads the manifests from d down and lists what there is to send, each thing once.
func (c *copying) plan(ctx context.Context, d v1.Descriptor, depth int) error {
	if c.seen[d.Digest] {
		return nil
	}
	c.seen[d.Digest] = true
	if depth > MaxIndexDepth {
		return fmt.Errorf("%s: indexes are nested more than %d deep", c.from.Familiar(), MaxIndexDepth)
	}
	raw, err := ReadManifest(ctx, c, c.from, d)
	if err != nil {
		return err
	}
	if c.held += len(raw); c.held > maxManifests {
		return fmt.Errorf("%s: its manifests have more than %s together", c.from.Familiar(), disk.Bytes(maxManifests))
	}
	list, err := Parts(d, raw)
	if err != nil {
		return fmt.Errorf("%s: manifest %s: %w", c.from.Familiar(), d.Digest, err)
	}
	for _, p := range list {
		switch {
		case IsManifest(p.MediaType):
			if err := c.plan(ctx, p.Descriptor, depth+1); err != nil {
				return err
			}
		case c.seen[p.Digest]:
		case IsForeign(p.Descriptor):
			c.seen[p.Digest] = true
			c.tell(Event{Kind: EventSkipped, Digest: p.Digest, Size: p.Size, Name: "layer is to be fetched from " + p.URLs[0]})
		default:
			c.seen[p.Digest] = true
			c.blobs = append(c.blobs, p)
		}
	}
	c.trunk = append(c.trunk, manifestBytes{d, raw})
	return nil
}

// checkRoom asks, before the first byte moves, whether all that the destination lacks fits there.
func (c *copying) checkRoom(ctx context.Context) error {
	r, ok := c.dst.(roomer)
	if !ok {
		return nil
	}
	var need int64
	for _, p := range c.blobs {
		has, err := c.dst.Has(ctx, c.to, p.Descriptor)
		if err != nil {
			return err
		}
		if !has {
			need += disk.OnDisk(p.Size)
		}
	}
	if err := r.CheckRoom(need); err != nil {
		return fmt.Errorf("%s: %w", c.from.Familiar(), err)
	}
	return nil
}

// Resolve and Open make copying the Source that manifests are read from: a destination that is a store and has them
// is nearer than their origin.
func (c *copying) Resolve(ctx context.Context, ref Reference) (v1.Descriptor, error) {
	return c.src.Resolve(ctx, ref)
}

// Open implements Source.
func (c *copying) Open(ctx context.Context, ref Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if s, ok := c.dst.(keeper); ok {
		if has, err := s.Has(ctx, ref, d); err == nil && has {
			return s.Open(ctx, ref, d, offset)
		}
	}
	return c.src.Open(ctx, ref, d, offset)
}

func (c *copying) sendManifest(ctx context.Context, m manifestBytes) error {
	has, err := c.dst.Has(ctx, c.to, m.Descriptor)
	if err != nil {
		return err
	}
	e := Event{Kind: EventExists, Digest: m.Digest, Name: "manifest", Size: m.Size, Done: m.Size}
	if !has {
		open := func(offset int64) (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(m.raw[min(offset, m.Size):])), nil
		}
		if err := c.dst.Put(ctx, c.to, m.Descriptor, open); err != nil {
			return err
		}
		e.Kind = EventDone
	}
	c.tell(e)
	return nil
}

// note tells a sentence, once.
func (c *copying) note(text string) {
	if _, told := c.notes.LoadOrStore(text, true); !told {
		c.tell(Event{Kind: EventNote, Name: text})
	}
}

func (c *copying) tell(e Event) {
	if e.Ref = c.from.Familiar(); e.Kind == EventTagged {
		e.Ref = c.to.Familiar()
	}
	c.o.Observe(e)
}
