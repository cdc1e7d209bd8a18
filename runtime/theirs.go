package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Check asks all hosts of the plan, at once, whether a path that the plan would
// make is there already and is not ours. All of them are in the error. It
// changes nothing.
func (e *Engine) Check(ctx context.Context, p Plan) error {
	members := p.Hosts()
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		wg.Go(func() {
			t, err := e.target(ctx, "check", m)
			if err != nil {
				errs[i] = err
				return
			}
			if err := t.foreign(ctx, p.makes(m)); err != nil {
				errs[i] = fmt.Errorf("host %s: %w", m.Name(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// makes returns the paths that must not be somebody else's when the plan runs
// on the member.
func (p Plan) makes(m Member) []string {
	var out []string
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			if task.Member.Address != m.Address {
				continue
			}
			for _, s := range task.Steps {
				if _, ok := s.Do.(claimer); ok {
					f := s.Do.footprint()
					out = append(append(out, f.Paths...), f.Trees...)
				}
			}
		}
	}
	return out
}
