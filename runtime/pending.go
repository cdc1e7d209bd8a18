package runtime

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Pending returns the plan without the steps that hold already, according to
// the hosts' ledgers and to the hosts themselves: what Run would do now. Steps
// that only look are left out when nothing else is to be done and they find
// what they look for. It changes nothing.
func (e *Engine) Pending(ctx context.Context, p Plan) (Plan, error) {
	if err := e.readLedgers(ctx, p.Hosts()); err != nil {
		return Plan{}, err
	}
	changes, err := e.without(ctx, p, func(t *target, s Step) (bool, error) {
		if looks(s.Do) {
			return true, nil
		}
		return t.holds(ctx, s)
	})
	if err != nil {
		return Plan{}, err
	}
	if changes, err = changes.withoutUnused(); err != nil {
		return Plan{}, err
	}
	todo := changes.keys()
	return e.without(ctx, p, func(t *target, s Step) (bool, error) {
		switch {
		case !looks(s.Do):
			return !todo[stepKey{t.member.Address, s.ID}], nil
		case len(todo) > 0:
			return false, nil
		}
		return t.holds(ctx, s)
	})
}

// without returns the plan without the steps that hold.
func (e *Engine) without(ctx context.Context, p Plan, holds func(*target, Step) (bool, error)) (Plan, error) {
	var left Plan
	for _, phase := range p.Phases {
		found := make([]Task, len(phase.Tasks))
		errs := make([]error, len(phase.Tasks))
		var wg sync.WaitGroup
		for i, task := range phase.Tasks {
			wg.Go(func() {
				t, err := e.target(ctx, phase.Name, task.Member)
				if err == nil {
					found[i] = Task{Member: task.Member}
					found[i].Steps, err = t.pending(task.Steps, holds)
				}
				errs[i] = err
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return Plan{}, fmt.Errorf("%s: %w", phase.Name, err)
		}
		found = slices.DeleteFunc(found, func(t Task) bool { return len(t.Steps) == 0 })
		if len(found) > 0 {
			left.Phases = append(left.Phases, Phase{Name: phase.Name, Serial: phase.Serial, Tasks: found})
		}
	}
	return left, nil
}

// readLedgers reads the ledgers of the members, all at once.
func (e *Engine) readLedgers(ctx context.Context, members []Member) error {
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() { _, errs[i] = e.target(ctx, "", m) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pending returns those of a task's steps that do not hold. A step that serves
// another is pending with it.
func (t *target) pending(steps []Step, holds func(*target, Step) (bool, error)) ([]Step, error) {
	todo := map[string]bool{}
	for _, s := range steps {
		if s.With != "" {
			continue
		}
		yes, err := holds(t, s)
		if err != nil {
			return nil, fmt.Errorf("host %s: %s: %w", t.member.Name(), s.ID, err)
		}
		todo[s.ID] = !yes
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s Step) bool { return !todo[cmp.Or(s.With, s.ID)] }), nil
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
	var out Plan
	for _, phase := range p.Phases {
		left := Phase{Name: phase.Name, Serial: phase.Serial}
		for _, task := range phase.Tasks {
			if steps := slices.DeleteFunc(slices.Clone(task.Steps), unused); len(steps) > 0 {
				left.Tasks = append(left.Tasks, Task{Member: task.Member, Steps: steps})
			}
		}
		if len(left.Tasks) > 0 {
			out.Phases = append(out.Phases, left)
		}
	}
	return out, nil
}
