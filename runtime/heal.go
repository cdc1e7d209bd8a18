package runtime

import (
	"context"
	"errors"
	"slices"
)

// Distrust writes into the ledgers that the steps which made what has drifted
// are done no more, and removes blobs that are damaged: the next run does them
// again.
func (e *Engine) Distrust(ctx context.Context, drifts []Drift) error {
	seen := map[StepRef]bool{}
	var errs []error
	for _, d := range drifts {
		key := StepRef{d.Member.Address, d.Step}
		if seen[key] {
			continue
		}
		seen[key] = true
		t, err := e.target(ctx, "examine", d.Member)
		if err == nil {
			err = t.discard(ctx, d.Step)
		}
		if err == nil {
			err = t.ledger.write(ctx, t.Host, entry{Cluster: e.Cluster, Step: d.Step, State: stateDrifted})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Mending returns those steps of a plan which make again what has drifted, with
// those that serve them, the services that read a file of these when they start,
// and what waits for the hosts afterwards. Hosts on which nothing drifted are
// left out. Also returned are the drifts that are made again, with those services
// among them.
func (p Plan) Mending(drifts []Drift) (Plan, []Drift) {
	steps := p.steps()
	drifts = slices.DeleteFunc(slices.Clone(drifts), func(d Drift) bool {
		_, there := steps[stepKey{address: d.Member.Address, id: d.Step}]
		return !there
	})
	bad, files, hosts := map[stepKey]bool{}, map[stepKey]bool{}, map[string]bool{}
	for _, d := range drifts {
		bad[stepKey{address: d.Member.Address, id: d.Step}] = true
		files[stepKey{address: d.Member.Address, id: d.File}] = d.File != ""
		hosts[d.Member.Address] = true
	}
	for _, m := range p.Hosts() {
		for _, s := range p.on(m) {
			key := stepKey{address: m.Address, id: s.ID}
			reads := func(f string) bool { return files[stepKey{address: m.Address, id: f}] }
			if i := slices.IndexFunc(s.Reads, reads); i >= 0 && !bad[key] {
				bad[key] = true
				drifts = append(drifts, Drift{Member: m, Step: s.ID, What: "may have read another " + s.Reads[i]})
			}
		}
	}
	var out Plan
	for _, phase := range p.Phases {
		left := phase.empty()
		for _, task := range phase.Tasks {
			steps := slices.DeleteFunc(slices.Clone(task.Steps), func(s Step) bool {
				at := task.Member.Address
				return !bad[stepKey{address: at, id: s.ID}] && !bad[stepKey{address: at, id: s.With}] && !bad[stepKey{address: at, id: s.After}] && (!looks(s.Do) || !hosts[s.subject(task.Member)])
			})
			if len(steps) > 0 {
				left.Tasks = append(left.Tasks, Task{Member: task.Member, Steps: steps})
			}
		}
		if len(left.Tasks) > 0 {
			out.Phases = append(out.Phases, left)
		}
	}
	return out, drifts
}
