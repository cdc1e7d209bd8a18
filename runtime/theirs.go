package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Check asks all hosts of the plan, at once, whether a path that the plan would
// make is there already and is not ours, be it Home itself, and whether there is a helper for a
// host that is to get one. All of them are in the error. It changes nothing.
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
			if err := t.again(ctx, func() error { return t.foreign(ctx, p.makes(m)) }); err != nil {
				errs[i] = fmt.Errorf("host %s: %w", m.Name(), err)
			}
			if err := e.checkHome(ctx, t, p); err != nil {
				errs[i] = errors.Join(errs[i], fmt.Errorf("host %s: %w", m.Name(), err))
			}
			if err := e.checkHelper(ctx, t, p); err != nil {
				errs[i] = errors.Join(errs[i], fmt.Errorf("host %s: %w", m.Name(), err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// checkHome reports that something is where a link is to be.
func (e *Engine) checkHome(ctx context.Context, t *target, p Plan) error {
	for _, s := range p.on(t.member) {
		if a, ok := s.Do.(Relocate); ok {
			_, err := a.free(ctx, t)
			return err
		}
	}
	return nil
}

// checkHelper reports that there is no helper for a host which is to get one.
func (e *Engine) checkHelper(ctx context.Context, t *target, p Plan) error {
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if _, ok := s.Do.(Helper); !ok || task.Member.Address != t.member.Address {
					continue
				}
				platform, err := t.platform(ctx)
				if err == nil {
					_, err = e.helperFor(platform.OS, platform.Architecture)
				}
				return err
			}
		}
	}
	return nil
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
