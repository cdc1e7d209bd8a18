package runtime

import (
	"fmt"
	"slices"
	"time"
)

// Upgrade plans the move to another rootfs image: a snapshot is taken and the
// image delivered to all hosts; then the masters move one after another, each
// Ready before the next, then the nodes in batches, emptied of pods. What fails
// stops the rest, and the same plan again goes on there.
func (r *Runtime) Upgrade(to Image) (Plan, error) {
	up, ok := r.driver.(Upgrader)
	if !ok {
		return Plan{}, r.unsupported("upgrading")
	}
	next := *r.cluster
	next.Images = append([]Image{to}, r.cluster.Images[1:]...)
	if err := next.check(); err != nil {
		return Plan{}, err
	}
	to = next.Image() // with the config documents in its files
	if err := up.CheckUpgrade(r.cluster, to); err != nil {
		return Plan{}, fmt.Errorf("upgrade to %s: %w", to.Ref.Familiar(), err)
	}
	if silent := len(r.cluster.Members) - len(r.cluster.up(r.cluster.Members)); silent > 0 {
		return Plan{}, fmt.Errorf("%s %s not answer: an upgrade needs all of them, or delete those that are gone (sealrt delete --force)", count(silent, "host"), verb(silent, "does", "do"))
	}
	n := &Runtime{cluster: &next, driver: r.driver, force: r.force}
	send, err := n.deliverImages(next.Members, next.Images...)
	if err != nil {
		return Plan{}, err
	}
	stage, err := each(next.Members, func(Member) ([]Step, error) { return r.driver.Import(&next, to), nil })
	if err != nil {
		return Plan{}, err
	}
	before, err := n.hookPhase(HookPreUpgrade, next.Members, next.Images...)
	if err != nil {
		return Plan{}, err
	}
	after, err := n.hookPhase(HookPostUpgrade, next.Members, next.Images...)
	if err != nil {
		return Plan{}, err
	}
	plan := n.awaitReady("before", next.Members).Then(n.onActing("snapshot", up.Snapshot(r.cluster, to))).Then(send).Then(before).Then(Plan{Phases: []Phase{{Name: "stage", Tasks: stage}}})
	masters, err := n.upgradeMasters(up, r.cluster, to)
	if err != nil {
		return Plan{}, err
	}
	nodes, err := n.upgradeNodes(up, r.cluster, to)
	if err != nil {
		return Plan{}, err
	}
	objects, err := n.objects()
	if err != nil {
		return Plan{}, err
	}
	plan = plan.Then(masters).Then(nodes).Then(n.onActing("objects", objects)).Then(n.onActing("settle", r.driver.Settled(&next))).Then(after)
	shown, err := n.published(&next)
	return plan.Then(shown).Then(n.discard(r.cluster)).Then(n.tidy(next.Members)).strict(), err
}

// discard removes what hosts keep of the image that the cluster was made of.
func (r *Runtime) discard(from *Cluster) Plan {
	d, ok := r.driver.(Discarder)
	if !ok || from.Image().Digest == r.cluster.Image().Digest {
		return Plan{}
	}
	var tasks []Task
	for _, m := range r.cluster.Members {
		if steps := d.Discard(from, r.cluster, m); len(steps) > 0 {
			tasks = append(tasks, Task{Member: m, Steps: steps})
		}
	}
	if len(tasks) == 0 {
		return Plan{}
	}
	return Plan{Phases: []Phase{{Name: "discard", Tasks: tasks}}}
}

// upgradeMasters moves the masters, the acting one last: it answers for the
// others.
func (r *Runtime) upgradeMasters(up Upgrader, from *Cluster, to Image) (Plan, error) {
	acting := r.cluster.ActingMaster()
	masters := slices.DeleteFunc(r.cluster.Masters(), func(m Member) bool { return m.Address == acting.Address })
	var plan Plan
	for _, m := range append(masters, acting) {
		steps, err := r.move(up, from, to, m)
		if err != nil {
			return Plan{}, err
		}
		gate, err := r.upgraded(up, []Member{m})
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(r.on(m, "upgrade master", steps)).Then(gate)
	}
	return plan, nil
}

// upgradeNodes moves the nodes, spec.batch at a time.
func (r *Runtime) upgradeNodes(up Upgrader, from *Cluster, to Image) (Plan, error) {
	var plan Plan
	for batch := range slices.Chunk(r.cluster.Nodes(), max(1, r.cluster.Batch)) {
		tasks, err := each(batch, func(m Member) ([]Step, error) { return r.move(up, from, to, m) })
		if err != nil {
			return Plan{}, err
		}
		gate, err := r.upgraded(up, batch)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(r.onActing("drain", r.emptied(up, batch, to))).
			Then(Plan{Phases: []Phase{{Name: "upgrade nodes", Tasks: tasks}}}).
			Then(gate).
			Then(r.onActing("uncordon", r.uncordon(batch, to)))
	}
	return plan, nil
}

// move is what one host does. All that it gets beside the driver's steps comes
// before these, which start the new program with it.
func (r *Runtime) move(up Upgrader, from *Cluster, to Image, m Member) ([]Step, error) {
	own, err := up.Upgrade(from, r.cluster, m)
	if err != nil {
		return nil, fmt.Errorf("%s: upgrade to %s: %w", m.Name(), to.Ref.Familiar(), err)
	}
	before, after, err := r.around(m, own)
	if err != nil {
		return nil, fmt.Errorf("%s: upgrade to %s: %w", m.Name(), to.Ref.Familiar(), err)
	}
	return slices.Concat(before, after, own, []Step{{ID: movedTo(to), Do: Mark{"moved to " + to.Ref.Familiar()}}}), nil
}

// movedTo is the ID of the mark in the ledger of a host that got an image by an
// upgrade. What the image does where it is installed is not done there.
func movedTo(i Image) string { return "moved to " + short(i.Digest) }

// upgraded is the gate behind members that have moved: they are Ready again,
// in the new version.
func (r *Runtime) upgraded(up Upgrader, members []Member) (Plan, error) {
	var steps []Step
	for _, m := range members {
		steps = append(steps, up.Moved(r.cluster, m)...)
	}
	ready, err := r.ready(members)
	return r.onActing("moved", steps).Then(ready), err
}

// emptied moves the pods away from nodes that are to be upgraded: those that
// are upgraded already keep theirs. The mark makes each upgrade a drain of its
// own in the ledger.
func (r *Runtime) emptied(up Upgrader, nodes []Member, to Image) []Step {
	limit := timeout(r.cluster.Timeouts.Drain, drainTimeout)
	var steps []Step
	for _, m := range nodes {
		argv := r.driver.Kubectl("drain", m.Hostname, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout="+limit.String())
		steps = append(steps, Step{ID: "upgrade drain " + m.Hostname, For: StepRef{Address: m.Address, ID: up.MovedBy(m)},
			Do: Exec{Argv: argv, Env: []string{upgradeMark + to.Digest}, Timeout: limit + 30*time.Second, Tolerate: r.force, Empties: r.emptying(m)}})
	}
	return steps
}

func (r *Runtime) uncordon(nodes []Member, to Image) []Step {
	var steps []Step
	for _, m := range nodes {
		steps = append(steps, Step{ID: "upgrade uncordon " + m.Hostname,
			Do: Exec{Argv: r.driver.Kubectl("uncordon", m.Hostname), Env: []string{upgradeMark + to.Digest}, Timeout: leaveTimeout, Retry: true}})
	}
	return steps
}

// upgradeMark tells the commands of one upgrade from those of another.
const upgradeMark = "SEALRT_UPGRADE="
