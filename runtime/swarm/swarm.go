package swarm

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
)

// Options says how blobs travel; Command is needed, the rest may be zero.
type Options struct {
	// Command returns the command that runs, on any host, Missing, Receive,
	// Serve or Fetch: the verb in lower case.
	Command func(verb string) []string
	Port    int           // where hosts serve; 0: any that is free there
	PerHost int           // blobs that a host serves, and fetches, at a time; 0: 4
	SSHOnly bool          // each host gets all from the client
	Streams int           // blobs that leave the client at a time; 0: 4, and 16 where hosts get nothing from each other
	Stall   time.Duration // without a sign of a host's, its transfer is given up; 0: 2 minutes
	TempDir string        // for the compressed helper; "": the system's
}

// Peer is a host that gets blobs.
type Peer struct {
	Name string // unique in a swarm; what the story and errors call it
	IP   string // that other hosts reach it by; "": it serves none
	Host Runner
	Tell func(Event) // what happens; nil is fine. Called from several goroutines, never for long.
}

// Runner runs commands on a host, as host.Host does.
type Runner interface {
	Run(ctx context.Context, c host.Command) error
}

// Event is what happens to a host.
type Event struct {
	Bytes, Total int64  // that have come, of those that the host lacked
	From         string // "client", or the name of the host that sends
	Note         string // a warning; the rest is empty then
}

// FromClient is what Event.From says of the client itself.
const FromClient = "client"

// Swarm brings blobs to hosts. Its methods may be called concurrently.
type Swarm struct {
	o      Options
	pass   string // by which hosts that have no helper get it from others
	sent   atomic.Int64
	cancel context.CancelFunc
	begin  func(func(context.Context)) // in a goroutine that ends with the swarm
	work   sync.WaitGroup
	ca     func() (*authority, error)

	mu      sync.Mutex
	changed chan struct{} // closed, and made anew, at every change of what follows
	planned map[v1.Hash]int
	plan    []v1.Hash // digests that may be asked for, in the order in which hosts are told
	peers   map[string]*peer
	seeding map[v1.Hash]map[*peer]bool  // blobs on their way from the client
	kept    map[v1.Hash]map[*peer]int64 // bytes that hosts which are asking have of blobs, from an attempt before
	streams int                         // that leave the client now
	hope    hope
	asking  int // hosts that are asked now what they lack
	helpers map[string]*helper
	closed  bool
}

// New returns a swarm of no host yet. The caller closes it. When ctx ends, the
// hosts stop serving.
func New(ctx context.Context, o Options) *Swarm {
	if o.PerHost <= 0 {
		o.PerHost = 4
	}
	if o.Stall <= 0 {
		o.Stall = 2 * time.Minute
	}
	s := &Swarm{
		o: o, pass: rand.Text(), changed: make(chan struct{}), planned: map[v1.Hash]int{}, peers: map[string]*peer{},
		seeding: map[v1.Hash]map[*peer]bool{}, kept: map[v1.Hash]map[*peer]int64{}, helpers: map[string]*helper{},
		ca: sync.OnceValues(func() (*authority, error) { return newAuthority(time.Now()) }),
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.begin = func(f func(context.Context)) { s.work.Go(func() { f(ctx) }) }
	return s
}

// Sent is how many bytes of blobs and helpers have left the client.
func (s *Swarm) Sent() int64 { return s.sent.Load() }

// Close ends the serving on all hosts and waits for it. It may be called
// twice.
func (s *Swarm) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, p := range s.peers {
		if p.server != nil {
			p.server.end()
		}
	}
	s.mu.Unlock()
	patience := time.AfterFunc(closeTime, s.cancel)
	defer patience.Stop()
	s.work.Wait()
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, h := range s.helpers {
		if cerr := h.discard(); cerr != nil {
			err = fmt.Errorf("remove the compressed helper: %w", cerr)
		}
	}
	return err
}

// closeTime is what hosts get to end serving when their input has ended.
const closeTime = 5 * time.Second

// change tells all who wait to look again. The lock is held.
func (s *Swarm) change() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// verdict says what a look at the swarm came to.
type verdict int

const (
	wait   verdict = iota // until something changes
	take                  // there is something to do
	finish                // there never will be
)

// next looks, and again after every change, until there is something to do.
// The look has the lock.
func (s *Swarm) next(ctx context.Context, look func() verdict) (verdict, error) {
	for {
		s.mu.Lock()
		v, changed := look(), s.changed
		s.mu.Unlock()
		if v != wait {
			return v, nil
		}
		select {
		case <-ctx.Done():
			return finish, context.Cause(ctx)
		case <-changed:
		}
	}
}

// join returns the swarm's own notes on a host, and adds blobs to those that
// the hosts may ask each other for.
func (s *Swarm) join(p Peer, blobs []v1.Descriptor) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	me := s.peers[p.Name]
	if me == nil {
		me = &peer{Peer: p, has: map[v1.Hash]bool{}, cut: map[*peer]string{}}
		s.peers[p.Name] = me
	}
	// its server may run, and reads its name and address
	if me.Host, me.Tell = p.Host, p.Tell; me.IP != p.IP {
		me.IP = p.IP
	}
	before := len(s.plan)
	for _, d := range blobs {
		if _, known := s.planned[d.Digest]; !known {
			s.planned[d.Digest] = len(s.plan)
			s.plan = append(s.plan, d.Digest)
		}
	}
	if fresh := s.plan[before:]; len(fresh) > 0 {
		for _, q := range s.peers {
			if q.server != nil {
				q.server.say(serveLine{Allow: fresh})
			}
		}
	}
	return me
}
