package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/host"
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
	// Observe is told what happens, from several goroutines at once; nil is
	// fine.
	Observe func(Event)

	mu       sync.Mutex
	captured map[Captured]string
	todo     map[stepKey]bool // what the running plan has to do; only read while it runs
	ledgers  map[string]*ledger
}

// Event is one line of the story of a plan.
type Event struct {
	Phase string
	Host  string
	Step  string // the step's ID
	Does  string // what the plan prints for the step
	State EventState
	Bytes int64         // sent to the host by this step, when it sends
	Took  time.Duration // when the step has ended
	Err   error         // with Failed and Tolerated
}

// EventState says what happened to a step.
type EventState string

// The states of a step.
const (
	Started   EventState = "started"
	Done      EventState = "done"
	Holds     EventState = "holds" // was done by an earlier run
	Failed    EventState = "failed"
	Tolerated EventState = "tolerated" // failed, and the plan goes on
)

// StepError says which step failed on which host.
type StepError struct {
	Phase, Host, Step string
	Err               error
}

// Error names the host, the step and the cause.
func (e *StepError) Error() string {
	return fmt.Sprintf("%s: host %s: %s: %v", e.Phase, e.Host, e.Step, e.Err)
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Run carries the plan out, phase after phase. Steps that a host's ledger says
// were done in the same form are skipped. When a host fails, the others of the
// phase end their work, and the plan stops after that phase; all failures are
// returned, joined. Running the same plan again goes on where it stopped.
func (e *Engine) Run(ctx context.Context, p Plan) error {
	pending, err := e.Pending(ctx, p)
	if err != nil {
		return err
	}
	if len(pending.Phases) > 0 {
		if err := e.endLeftovers(ctx, pending); err != nil {
			return err
		}
	}
	e.todo = pending.keys()
	for _, phase := range p.Phases {
		if err := e.phase(ctx, phase); err != nil {
			return err
		}
	}
	return nil
}

// stepKey names a step of a plan.
type stepKey struct{ address, id string }

func (p Plan) keys() map[stepKey]bool {
	keys := map[stepKey]bool{}
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				keys[stepKey{task.Member.Address, s.ID}] = true
			}
		}
	}
	return keys
}

func (e *Engine) phase(ctx context.Context, phase Phase) error {
	if phase.Serial {
		for _, task := range phase.Tasks {
			if err := e.task(ctx, phase.Name, task); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, len(phase.Tasks))
	var wg sync.WaitGroup
	for i, task := range phase.Tasks {
		wg.Go(func() { errs[i] = e.task(ctx, phase.Name, task) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (e *Engine) task(ctx context.Context, phase string, task Task) error {
	t, err := e.target(ctx, phase, task.Member)
	if err != nil {
		return err
	}
	for _, s := range task.Steps {
		if err := t.run(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// target returns the host of a member with its ledger, read once.
func (e *Engine) target(ctx context.Context, phase string, m Member) (*target, error) {
	h, ok := e.Hosts[m.Address]
	if !ok {
		return nil, fmt.Errorf("%s: host %s is not connected", phase, m.Name())
	}
	e.mu.Lock()
	l := e.ledgers[m.Address]
	e.mu.Unlock()
	if l == nil {
		var err error
		if l, err = readLedger(ctx, h); err != nil {
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
	return &target{Host: h, engine: e, member: m, ledger: l, phase: phase}, nil
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

// target is one host while a phase runs on it.
type target struct {
	host.Host
	engine *Engine
	member Member
	ledger *ledger
	phase  string
	sent   int64 // bytes that the present step has sent
}

func (t *target) run(ctx context.Context, s Step) error {
	hash, err := s.hash()
	if err != nil {
		return err
	}
	ev := Event{Phase: t.phase, Host: t.member.Name(), Step: s.ID, Does: s.Do.String()}
	if !t.engine.todo[stepKey{t.member.Address, s.ID}] {
		ev.State = Holds
		t.engine.tell(ev)
		return nil
	}
	ev.State = Started
	t.engine.tell(ev)
	start, was := time.Now(), t.sent
	err = t.recorded(ctx, s, hash)
	ev.State, ev.Took, ev.Bytes, ev.Err = Done, time.Since(start), t.sent-was, err
	if err != nil && tolerated(s.Do) && ctx.Err() == nil {
		ev.State, err = Tolerated, nil
	}
	if err != nil {
		ev.State = Failed
		err = &StepError{Phase: t.phase, Host: t.member.Name(), Step: s.ID, Err: err}
	}
	t.engine.tell(ev)
	return err
}

// recorded applies the step between its two lines in the ledger. Steps that
// leave nothing and are repeated anyway are not recorded.
func (t *target) recorded(ctx context.Context, s Step, hash string) error {
	foot := s.Do.footprint()
	if asks(s.Do) && (foot.empty() || t.ledger.holds(s.ID, hash)) {
		return s.Do.apply(ctx, t)
	}
	if exec, ok := s.Do.(Exec); ok && len(exec.Recover) > 0 && t.ledger.broken(s.ID) {
		if err := t.work(ctx, host.Command{Argv: exec.Recover, Env: exec.Env}); err != nil {
			return fmt.Errorf("clean up after the attempt before: %w", err)
		}
	}
	e := entry{Cluster: t.engine.Cluster, Step: s.ID, Hash: hash, State: stateBegun, Footprint: &foot}
	if claims, ok := s.Do.(claimer); ok {
		// what is there before the step, and is not ours, stops it before
		// the ledger could call it ours
		if err := claims.claim(ctx, t, &foot); err != nil {
			return err
		}
	}
	if err := t.ledger.write(ctx, t.Host, e); err != nil {
		return err
	}
	failed := s.Do.apply(ctx, t)
	if failed != nil && !(tolerated(s.Do) && ctx.Err() == nil) {
		return failed
	}
	e.State, e.Footprint = stateDone, nil
	return errors.Join(failed, t.ledger.write(ctx, t.Host, e))
}

// tolerated says which steps may fail.
func tolerated(a Action) bool {
	exec, ok := a.(Exec)
	return ok && exec.Tolerate
}
