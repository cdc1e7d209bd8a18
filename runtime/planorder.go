package runtime

import "fmt"

// stepKey names a step of a plan.
type stepKey struct {
	address, id string
	nth         int
}

// key names the step on a host.
func (s Step) key(address string) stepKey { return stepKey{address, s.ID, s.Nth} }

// numbered tells the steps of one ID on a host apart, as a plan has them that was
// put together of several. What would be done twice in the same way is left out
// the second time.
func (p Plan) numbered() (Plan, error) {
	type last struct {
		nth  int
		hash string
	}
	seen := map[StepRef]last{}
	var out Plan
	for _, phase := range p.Phases {
		left := phase.empty()
		for _, task := range phase.Tasks {
			kept := Task{Member: task.Member}
			for _, s := range task.Steps {
				hash, err := s.hash()
				if err != nil {
					return Plan{}, fmt.Errorf("host %s: %w", task.Member.Name(), err)
				}
				ref := StepRef{task.Member.Address, s.ID}
				was, again := seen[ref]
				switch {
				case again && was.hash == hash && !everyTime(s.Do):
					continue
				case again:
					was.nth++
				}
				was.hash, s.Nth = hash, was.nth
				seen[ref] = was
				kept.Steps = append(kept.Steps, s)
			}
			if len(kept.Steps) > 0 {
				left.Tasks = append(left.Tasks, kept)
			}
		}
		if len(left.Tasks) > 0 {
			out.Phases = append(out.Phases, left)
		}
	}
	return out, nil
}

// everyTime says which actions mean something each time that they are in a plan.
func everyTime(a Action) bool {
	switch a := a.(type) {
	case Await, Present, Remove, Flush, Undo:
		return true
	case Exec:
		return a.Always || a.Capture != ""
	}
	return false
}

// settled takes the reason from those steps after which another of the same ID
// was done already: the plan came farther when it was carried out before.
func settled(steps []Step, reasons map[stepKey]string, address string) {
	for i, s := range steps {
		if s.Nth == 0 || reasons[s.key(address)] != "" || everyTime(s.Do) {
			continue
		}
		for _, before := range steps[:i] {
			if before.ID == s.ID {
				reasons[before.key(address)] = ""
			}
		}
	}
}

// steps returns the steps of a plan.
func (p Plan) steps() map[stepKey]Step {
	steps := map[stepKey]Step{}
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				steps[s.key(task.Member.Address)] = s
			}
		}
	}
	return steps
}

// has reports whether a step is in the plan.
func (p Plan) has(ref StepRef) bool {
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if task.Member.Address == ref.Address && s.ID == ref.ID {
					return true
				}
			}
		}
	}
	return false
}
