package artifact

import (
	"context"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
)

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

func (c *copying) sendBlob(ctx context.Context, p Part) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	e := Event{Digest: p.Digest, Name: p.Name, Size: p.Size, Done: p.Size}
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
	c.tell(Event{Kind: EventStarted, Digest: p.Digest, Name: p.Name, Size: p.Size})
	if err := c.put(ctx, p); err != nil {
		return err
	}
	e.Kind = EventDone
	c.tell(e)
	return nil
}

func (c *copying) put(ctx context.Context, p Part) error {
	if r, ok := c.dst.(resumer); ok {
		return r.PutNoting(ctx, c.to, p.Descriptor, c.opener(ctx, p), c.note)
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
			return m.Mount(ctx, c.to, d, there, from)
		}
	}
	return m.Mount(ctx, c.to, d, c.src, c.from)
}

// opener returns what a sink reads a blob through: it reports progress and verifies what the sink does not.
func (c *copying) opener(ctx context.Context, p Part) OpenFunc {
	open := func(offset int64) (io.ReadCloser, error) { return c.src.Open(ctx, c.from, p.Descriptor, offset) }
	if !c.vouched() {
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

// vouched reports whether nobody has to verify bytes on their way: a store does when it gets them, and what it has goes
// as it is to whom verifies too.
func (c *copying) vouched() bool {
	if _, ok := c.dst.(keeper); ok {
		return true
	}
	_, checks := c.dst.(checker)
	_, kept := c.src.(keeper)
	return checks && kept
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
	p    Part
	done int64
}

func (m *meter) reached(pos int64) {
	if pos < m.done+progressStep && (pos < m.p.Size || pos <= m.done) {
		return
	}
	m.done = pos
	m.c.tell(Event{Kind: EventProgress, Digest: m.p.Digest, Name: m.p.Name, Size: m.p.Size, Done: pos})
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

// File returns the file that r reads with nothing in between, nil if it does not. Whoever sends it otherwise than by Read
// calls Passed.
func (r *metered) File() *os.File {
	f, _ := r.ReadCloser.(*os.File)
	return f
}

// Passed reports progress of n bytes that were not read through r.
func (r *metered) Passed(n int64) {
	r.pos += n
	r.m.reached(r.pos)
}

// Verify reads the file and returns an error when it is not the blob.
func (r *metered) Verify() error {
	_, err := io.Copy(io.Discard, newVerifier(r.ReadCloser, r.m.c.from, r.m.p.Descriptor))
	return err
}
