package runtime

import (
	"fmt"
	"slices"
	"time"
)

const (
	drainTimeout = 5 * time.Minute
	// leaveTimeout is how long the API may take to forget a node.
	leaveTimeout = 2 * time.Minute
)

// DeleteNodes plans taking nodes out of the cluster: each is emptied of pods,
// forgotten by the cluster, and its host cleaned. A host that does not answer
// is refused unless forced; it is then forgotten and not cleaned.
func (r *Runtime) DeleteNodes(nodes []Member) (Plan, error) {
	if err := r.answering(nodes); err != nil {
		return Plan{}, err
	}
	var plan Plan
	for _, m := range nodes {
		gone, err := r.leaving(m, r.forgetNode(m))
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(gone)
	}
	shown, err := r.published(r.cluster.Without(nodes))
	if err != nil {
		return Plan{}, err
	}
	tasks, err := each(r.cluster.up(nodes), r.cleanForgotten)
	if err != nil || len(tasks) == 0 {
		return plan.Then(shown), err
	}
	return plan.Then(Plan{Phases: []Phase{{Name: "clean", Tasks: tasks}}}).Then(shown), nil
}

// DeleteMasters plans taking masters out of the cluster, one after another.
// It refuses when those that vote would lose their majority, before or after.
func (r *Runtime) DeleteMasters(masters []Member) (Plan, error) {
	leaver, ok := r.driver.(Leaver)
	if !ok {
		return Plan{}, r.unsupported("deleting masters")
	}
	if err := r.answering(masters); err != nil {
		return Plan{}, err
	}
	if err := r.quorum(masters, leaver.Votes(r.cluster)); err != nil {
		return Plan{}, err
	}
	rest := r.cluster.Without(masters)
	plan, err := r.locate(rest, rest.Members)
	if err != nil {
		return Plan{}, err
	}
	stay := r.awaitReady("quorum", rest.up(rest.Masters()))
	for _, m := range masters {
		dead := r.cluster.Down[m.Address]
		leave, err := leaver.Leave(r.cluster, m, dead)
		if err != nil {
			return Plan{}, fmt.Errorf("%s: %w", m.Name(), err)
		}
		gone, err := r.leaving(m, leave)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(stay).Then(gone)
		if !dead {
			steps, err := r.cleanForgotten(m)
			if err != nil {
				return Plan{}, err
			}
			plan = plan.Then(r.on(m, "clean", steps))
		}
	}
	shown, err := r.published(rest)
	return plan.Then(stay).Then(shown), err
}

// leaving empties a member of pods and has the cluster forget it, with the
// hooks around that where the host answers.
func (r *Runtime) leaving(m Member, leave []Step) (Plan, error) {
	up := r.cluster.up([]Member{m})
	before, err := r.hookPhase(HookPreDelete, up, r.cluster.Images...)
	if err != nil {
		return Plan{}, err
	}
	after, err := r.hookPhase(HookPostDelete, up, r.cluster.Images...)
	if err != nil {
		return Plan{}, err
	}
	gone := before.Then(r.onActing("drain", r.drain(m))).Then(r.onActing("leave", leave))
	if stopper, ok := r.driver.(Stopper); ok && len(up) > 0 {
		gone = gone.Then(r.on(m, "stop", r.despite(stopper.Stop(r.cluster, m))))
	}
	return gone.Then(after), nil
}

// answering refuses members that do not answer, unless forced.
func (r *Runtime) answering(members []Member) error {
	silent := slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return !r.cluster.Down[m.Address] })
	if len(silent) == 0 || r.force {
		return nil
	}
	return fmt.Errorf("%s %s not answer: mend that, or take it out of the cluster without cleaning it: --force", names(silent), verb(len(silent), "does", "do"))
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// quorum refuses a deletion that the masters which vote would not outlive.
// Members leave one after another, so each of them is counted.
func (r *Runtime) quorum(leaving []Member, votes bool) error {
	masters := r.cluster.Masters()
	n, live := len(masters), len(r.cluster.up(masters))
	if n <= len(leaving) {
		return fmt.Errorf("%s of %s would be deleted: a cluster keeps at least one (remove it as a whole: sealrt reset --cluster %s)", count(len(leaving), "master"), count(n, "master"), r.cluster.Name)
	}
	if live-len(r.cluster.up(leaving)) < 1 {
		return fmt.Errorf("no master that answers would be left of %d", n)
	}
	if !votes {
		return nil
	}
	for _, m := range leaving {
		if need := n/2 + 1; live < need {
			return fmt.Errorf("%d of %s %s: a majority of %d is needed to delete %s: bring a master back first, or restore a backup", live, count(n, "master"), verb(live, "answers", "answer"), need, m.Name())
		}
		n--
		if !r.cluster.Down[m.Address] {
			live--
		}
		if need := n/2 + 1; live < need {
			return fmt.Errorf("without %s %d of %s would answer, and a majority of %d is needed: bring a master back or delete one that is dead first (--force)", m.Name(), live, count(n, "master"), need)
		}
	}
	return nil
}

// drain moves the pods of a member away. A member that the cluster does not
// know has none: a selector that finds nothing is no error. What resists, a
// PodDisruptionBudget for instance, is named.
func (r *Runtime) drain(m Member) []Step {
	if m.Hostname == "" || r.cluster.Down[m.Address] {
		return nil
	}
	limit := timeout(r.cluster.Timeouts.Drain, drainTimeout)
	argv := r.driver.Kubectl("drain", "--selector=kubernetes.io/hostname="+m.Hostname, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+limit.String())
	if r.force {
		argv = append(argv, "--force")
	}
	return []Step{{ID: "drain " + m.Hostname, Do: Exec{Argv: argv, Timeout: limit + 30*time.Second, Tolerate: r.force, Always: true, Empties: r.emptying(m)}}}
}

// forgetNode takes the object of a node away.
func (r *Runtime) forgetNode(m Member) []Step {
	if m.Hostname == "" { // it was never reached, and never joined
		return nil
	}
	argv := r.driver.Kubectl("delete", "node", m.Hostname, "--ignore-not-found")
	return []Step{{ID: "delete node " + m.Hostname, Do: Exec{Argv: argv, Timeout: leaveTimeout, Always: true, Retry: true}}}
}
