package runtime

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/swarm"
)

// Engine carries plans out. It holds the connections and everything else that
// a plan, being a value, does not.
type Engine struct {
	// Cluster is the name under which the hosts keep their ledgers.
	Cluster string
	// Hosts are the open connections, by Member.Address. The engine does not
	// close them.
	Hosts map[string]host.Host
	// Images is where the blobs come from that hosts lack.
	Images artifact.Source
	// Helper opens the sealrt executable for a host's platform; the engine
	// closes it.
	Helper func(os, arch string) (io.ReadCloser, error)
	// Secrets are values that plans name and do not hold: passwords that the
	// cluster keeps, for instance.
	Secrets map[Captured]string
	// Hidden are values that steps hold and nobody is to read: they are taken
	// out of errors, of what commands say, and of the journal.
	Hidden []string
	// Blobs says how blobs travel from host to host.
	Blobs clusterfile.Blobs
	// Standing are members outside of the plan that may have what its hosts
	// need, and serve it to them. Those that are not in Hosts are left alone.
	Standing []Member
	// Observe is told what happens, from several goroutines at once; nil is
	// fine.
	Observe func(Event)
	// Journal keeps what was meant and what came of it; nil is fine.
	Journal Journal
	// Operation is what the journal says of who runs the plan.
	Operation Operation
	// Limits say how long things may take.
	Limits Limits
	// Peers says that hosts get blobs from each other, so that each leaves the
	// client once.
	Peers bool

	sets     imageSets
	mu       sync.Mutex // never held while a host is asked
	captured map[Captured]string
	ledgers  map[string]*ledger

	platforms map[string]v1.Platform // by address

	reading sync.Mutex // held by who reads the sealrt executable on the client
	helpers map[string]helperSum
	swarm   *swarm.Swarm      // while a plan runs, or there are Helpers
	offers  map[string]*offer // by digest of an image; only read while a plan runs
	sent    int64             // bytes that left the client in runs that have ended
}

// Event is one line of the story of a plan.
type Event struct {
	Phase string
	Host  string
	Step  string // the step's ID
	Does  string // what the plan prints for the step
	State EventState
	Bytes int64         // that came to the host in this step
	Total int64         // with Sending: those that are to come
	From  string        // with Sending: "client", or the host that they come from
	Note  string        // with Warned
	Took  time.Duration // when the step has ended
	Err   error         // with Failed, Tolerated and Waiting
	Says  string        // the last line that a hook, or the command of an app, printed
}

// EventState says what happened to a step.
type EventState string

// The states of a step.
const (
	Started   EventState = "started"
	Sending   EventState = "sending" // now and then, while blobs travel to the host
	Done      EventState = "done"
	Holds     EventState = "holds" // was done by an earlier run
	Failed    EventState = "failed"
	Tolerated EventState = "tolerated" // failed, and the plan goes on
	Waiting   EventState = "waiting"   // the host is lost; Err says how
	Warned    EventState = "warned"    // goes on in another way than asked
)

// target returns the host of a member with its ledger, read once.
func (e *Engine) target(ctx context.Context, phase string, m Member) (*target, error) {
	h, ok := e.Hosts[m.Address]
	if !ok {
		return nil, fmt.Errorf("%s: host %s is not connected", phase, m.Name())
	}
	if m.Init == OpenRC {
		h = openrc{h}
	}
	t := &target{engine: e, conn: h, member: m, phase: phase, sent: new(int64)}
	t.Host = line{Host: h, limit: e.Limits.command(0), patient: t.patient}
	e.mu.Lock()
	l := e.ledgers[m.Address]
	e.mu.Unlock()
	if l == nil {
		err := t.again(ctx, func() (err error) {
			l, err = readLedger(ctx, t.Host)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", m.Name(), err)
		}
		if l.cluster != "" && l.cluster != e.Cluster {
			return nil, fmt.Errorf("host %s belongs to the cluster %q already: reset that one first (sealrt reset --cluster %s)", m.Name(), l.cluster, l.cluster)
		}
		e.mu.Lock()
		if e.ledgers == nil {
			e.ledgers = map[string]*ledger{}
		}
		e.ledgers[m.Address] = l
		e.mu.Unlock()
	}
	t.ledger = l
	return t, nil
}

func (e *Engine) capture(name Captured, value string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.captured == nil {
		e.captured = map[Captured]string{}
	}
	e.captured[name] = value
}

// fill puts captured values in the place of their names.
func (e *Engine) fill(s string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, value := range e.Secrets {
		s = strings.ReplaceAll(s, name.String(), value)
	}
	for name, value := range e.captured {
		s = strings.ReplaceAll(s, name.String(), value)
	}
	return s
}

func (e *Engine) tell(ev Event) {
	if e.Observe != nil {
		e.Observe(ev)
	}
}

// conceal takes captured values, and hidden ones, out of a text that people will
// read.
func (e *Engine) conceal(s string) string {
	s = withoutSecrets(s, e.Hidden)
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, value := range e.captured {
		if value != "" {
			s = strings.ReplaceAll(s, value, name.String())
		}
	}
	return s
}

// target is one host while a task works on it.
type target struct {
	host.Host // with limits, and patient
	engine    *Engine
	conn      host.Host // the bare connection
	member    Member
	ledger    *ledger
	phase     string
	step      Step              // that is under way
	sent      *int64            // bytes that were sent for the present step
	said      string            // the last line of the present step's command, if it is told
	makes     map[string]string // what the present step's command made, by the keys of examine
	seen      map[string]bool   // paths that were asked for together: whether they are there
}

// patient waits for the host, and tells of it.
func (t *target) patient(ctx context.Context, lost error, do func() error) error {
	return t.engine.patience(ctx, func(err error) {
		ev := t.event(t.step)
		ev.State, ev.Err = Waiting, err
		t.engine.tell(ev)
	}, lost, do)
}

func (t *target) event(s Step) Event {
	ev := Event{Phase: t.phase, Host: t.member.Name(), Step: s.ID}
	if s.Do != nil {
		ev.Does = s.Do.String()
	}
	return ev
}
