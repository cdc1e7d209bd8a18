package swarm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
)

// peer is what the swarm knows of a host. The swarm's lock guards it.
type peer struct {
	Peer
	has     map[v1.Hash]bool
	cut     map[*peer]string // peers that it cannot fetch from, and why
	alone   bool             // it gets all from the client
	warned  bool
	fetched bool // another host gave it a blob
	breaks  int  // of its fetching
	noFetch bool // it has no program to fetch the helper with

	serving serving
	late    bool // it has been starting for longer than hosts may be waited for
	server  *session
	base    string // https://IP:PORT, when ready
	allowed int    // blobs of the plan that it may serve
	load    int    // blobs that it is asked for now
	served  int    // and was, ever: of two with the same load the other goes first
}

// serving is how far a host is with serving others.
type serving int

const (
	silent serving = iota
	starting
	ready
	mute // it cannot
)

func (p *peer) tell(e Event) {
	if p.Tell != nil {
		p.Tell(e)
	}
}

// warn tells what goes wrong, once for each host. The lock is held.
func (s *Swarm) warn(p *peer, format string, args ...any) {
	if p.warned {
		return
	}
	p.warned = true
	p.tell(Event{Note: fmt.Sprintf(format, args...)})
}

// usable reports whether a host may be able to fetch from another. The lock is
// held.
func (s *Swarm) usable(me, from *peer) bool {
	return !s.o.SSHOnly && !s.hopeless() && !me.alone && me != from && from.serving != mute && from.IP != "" && me.cut[from] == ""
}

// wish makes a host serve, unless it does. The lock is held.
func (s *Swarm) wish(p *peer) {
	if p.serving != silent || s.closed {
		return
	}
	p.serving = starting
	s.begin(func(ctx context.Context) { s.serve(ctx, p) })
}

// serve keeps a host serving until the swarm ends.
func (s *Swarm) serve(ctx context.Context, p *peer) {
	err := s.runServer(ctx, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	p.serving = mute
	var refused *host.ExitError
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.As(err, &refused):
		s.warn(p, "it serves its blobs to no other host, which get them from elsewhere: %v (TCP port %s has to be free on it: choose another one with blobs.port in the Clusterfile, or switch this off with blobs.sshOnly)", err, s.port())
	default: // the host itself is lost; whoever needs it says so
		s.warn(p, "it serves its blobs to no other host any more: %v", err)
	}
	s.change()
}

func (s *Swarm) port() string {
	if s.o.Port == 0 {
		return "(any)"
	}
	return strconv.Itoa(s.o.Port)
}

func (s *Swarm) runServer(ctx context.Context, p *peer) error {
	ca, err := s.ca()
	if err != nil {
		return err
	}
	id, err := ca.issue(p.Name, p.IP, time.Now())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	command := s.o.Command("serve")
	s.mu.Lock()
	on := p.Host // another one comes with each thing that is brought to the host
	s.mu.Unlock()
	c := s.open(ctx, on, command, func(line []byte) error { return s.answered(p, line) })
	s.mu.Lock()
	c.say(serveLine{
		Settings: &serveSettings{CA: ca.pem, Port: s.o.Port, PerHost: s.o.PerHost, Helper: command[0], Pass: s.pass},
		Identity: id, Allow: slices.Clone(s.plan),
	})
	p.server = c
	if s.closed {
		c.end()
	}
	s.mu.Unlock()
	renew := time.NewTicker(renewEvery)
	defer renew.Stop()
	alive := time.NewTicker(heartbeat)
	defer alive.Stop()
	late, never := time.NewTimer(lateTime), time.NewTimer(startTime)
	defer late.Stop()
	defer never.Stop()
	for {
		select {
		case <-late.C:
			s.despair(p)
		case <-never.C:
			if !s.answers(p) {
				return fmt.Errorf("it did not begin to serve within %s", startTime)
			}
		case <-c.over:
			return c.err
		case <-alive.C:
			c.say(serveLine{})
		case <-renew.C:
			if id, err = ca.issue(p.Name, p.IP, time.Now()); err != nil {
				return err
			}
			c.say(serveLine{Identity: id})
		}
	}
}

const (
	startTime = 30 * time.Second // what a host gets until it serves
	lateTime  = 3 * time.Second  // and that others wait for it
)

// answers reports whether a host serves.
func (s *Swarm) answers(p *peer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.serving == ready
}

// answered takes in what a serving host says.
func (s *Swarm) answered(p *peer, line []byte) error {
	var a serveAnswer
	if err := json.Unmarshal(line, &a); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.serving, p.late, p.allowed = ready, false, a.Allowed
	s.hope.ready = true
	p.base = "https://" + net.JoinHostPort(p.IP, strconv.Itoa(a.Port))
	s.change()
	return nil
}

// route is what other hosts can do for one that lacks a blob.
type route struct {
	now   []*peer // have it and have a place, the least loaded first
	later bool    // one will be able to
}

// routes asks the other hosts for a blob; those that could serve it are made
// to. The lock is held.
func (s *Swarm) routes(me *peer, h v1.Hash) route {
	var r route
	for _, q := range s.peers {
		if !q.has[h] && !s.seeding[h][q] || !s.usable(me, q) {
			continue
		}
		s.wish(q)
		r.later = r.later || s.awaited(q)
		if q.has[h] && q.serving == ready && s.planned[h] < q.allowed && q.load < s.o.PerHost {
			r.now = append(r.now, q)
		}
	}
	slices.SortFunc(r.now, func(a, b *peer) int {
		return cmp.Or(cmp.Compare(a.load, b.load), cmp.Compare(a.served, b.served), cmp.Compare(a.Name, b.Name))
	})
	return r
}

// blockedFor says why a host gets a blob from the client that others have, ""
// when there is no such reason. The lock is held.
func (s *Swarm) blockedFor(me *peer, h v1.Hash) string {
	for _, q := range s.peers {
		if why := me.cut[q]; q.has[h] && why != "" {
			return fmt.Sprintf("%s does not answer it: %s", q.Name, why)
		}
	}
	return ""
}
