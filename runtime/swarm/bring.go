package swarm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/runtime/host"
)

// attempts is how often a transfer that breaks off without any progress is
// tried.
const attempts = 3

// Bring returns when the host has every blob of the set, verified. What it
// lacks comes from hosts of the swarm that have it, or from the client, each
// blob to one host alone. A transfer that breaks off goes on at its byte.
func (s *Swarm) Bring(ctx context.Context, p Peer, set Set) error {
	b := &bringing{s: s, me: s.join(p, set.Blobs()), set: set}
	for try, before := 1, int64(-1); ; try++ {
		left, err := b.ask(ctx)
		if err != nil {
			return err
		}
		if left == 0 {
			return nil
		}
		if before >= 0 && left < before {
			try = 1
		}
		before = left
		b.gather(ctx)
		err = b.transfer(ctx)
		if err == nil {
			return nil
		}
		var end *final
		if errors.As(err, &end) || errors.Is(err, errStalled) || ctx.Err() != nil || try >= attempts {
			return err
		}
	}
}

// gatherTime is how long a host waits at most for the answers of those that are
// asked at the same time.
const gatherTime = 2 * time.Second

// gather lets those that are being asked answer: one of them may have kept a
// part of what this host would get from the client.
func (b *bringing) gather(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, gatherTime)
	defer cancel()
	_, _ = b.s.next(ctx, func() verdict { // an end of ctx is met again
		if b.s.asking == 0 || b.s.o.SSHOnly {
			return take
		}
		return wait
	})
}

// Offer makes a host that may have blobs of the set a source of those that it
// has. It sends none, and asks nothing of the host that ends with Offer.
func (s *Swarm) Offer(ctx context.Context, p Peer, set Set) error {
	b := &bringing{s: s, me: s.join(p, set.Blobs()), set: set}
	_, err := b.ask(ctx)
	return err
}

// final is an error that another attempt would meet again.
type final struct{ err error }

func (f *final) Error() string { return f.err.Error() }
func (f *final) Unwrap() error { return f.err }

// bringing is one Bring.
type bringing struct {
	s   *Swarm
	me  *peer
	set Set

	// guarded by the swarm's lock
	want     []*lacking // the largest first, so that they begin to spread
	left     int        // of them that have not arrived
	fetching int        // that peers send now
	fetcher  *session
	failure  error // ends the transfer
	told     time.Time
}

// lacking is a blob on its way to a host.
type lacking struct {
	v1.Descriptor
	offset int64 // bytes that the host has
	base   int64 // of these, before the transfer began
	where  where
	from   *peer // while peers send it
}

type where int

const (
	idle where = iota
	onWire
	arrived
)

// ask asks the host what it lacks, and returns how many bytes that is, and one
// more for each blob: an empty one has to come too.
func (b *bringing) ask(ctx context.Context) (int64, error) {
	ctx, _, stop := watch(ctx, b.s.o.Stall)
	defer stop()
	b.s.ask(1)
	defer b.s.ask(-1)
	var in bytes.Buffer
	say := answers{w: &in}
	lacks := map[v1.Hash]v1.Descriptor{}
	for _, d := range b.set.Blobs() {
		if _, twice := lacks[d.Digest]; twice {
			continue
		}
		lacks[d.Digest] = v1.Descriptor{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType}
		if err := say.say(lacks[d.Digest]); err != nil {
			return 0, err
		}
	}
	var want []*lacking
	left := int64(0)
	take := &lineWriter{take: func(line []byte) error {
		var w wantLine
		if err := json.Unmarshal(line, &w); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		d, known := lacks[w.Digest]
		if !known || w.Offset < 0 || w.Offset > d.Size {
			return fmt.Errorf("the answer names %s from byte %d on, which was not asked for", w.Digest, w.Offset)
		}
		delete(lacks, w.Digest)
		if w.Spent {
			return nil
		}
		want = append(want, &lacking{Descriptor: d, offset: w.Offset, base: w.Offset})
		left += d.Size - w.Offset + 1
		return nil
	}}
	if err := b.me.Host.Run(ctx, host.Command{Argv: b.s.o.Command("missing"), Stdin: &in, Stdout: take}); err != nil {
		if cause := context.Cause(ctx); cause != nil && errors.Is(cause, errStalled) {
			err = cause
		}
		return 0, fmt.Errorf("ask which blobs are missing: %w", err)
	}
	slices.SortStableFunc(want, func(x, y *lacking) int { return cmp.Compare(y.Size, x.Size) })
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	b.want, b.left, b.fetching, b.failure = want, len(want), 0, nil
	for h := range lacks { // what it does not lack it has
		b.me.has[h] = true
	}
	for _, w := range want {
		delete(b.me.has, w.Digest)
		if w.offset > 0 && b.s.kept[w.Digest] == nil {
			b.s.kept[w.Digest] = map[*peer]int64{}
		}
		if w.offset > 0 {
			b.s.kept[w.Digest][b.me] = w.offset
		}
	}
	b.s.change()
	return left, nil
}

// ask counts the hosts that are asked.
func (s *Swarm) ask(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asking += n
	s.change()
}

// transfer brings what the host lacks. All that it started has ended when it
// returns.
func (b *bringing) transfer(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.feed(ctx) })
	g.Go(func() error { return b.fetch(ctx) })
	err := g.Wait()
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	for _, w := range b.want {
		delete(b.s.kept[w.Digest], b.me)
		if w.from != nil { // its fetch was given up
			w.from.load--
			w.from = nil
		}
	}
	b.s.change()
	return err
}

// over reports whether nothing is left to do. The lock is held.
func (b *bringing) over() bool { return b.left == 0 || b.failure != nil }

// landed notes that a blob is there. The lock is held.
func (b *bringing) landed(w *lacking, from string) {
	w.where, w.offset = arrived, w.Size
	b.left--
	b.me.has[w.Digest] = true
	b.report(from, b.left == 0)
	b.s.change()
}

// reportEvery is the time between two events of a host.
const reportEvery = 250 * time.Millisecond

// report tells how much has come, not too often. The lock is held.
func (b *bringing) report(from string, always bool) {
	if now := time.Now(); always || now.Sub(b.told) >= reportEvery {
		b.told = now
		e := Event{From: from}
		for _, w := range b.want {
			e.Bytes += max(0, w.offset-w.base)
			e.Total += w.Size - w.base
		}
		b.me.tell(e)
	}
}

// wanted returns a blob that the host lacks. The lock is held.
func (b *bringing) wanted(h v1.Hash) *lacking {
	for _, w := range b.want {
		if w.Digest == h {
			return w
		}
	}
	return nil
}
