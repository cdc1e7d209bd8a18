package runtime

import (
	"fmt"
	"io"
	"slices"
)

// Plan is what an operation will do, in order: phase after phase.
type Plan struct {
	Phases []Phase
}

// Phase is a part of a plan whose hosts do not wait for each other. Serial
// phases take their hosts one after another and stop at the first failure.
type Phase struct {
	Name   string
	Serial bool
	Policy Policy `json:",omitempty"`
	Tasks  []Task
}

// Policy says what follows when a host fails in a phase.
type Policy string

// The policies. The usual one ends the plan after a phase in which a master
// failed, and goes on without a node that did.
const (
	Usual   Policy = ""
	Gate    Policy = "gate"    // nothing comes after a phase in which any host failed
	Despite Policy = "despite" // the other hosts go on, masters too
)

// strict is the plan with a gate behind every phase.
func (p Plan) strict() Plan {
	out := Plan{Phases: slices.Clone(p.Phases)}
	for i := range out.Phases {
		out.Phases[i].Policy = Gate
	}
	return out
}

// empty returns the phase without its tasks.
func (p Phase) empty() Phase {
	p.Tasks = nil
	return p
}

// Task is what one host does in a phase, step after step.
type Task struct {
	Member Member
	Steps  []Step
}

// WriteTo prints the plan, a line for each step, as a dry run shows it. It
// prints the very values that the engine carries out.
func (p Plan) WriteTo(w io.Writer) (int64, error) {
	var n int64
	print := func(format string, args ...any) error {
		k, err := fmt.Fprintf(w, format, args...)
		n += int64(k)
		return err
	}
	for _, phase := range p.Phases {
		how := "hosts at once"
		if phase.Serial {
			how = "one host after another"
		}
		if err := print("%s (%s)\n", phase.Name, how); err != nil {
			return n, err
		}
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if err := print("  %s  %s\n", task.Member.Name(), s.Do); err != nil {
					return n, err
				}
			}
		}
	}
	return n, nil
}

// Hosts returns the members that the plan changes, each once, in the order
// they first appear.
func (p Plan) Hosts() []Member {
	var out []Member
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			if !slices.ContainsFunc(out, func(m Member) bool { return m.Address == task.Member.Address }) {
				out = append(out, task.Member)
			}
		}
	}
	return out
}

// Then returns the phases of p followed by those of q.
func (p Plan) Then(q Plan) Plan {
	return Plan{Phases: slices.Concat(p.Phases, q.Phases)}
}

// each makes a task for every member.
func each(members []Member, steps func(Member) ([]Step, error)) ([]Task, error) {
	var out []Task
	for _, m := range members {
		s, err := steps(m)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name(), err)
		}
		if len(s) > 0 {
			out = append(out, Task{Member: m, Steps: s})
		}
	}
	return out, nil
}
