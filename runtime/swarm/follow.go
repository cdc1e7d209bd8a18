package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// fetch lets the host get blobs from those that have them.
func (b *bringing) fetch(ctx context.Context) error {
	if b.s.o.SSHOnly {
		return nil
	}
	// the command is started while the blobs are on their way to others
	v, err := b.s.next(ctx, b.foresee)
	if v != take {
		return err
	}
	ca, err := b.s.ca()
	if err != nil {
		return err
	}
	ctx, dog, stop := watch(ctx, b.s.o.Stall)
	defer stop()
	c := b.s.open(ctx, b.me.Host, b.s.o.Command("fetch"), func(line []byte) error {
		dog.feed()
		return b.fetched(line)
	})
	if err := b.identify(c, ca); err != nil {
		return err
	}
	go b.attend(c, ca)
	b.s.mu.Lock()
	b.fetcher = c
	b.s.mu.Unlock()
	go func() { // nothing more comes of a command that has ended
		<-c.over
		b.s.mu.Lock()
		defer b.s.mu.Unlock()
		if b.fetcher == c {
			b.fetcher = nil
			b.s.change()
		}
	}()
	for {
		v, err := b.s.next(ctx, b.assign)
		if v == take {
			continue
		}
		c.end()
		return errors.Join(err, b.failed(), b.fetchEnd(ctx, c))
	}
}

// maxBreaks is how often a host's fetching may break off until it is left alone
// with the client.
const maxBreaks = 2

// fetchEnd returns how the command ended.
func (b *bringing) fetchEnd(ctx context.Context, c *session) error {
	err := c.wait(ctx)
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	if b.over() && ctx.Err() == nil {
		return nil // all are there: how it ended does not matter any more
	}
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) {
		err = cause
	}
	if err == nil {
		err = errEnded
	}
	if b.me.breaks++; b.me.breaks >= maxBreaks {
		b.me.alone = true
		b.s.warn(b.me, "it gets blobs from this machine instead of from other hosts: %v", err)
	}
	return fmt.Errorf("fetch blobs from other hosts: %w", err)
}

// attend lets the command know that the client lives, and gives it younger
// certificates, until it ends.
func (b *bringing) attend(c *session, ca *authority) {
	alive, renew := time.NewTicker(heartbeat), time.NewTicker(renewEvery)
	defer alive.Stop()
	defer renew.Stop()
	for {
		select {
		case <-c.over:
			return
		case <-alive.C:
			c.say(fetchLine{})
		case <-renew.C:
			if err := b.identify(c, ca); err != nil {
				return // the command ends for want of a line, and says so
			}
		}
	}
}

func (b *bringing) identify(c *session, ca *authority) error {
	id, err := ca.issue(b.me.Name, b.me.IP, time.Now())
	if err != nil {
		return err
	}
	c.say(fetchLine{CA: ca.pem, Identity: id})
	return nil
}

// foresee looks whether another host will have something for this one. The
// lock is held.
func (b *bringing) foresee() verdict {
	if b.over() {
		return finish
	}
	for _, w := range b.want {
		if w.where == idle && b.s.routes(b.me, w.Digest).later {
			return take
		}
	}
	return wait
}

// maxSources is how many hosts are named for a blob: when the first dies, the
// next is asked without the client. A host that never reached another one may
// reach none, and each attempt takes its time.
const maxSources = 4

// assign orders a blob that another host has, from the least loaded one. The
// lock is held.
func (b *bringing) assign() verdict {
	if b.over() || b.fetcher == nil {
		return finish
	}
	if b.fetching >= b.s.o.PerHost {
		return wait
	}
	var best *lacking
	var from []*peer
	for _, w := range b.want {
		if w.where != idle {
			continue
		}
		if now := b.s.routes(b.me, w.Digest).now; len(now) > 0 && (best == nil || now[0].load < from[0].load) {
			best, from = w, now
		}
	}
	if best == nil {
		return wait
	}
	o := order{Digest: best.Digest, Size: best.Size}
	most := maxSources
	if !b.me.fetched {
		most = max(1, enough-len(b.me.cut))
	}
	for _, q := range from[:min(len(from), most)] {
		o.From = append(o.From, q.base)
	}
	best.where, best.from = onWire, from[0]
	from[0].load++
	from[0].served++
	b.fetching++
	b.fetcher.say(fetchLine{Order: &o})
	return take
}

// fetched takes in what the host says of a blob.
func (b *bringing) fetched(line []byte) error {
	var a fetchAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	w := b.wanted(a.Digest)
	if w == nil || w.from == nil {
		return nil // it is alive
	}
	w.offset = a.Offset
	if a.State == progress {
		b.report(b.s.nameOf(a.From), false)
		return nil
	}
	w.from.load--
	w.from = nil
	b.fetching--
	b.blame(a)
	if a.State == done {
		b.me.fetched, b.s.hope.fetched = true, true
		b.landed(w, b.s.nameOf(a.From))
		return nil
	}
	w.where = idle
	if a.Error != "" {
		b.failure = &final{fmt.Errorf("blob %s from another host: the host cannot keep it: %s", a.Digest, a.Error)}
	}
	b.s.change()
	return nil
}

// blame notes which hosts this one cannot fetch from. The lock is held.
func (b *bringing) blame(a fetchAnswer) {
	for _, t := range a.Tried {
		q := b.s.byBase(t.From)
		if q == nil {
			continue
		}
		b.me.cut[q] = t.Error
		if t.Fault == lies {
			delete(q.has, a.Digest)
			b.s.warn(q, "it has a damaged blob, which %s refused: %s", b.me.Name, t.Error)
		}
	}
	b.s.isolate(b.me)
}

func (s *Swarm) byBase(base string) *peer {
	for _, q := range s.peers {
		if q.base == base && base != "" {
			return q
		}
	}
	return nil
}

func (s *Swarm) nameOf(base string) string {
	if q := s.byBase(base); q != nil {
		return q.Name
	}
	return base
}
