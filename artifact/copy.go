package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
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
}

// Optional abilities of the sinks of this package.
type (
	// holder protects what is added until it is tagged.
	holder interface {
		Hold(ctx context.Context) (func() error, error)
	}
	// namer tells what a name means where it is written to: when that is the image already, nothing is sent.
	namer interface {
		named(ctx context.Context, ref Reference) (v1.Hash, error)
	}
	// roomer knows how many bytes it can still take, and says what to do when there are too few.
	roomer interface{ checkRoom(need int64) error }
	// serial sinks take one blob after the other, in an order that must not change.
	serial interface{ serial() }
	// resumer goes on with what is left of an earlier attempt, and tells when that was of no use.
	resumer interface {
		putNoting(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc, note func(string)) error
	}
	// mounter takes a blob from another repository of the same registry.
	mounter interface {
		mount(ctx context.Context, to Reference, d v1.Descriptor, src Source, from Reference) bool
	}
)

// Copy makes to in dst name the image that from names in src, and returns the descriptor that it has there: of the
// index, or with Platform of that platform's manifest. Blobs go before the manifests that point at them, manifests
// before indexes, the name last, so that dst never shows an image that is not whole. What dst has is not sent; every
// byte that is sent is verified. Layers that an image only refers to by URL are not copied, an Event names them.
func Copy(ctx context.Context, dst Sink, to Reference, src Source, from Reference, o CopyOptions) (d v1.Descriptor, err error) {
	c := &copying{dst: dst, to: to, src: src, from: from, o: o, seen: map[v1.Hash]bool{}}
	root, err := src.Resolve(ctx, from)
	if err != nil {
		return v1.Descriptor{}, err
	}
	whole := root.Digest
	if h, ok := dst.(holder); ok {
		release, err := h.Hold(ctx)
		if err != nil {
			return v1.Descriptor{}, err
		}
		defer func() { err = errors.Join(err, release()) }()
	}
	if root.MediaType.IsIndex() && o.Platform != nil {
		if root, _, err = pick(ctx, c, from, root, o.Platform); err != nil {
			return v1.Descriptor{}, err
		}
	}
	root = bare(root)
	if h, ok := to.Digest(); ok && h != root.Digest && h != whole {
		return v1.Descriptor{}, fmt.Errorf("%s: the image has another digest, %s: give its destination a tag instead", to.Familiar(), root.Digest)
	}
	if n, ok := dst.(namer); ok {
		done, err := c.there(ctx, n, root)
		if done || err != nil {
			return root, err
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
	h, err := n.named(ctx, c.to)
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
	dst      Sink
	to       Reference
	src      Source
	from     Reference
	o        CopyOptions
	seen     map[v1.Hash]bool
	blobs    []part
	trunk    []manifestBytes // children before parents
	observed sync.Mutex
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
	return c.dst.Tag(ctx, c.to, root)
}

// plan reads the manifests from d down and lists what there is to send, each thing once.
func (c *copying) plan(ctx context.Context, d v1.Descriptor, depth int) error {
	if c.seen[d.Digest] {
		return nil
	}
	c.seen[d.Digest] = true
	if depth > maxIndexDepth {
		return fmt.Errorf("%s: indexes are nested more than %d deep", c.from.Familiar(), maxIndexDepth)
	}
	raw, err := ReadManifest(ctx, c, c.from, d)
	if err != nil {
		return err
	}
	list, err := parts(d, raw)
	if err != nil {
		return fmt.Errorf("%s: manifest %s: %w", c.from.Familiar(), d.Digest, err)
	}
	for _, p := range list {
		switch {
		case isManifest(p.MediaType):
			if err := c.plan(ctx, p.Descriptor, depth+1); err != nil {
				return err
			}
		case c.seen[p.Digest]:
		case isForeign(p.Descriptor):
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
			need += onDisk(p.Size)
		}
	}
	if err := r.checkRoom(need); err != nil {
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
	if s, ok := c.dst.(*Store); ok {
		if has, err := s.Has(ctx, ref, d); err == nil && has {
			return s.Open(ctx, ref, d, offset)
		}
	}
	return c.src.Open(ctx, ref, d, offset)
}

func (c *copying) sendBlobs(ctx context.Context) error {
	jobs := c.o.Jobs
	if jobs <= 0 {
		jobs = 4
	}
	if _, ok := c.dst.(serial); ok {
		jobs = 1
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(jobs)
	for _, p := range c.blobs {
		if ctx.Err() != nil {
			break
		}
		g.Go(func() error { return c.sendBlob(ctx, p) })
	}
	return g.Wait()
}

func (c *copying) sendBlob(ctx context.Context, p part) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	e := Event{Digest: p.Digest, Name: p.name, Size: p.Size, Done: p.Size}
	has := c.o.Have != nil && c.o.Have(p.Digest)
	if !has {
		var err error
		if has, err = c.dst.Has(ctx, c.to, p.Descriptor); err != nil {
			return err
		}
	}
	if has {
		e.Kind = EventExists
		c.tell(e)
		return nil
	}
	if c.mount(ctx, p.Descriptor) {
		e.Kind = EventMounted
		c.tell(e)
		return nil
	}
	c.tell(Event{Kind: EventStarted, Digest: p.Digest, Name: p.name, Size: p.Size})
	if err := c.put(ctx, p); err != nil {
		return err
	}
	e.Kind = EventDone
	c.tell(e)
	return nil
}

func (c *copying) put(ctx context.Context, p part) error {
	if r, ok := c.dst.(resumer); ok {
		return r.putNoting(ctx, c.to, p.Descriptor, c.opener(ctx, p), func(text string) {
			c.tell(Event{Kind: EventNote, Name: text})
		})
	}
	return c.dst.Put(ctx, c.to, p.Descriptor, c.opener(ctx, p))
}

// mount has the destination take a blob from another of its repositories, and reports whether it did.
func (c *copying) mount(ctx context.Context, d v1.Descriptor) bool {
	m, ok := c.dst.(mounter)
	if !ok {
		return false
	}
	if there, ok := c.dst.(Source); ok && c.o.MountFrom != nil {
		if from, known := c.o.MountFrom(d.Digest); known {
			return m.mount(ctx, c.to, d, there, from)
		}
	}
	return m.mount(ctx, c.to, d, c.src, c.from)
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

// opener returns what a sink reads a blob through: it reports progress and verifies what the sink does not.
func (c *copying) opener(ctx context.Context, p part) OpenFunc {
	open := func(offset int64) (io.ReadCloser, error) { return c.src.Open(ctx, c.from, p.Descriptor, offset) }
	if _, ok := c.dst.(*Store); !ok {
		open = (&verified{open: open, ref: c.from, d: p.Descriptor}).at
	}
	m := &meter{c: c, p: p}
	return func(offset int64) (io.ReadCloser, error) {
		r, err := open(offset)
		if err != nil {
			return nil, err
		}
		return &metered{ReadCloser: r, m: m, pos: offset}, nil
	}
}

func (c *copying) tell(e Event) {
	if c.o.Observe == nil {
		return
	}
	c.observed.Lock()
	defer c.observed.Unlock()
	if e.Ref = c.from.Familiar(); e.Kind == EventTagged {
		e.Ref = c.to.Familiar()
	}
	c.o.Observe(e)
}

// verified opens a blob so that it is verified as a whole, even when it is read in pieces that follow each other.
type verified struct {
	open OpenFunc
	ref  Reference
	d    v1.Descriptor
	v    *verifier
}

// at opens the blob from offset on. Where the last reader did not stop there, the blob is read from its start again.
func (w *verified) at(offset int64) (io.ReadCloser, error) {
	if w.v != nil && w.v.n == offset {
		r, err := w.open(offset)
		if err != nil {
			return nil, err
		}
		w.v.r = r
		return readCloser{w.v, r}, nil
	}
	r, err := w.open(0)
	if err != nil {
		return nil, err
	}
	w.v = newVerifier(r, w.ref, w.d)
	if _, err := io.CopyN(io.Discard, w.v, offset); err != nil {
		r.Close()
		return nil, err
	}
	return readCloser{w.v, r}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// progressStep is how many bytes pass between two progress events of a blob.
const progressStep = 1 << 20

// meter reports how far a blob has come; it never goes back, however often the blob is opened.
type meter struct {
	c    *copying
	p    part
	done int64
}

func (m *meter) reached(pos int64) {
	if pos < m.done+progressStep && (pos < m.p.Size || pos <= m.done) {
		return
	}
	m.done = pos
	m.c.tell(Event{Kind: EventProgress, Digest: m.p.Digest, Name: m.p.name, Size: m.p.Size, Done: pos})
}

type metered struct {
	io.ReadCloser
	m   *meter
	pos int64
}

func (r *metered) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.pos += int64(n)
	r.m.reached(r.pos)
	return n, err
}
