package runtime

import (
	"fmt"
	"slices"
)

// Reset plans removing the cluster: the nodes at once, then the masters from
// the last to the first. Forced, it leaves out the hosts that do not answer.
func (r *Runtime) Reset() (Plan, error) {
	if silent := len(r.cluster.Members) - len(r.cluster.up(r.cluster.Members)); silent > 0 && !r.force {
		return Plan{}, fmt.Errorf("%s %s not answer: a cluster is reset when all its hosts do (--force resets those that do, and names the others)", count(silent, "host"), verb(silent, "does", "do"))
	}
	nodes, err := each(r.cluster.up(r.cluster.Nodes()), r.clean)
	if err != nil {
		return Plan{}, err
	}
	masters := r.cluster.up(r.cluster.Masters())
	slices.Reverse(masters)
	tasks, err := each(masters, r.clean)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Phases: []Phase{{Name: "reset nodes", Policy: Despite, Tasks: nodes}, {Name: "reset masters", Serial: true, Policy: Despite, Tasks: tasks}}}, nil
}

// clean takes back from a host what was done to it.
func (r *Runtime) clean(m Member) ([]Step, error) {
	before, err := r.cluster.HookSteps(HookPreReset, m, r.kubeconfigOn(m), r.cluster.Images...)
	if err != nil {
		return nil, err
	}
	// what undo removes are also the hooks themselves
	after, err := r.cluster.HookSteps(HookPostReset, m, "", r.cluster.Images...)
	var kill []Step
	if killer, ok := r.driver.(Killer); ok && r.force {
		kill = killer.Kill(r.cluster, m)
	}
	own := r.despite(slices.Concat(kill, r.driver.Reset(r.cluster, m)))
	return slices.Concat(before, own, after, []Step{{ID: "undo", Do: Undo{}}}), err
}

// cleanForgotten is clean for a host that the cluster has forgotten: forced, it
// does what can be done there, and tells what cannot.
func (r *Runtime) cleanForgotten(m Member) ([]Step, error) {
	steps, err := r.clean(m)
	return r.despite(steps), err
}

// despite has a forced plan go on when one of the steps fails.
func (r *Runtime) despite(steps []Step) []Step {
	for i := range steps {
		steps[i].Tolerate = steps[i].Tolerate || r.force
	}
	return steps
}
