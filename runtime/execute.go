package runtime

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// Run carries the plan out, phase after phase. Steps that hold already are left
// out. Running the same plan again goes on where it stopped. The error of steps
// that failed is a [*RunError].
//
// When a host fails, the others of the phase end their work. A node that failed
// is left out of the phases that follow, in which the other hosts go on. A
// master that failed ends the plan after the phase, as does a failure in a
// serial phase: what follows stands on it.
func (e *Engine) Run(ctx context.Context, p Plan) error {
	p, err := p.numbered()
	if err != nil {
		return err
	}
	pending, err := e.Pending(ctx, p)
	if err != nil {
		return err
	}
	return e.execute(ctx, p, pending)
}

// Execute carries out what a forecast says, step for step and nothing else. It
// asks no host again whether a step holds.
func (e *Engine) Execute(ctx context.Context, f *Forecast) error {
	return e.execute(ctx, f.whole, f.Pending)
}

// execute carries out the pending steps of a plan.
func (e *Engine) execute(ctx context.Context, p, pending Plan) error {
	if len(pending.Phases) > 0 {
		if err := e.endLeftovers(ctx, pending); err != nil {
			return err
		}
	}
	digest, err := pending.Digest()
	if err != nil {
		return err
	}
	x := newExecution(e, p, pending)
	begin := JournalEntry{Cluster: e.Cluster, Command: e.Operation.Command, Plan: digest, Steps: len(x.todo), State: OutcomeBegun}
	if err := e.record(ctx, begin); err != nil {
		return err
	}
	e.offers = x.holders(p)
	end := e.beginSwarm(ctx)
	x.helped(p)
	for _, phase := range p.Phases {
		if !x.phase(ctx, phase) {
			break
		}
	}
	failed := errors.Join(end(), x.report())
	if err := e.recordEnd(ctx, begin, failed); err != nil && failed == nil {
		return err
	}
	return failed
}

// execution is one plan while it is carried out.
type execution struct {
	engine *Engine
	todo   map[stepKey]Step
	roles  map[string]Role // by address
	order  []Member

	mu     sync.Mutex
	failed map[string]*StepError // by the address of the host that failed
	left   map[string]int        // steps that are still to be done, by the address of whom they are for
}

func newExecution(e *Engine, p, pending Plan) *execution {
	x := &execution{engine: e, todo: pending.steps(), order: p.Hosts(), roles: map[string]Role{}, failed: map[string]*StepError{}, left: map[string]int{}}
	for _, m := range x.order {
		x.roles[m.Address] = m.Role
	}
	for key, s := range x.todo {
		x.left[cmp.Or(s.About, key.address)]++
	}
	return x
}

// phase carries out one phase, and reports whether the next may begin.
func (x *execution) phase(ctx context.Context, phase Phase) bool {
	if phase.Serial {
		for _, task := range phase.Tasks {
			if x.task(ctx, phase.Name, task); x.anyFailed(task) && phase.Policy != Despite {
				return false
			}
		}
		return x.goesOn(ctx, phase)
	}
	var wg sync.WaitGroup
	for _, task := range phase.Tasks {
		wg.Go(func() { x.task(ctx, phase.Name, task) })
	}
	wg.Wait()
	return x.goesOn(ctx, phase)
}

// goesOn reports whether anything may come after the phase.
func (x *execution) goesOn(ctx context.Context, phase Phase) bool {
	if ctx.Err() != nil {
		return false
	}
	x.mu.Lock()
	failed := len(x.failed) > 0
	x.mu.Unlock()
	switch phase.Policy {
	case Gate:
		return !failed
	case Despite:
		return true
	}
	return !x.masterFailed()
}

// task carries out what one host does in a phase.
func (x *execution) task(ctx context.Context, phase string, task Task) {
	t, err := x.engine.target(ctx, phase, task.Member)
	if err != nil {
		x.fail(task.Member.Address, &StepError{Phase: phase, Host: task.Member.Name(), Err: err})
		return
	}
	for _, batch := range x.batches(task) {
		batch = slices.DeleteFunc(batch, func(s Step) bool {
			return x.hasFailed(task.Member.Address) || x.hasFailed(s.subject(task.Member))
		})
		if len(batch) == 0 {
			continue
		}
		done, failure := t.perform(ctx, batch, x.follow(task, batch[0]))
		x.mu.Lock()
		for _, s := range batch[:done] {
			x.left[s.subject(task.Member)]--
		}
		x.mu.Unlock()
		if failure == nil {
			continue
		}
		x.fail(batch[min(done, len(batch)-1)].subject(task.Member), failure)
	}
}

// batches returns the pending steps of a task, those together that are done in
// one go: files that are made one after another.
func (x *execution) batches(task Task) [][]Step {
	var out [][]Step
	for _, s := range task.Steps {
		todo, ok := x.todo[s.key(task.Member.Address)]
		if !ok {
			x.engine.tell(Event{Host: task.Member.Name(), Step: s.ID, Does: s.Do.String(), State: Holds})
			continue
		}
		last := len(out) - 1
		if last >= 0 && joins(out[last], todo) {
			out[last] = append(out[last], todo)
			continue
		}
		out = append(out, []Step{todo})
	}
	return out
}

// follow returns the pending steps that serve a step and come after it.
func (x *execution) follow(task Task, served Step) []Step {
	i := slices.IndexFunc(task.Steps, func(s Step) bool { return s.ID == served.ID && s.Nth == served.Nth })
	var out []Step
	for _, s := range task.Steps[i+1:] {
		if todo, ok := x.todo[s.key(task.Member.Address)]; ok && s.With == served.ID {
			out = append(out, todo)
		}
	}
	return out
}

func (x *execution) fail(address string, err *StepError) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed[address] == nil {
		x.failed[address] = err
	}
}

func (x *execution) hasFailed(address string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.failed[address] != nil
}

// anyFailed reports whether a host that the task works for has failed.
func (x *execution) anyFailed(task Task) bool {
	return x.hasFailed(task.Member.Address) || slices.ContainsFunc(task.Steps, func(s Step) bool { return x.hasFailed(s.subject(task.Member)) })
}

// masterFailed reports whether a master has failed, or a host for which the plan
// has nothing to do: it was to be well.
func (x *execution) masterFailed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for address := range x.failed {
		if x.roles[address] != Node {
			return true
		}
	}
	return false
}
