package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// feed sends from the client what the host cannot get from others.
func (b *bringing) feed(ctx context.Context) error {
	var c *feeding
	for {
		var w *lacking
		v, err := b.s.next(ctx, func() (v verdict) { w, v = b.claim(); return v })
		if v != take {
			return errors.Join(err, b.failed(), c.close(ctx))
		}
		if c == nil {
			c = b.openFeed(ctx)
			defer c.stop()
		}
		err = c.send(w)
		b.s.mu.Lock()
		b.release(w)
		if err == nil {
			b.landed(w, FromClient)
		}
		b.s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("send blob %s: %w", w.Digest, err)
		}
	}
}

func (b *bringing) failed() error {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	return b.failure
}

// claim returns a blob that this host is to get from the client. The lock is
// held.
func (b *bringing) claim() (*lacking, verdict) {
	if b.over() {
		return nil, finish
	}
	if b.s.streams >= b.s.maxStreams() {
		return nil, wait
	}
	for _, w := range b.want {
		if w.where != idle || b.s.routes(b.me, w.Digest).later || b.further(w) {
			continue
		}
		if why := b.s.blockedFor(b.me, w.Digest); why != "" && !b.s.o.SSHOnly {
			b.s.warn(b.me, "it gets blobs from this machine instead of from other hosts: %s (allow TCP port %s between the hosts in their firewalls, choose another one with blobs.port in the Clusterfile, or switch this off with blobs.sshOnly)", why, b.s.port())
		}
		w.where = onWire
		if b.s.seeding[w.Digest] == nil {
			b.s.seeding[w.Digest] = map[*peer]bool{}
		}
		b.s.seeding[w.Digest][b.me] = true
		b.s.streams++
		return w, take
	}
	return nil, wait
}

// further reports whether another host, which this one can get the blob from
// then, needs less of it from the client. The lock is held.
func (b *bringing) further(w *lacking) bool {
	for q, n := range b.s.kept[w.Digest] {
		if n > w.offset && b.s.usable(b.me, q) {
			return true
		}
	}
	return false
}

// release ends a claim. The lock is held.
func (b *bringing) release(w *lacking) {
	w.where = idle
	b.s.streams--
	delete(b.s.seeding[w.Digest], b.me)
	b.s.change()
}

// feeding is a Receive on a host, seen from the client.
type feeding struct {
	b     *bringing
	ctx   context.Context //nolint:containedctx // of the command
	stop  context.CancelFunc
	dog   *watchdog
	c     *session
	acked chan frameAnswer
}

func (b *bringing) openFeed(ctx context.Context) *feeding {
	f := &feeding{b: b, acked: make(chan frameAnswer, 1)}
	f.ctx, f.dog, f.stop = watch(ctx, b.s.o.Stall)
	f.c = b.s.open(f.ctx, b.me.Host, b.s.o.Command("receive"), func(line []byte) error {
		f.dog.feed()
		var a frameAnswer
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		if a.Digest == nil {
			return nil
		}
		select {
		case f.acked <- a:
			return nil
		default:
			return fmt.Errorf("the answer names %s, of which nothing was sent", *a.Digest)
		}
	})
	return f
}

// send sends the rest of a blob and waits until the host has verified it.
func (f *feeding) send(w *lacking) error {
	f.dog.feed()
	from, err := f.b.set.Open(f.ctx, w.Descriptor, w.offset)
	if err != nil {
		return &final{fmt.Errorf("read it on this machine: %w", err)}
	}
	defer from.Close()
	head, err := json.Marshal(frame{Digest: w.Digest, Size: w.Size, Offset: w.offset})
	if err != nil {
		return err
	}
	if _, err := f.c.in.Write(append(head, '\n')); err != nil {
		return f.ended(w, w.offset, err)
	}
	source := &rest{r: from, left: w.Size - w.offset}
	offset := w.offset
	if _, err := io.CopyBuffer(&uplink{f: f, w: w}, struct{ io.Reader }{source}, make([]byte, 128<<10)); err != nil {
		if source.err != nil {
			return &final{fmt.Errorf("read it on this machine: %w", source.err)}
		}
		return f.ended(w, offset, err)
	}
	select {
	case a := <-f.acked:
		return verdictOf(a, w, offset)
	case <-f.c.over:
		return f.ended(w, offset, errEnded)
	}
}

// verdictOf reads what the host said of a blob.
func verdictOf(a frameAnswer, w *lacking, offset int64) error {
	switch {
	case *a.Digest != w.Digest:
		return fmt.Errorf("the answer names %s", *a.Digest)
	case a.Error == "":
		return nil
	case a.Lies && offset > 0: // what was there before may be what is wrong
		return errors.New(a.Error)
	case a.Lies:
		return &final{fmt.Errorf("%s: the image on this machine may be damaged: try sealrt verify-store", a.Error)}
	}
	return &final{fmt.Errorf("the host cannot keep it: %s", a.Error)}
}

// ended returns why the command ended before a blob was there: what it said of
// the blob, or its status, which say more than a write that fails.
func (f *feeding) ended(w *lacking, offset int64, err error) error {
	f.c.in.CloseWithError(err)
	<-f.c.over // the watchdog sees to it
	select {
	case a := <-f.acked:
		return verdictOf(a, w, offset)
	default:
	}
	if cause := context.Cause(f.ctx); errors.Is(cause, errStalled) {
		return cause
	}
	if f.c.err != nil {
		return f.c.err
	}
	return err
}

// close ends the command after the last blob.
func (f *feeding) close(ctx context.Context) error {
	if f == nil {
		return nil
	}
	f.c.end()
	if err := f.c.wait(ctx); err != nil {
		return fmt.Errorf("send blobs: %w", err)
	}
	return nil
}

// uplink counts what leaves the client for a blob.
type uplink struct {
	f *feeding
	w *lacking
}

func (u *uplink) Write(p []byte) (int, error) {
	n, err := u.f.c.in.Write(p)
	u.f.dog.feed()
	s := u.f.b.s
	s.sent.Add(int64(n))
	s.mu.Lock()
	defer s.mu.Unlock()
	u.w.offset += int64(n)
	u.f.b.report(FromClient, false)
	return n, err
}
