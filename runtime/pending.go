package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Pending returns the plan without the steps that hold already, according to
// the hosts' ledgers and to the hosts themselves: what Run would do now, each
// step with the reason why. Steps that only look are left out when nothing else
// is to be done and they find what they look for. It changes nothing.
func (e *Engine) Pending(ctx context.Context, p Plan) (Plan, error) {
	p, err := p.numbered()
	if err != nil {
		return Plan{}, err
	}
	if err := e.readLedgers(ctx, p.Hosts()); err != nil {
		return Plan{}, err
	}
	changes, err := e.decide(ctx, p, func(t *target, s Step) (string, error) {
		if looks(s.Do) {
			return "", nil
		}
		return t.why(ctx, s)
	})
	if err != nil {
		return Plan{}, err
	}
	changes = changes.withoutIdle()
	if changes, err = changes.withoutUnused(); err != nil {
		return Plan{}, err
	}
	todo := changes.steps()
	return e.decide(ctx, p, func(t *target, s Step) (string, error) {
		switch {
		case !looks(s.Do):
			return todo[s.key(t.member.Address)].Why, nil
		case len(todo) > 0:
			return "after every change", nil
		}
		return t.why(ctx, s)
	})
}

// decide returns the plan with the steps for which why gives a reason. All
// hosts are asked at once.
func (e *Engine) decide(ctx context.Context, p Plan, why func(*target, Step) (string, error)) (Plan, error) {
	members := p.Hosts()
	reasons := make([]map[stepKey]string, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			t, err := e.target(ctx, "plan", m)
			if err == nil {
				err = t.again(ctx, func() (err error) {
					reasons[i], err = t.reasons(p.on(m), why)
					return err
				})
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return Plan{}, err
	}
	all := map[stepKey]string{}
	for _, of := range reasons {
		maps.Copy(all, of)
	}
	return p.with(all), nil
}

// on returns the steps of one host, in order.
func (p Plan) on(m Member) []Step {
	var out []Step
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			if task.Member.Address == m.Address {
				out = append(out, task.Steps...)
			}
		}
	}
	return out
}

// with returns the plan of those steps for which there is a reason.
func (p Plan) with(reasons map[stepKey]string) Plan {
	var left Plan
	for _, phase := range p.Phases {
		kept := phase.empty()
		for _, task := range phase.Tasks {
			todo := Task{Member: task.Member}
			for _, s := range task.Steps {
				if s.Why = reasons[s.key(task.Member.Address)]; s.Why != "" {
					todo.Steps = append(todo.Steps, s)
				}
			}
			if len(todo.Steps) > 0 {
				kept.Tasks = append(kept.Tasks, todo)
			}
		}
		if len(kept.Tasks) > 0 {
			left.Phases = append(left.Phases, kept)
		}
	}
	return left
}

// reasons returns why steps of the host are to be done. A step that serves another
// is done with it, and one that another writes over after it.
func (t *target) reasons(steps []Step, why func(*target, Step) (string, error)) (map[stepKey]string, error) {
	out, err := t.askAll(steps, why)
	if err != nil {
		return nil, err
	}
	at := t.member.Address
	settled(steps, out, at)
	for _, s := range steps {
		switch {
		case s.After != "" && out[s.key(at)] == "" && out[stepKey{at, s.After, s.Nth}] != "":
			out[s.key(at)] = "after " + s.After
		case s.With == "":
		case out[stepKey{at, s.With, s.Nth}] != "":
			out[s.key(at)] = "for " + s.With
		case t.ledger.broken(s.ID): // it comes after the step that it serves, which holds
			out[s.key(at)] = halfway
		}
	}
	changed := map[string]bool{}
	for _, s := range steps {
		if out[s.key(at)] == "" {
			continue
		}
		if out[s.key(at)] == restarts {
			out[s.key(at)] += t.because(s, changed)
		}
		for _, p := range s.Do.footprint().made() {
			changed[p] = true
		}
	}
	return out, nil
}

// askAll asks why of the steps that stand for themselves, of all at once: many may
// wait for an answer of the host.
func (t *target) askAll(steps []Step, why func(*target, Step) (string, error)) (map[stepKey]string, error) {
	reasons := make([]string, len(steps))
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, s := range steps {
		if s.With != "" {
			continue
		}
		wg.Go(func() {
			if reasons[i], errs[i] = why(t, s); errs[i] != nil {
				errs[i] = fmt.Errorf("host %s: %s: %w", t.member.Name(), s.ID, errs[i])
			}
		})
	}
	wg.Wait()
	out := map[stepKey]string{}
	for i, s := range steps {
		out[s.key(t.member.Address)] = reasons[i]
	}
	return out, cmp.Or(errs...)
}

// made returns the files that a step makes or changes.
func (f footprint) made() []string {
	out := slices.Clone(f.Paths)
	for _, b := range f.Blocks {
		out = append(out, b.Path)
	}
	return out
}

// readLedgers reads the ledgers of the members, all at once.
func (e *Engine) readLedgers(ctx context.Context, members []Member) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { _, errs[i] = e.target(ctx, "plan", m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// holds reports whether a step has nothing to do: the host says so, or, where
// it cannot be asked, its ledger.
func (t *target) holds(ctx context.Context, s Step) (bool, error) {
	if s.Undoes != "" && !t.ledger.knows(s.Undoes) {
		return true, nil
	}
	if s.Mends != (StepRef{}) {
		return !t.engine.broken(s.Mends), nil
	}
	if s.Unless != "" && t.ledger.knows(s.Unless) {
		return true, nil
	}
	if a, ok := s.Do.(asker); ok {
		return a.holds(ctx, t)
	}
	if asks(s.Do) {
		return false, nil
	}
	hash, err := s.hash()
	return t.ledger.holds(s.ID, hash), err
}

// withoutUnused leaves out the steps that only capture a value which no step
// of the plan uses.
func (p Plan) withoutUnused() (Plan, error) {
	raw, err := json.Marshal(p)
	if err != nil {
		return Plan{}, fmt.Errorf("read the plan: %w", err)
	}
	text := string(raw)
	unused := func(s Step) bool {
		exec, ok := s.Do.(Exec)
		return ok && exec.Capture != "" && !strings.Contains(text, exec.Capture.String())
	}
	return p.filtered(unused), nil
}

// filtered returns the plan without the steps that drop names.
func (p Plan) filtered(drop func(Step) bool) Plan {
	var out Plan
	for _, phase := range p.Phases {
		left := phase.empty()
		for _, task := range phase.Tasks {
			if steps := slices.DeleteFunc(slices.Clone(task.Steps), drop); len(steps) > 0 {
				left.Tasks = append(left.Tasks, Task{Member: task.Member, Steps: steps})
			}
		}
		if len(left.Tasks) > 0 {
			out.Phases = append(out.Phases, left)
		}
	}
	return out
}

// withoutIdle leaves out the steps that serve a step which is not to be done.
func (p Plan) withoutIdle() Plan {
	return p.filtered(func(s Step) bool { return s.For != (StepRef{}) && !p.has(s.For) })
}
