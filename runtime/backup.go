package runtime

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kept is what a driver kept of a cluster's data, in a directory of a master's
// host.
type Kept struct {
	Dir  string `json:"dir"`
	Form string `json:"form"` // the driver's own word for what is in it
}

// Unknown is the error about data in a form that a driver does not know.
func (k Kept) Unknown() error {
	return fmt.Errorf("the data was kept as %q, which this sealrt does not know: restore it with the one that kept it", k.Form)
}

// Backuper is a driver that can keep all that a cluster knows.
type Backuper interface {
	// Backup runs on the acting master and puts into a directory, which is not
	// there, what a restore needs: the data, and what opens it. It returns the
	// form in which that lies there. Where it cannot, the error says what else
	// is to be done.
	Backup(c *Cluster, dir string) (form string, steps []Step, err error)
}

// Restorer is a driver that can put back what its Backup kept. Its steps are
// done once for each restore.
type Restorer interface {
	// Halt ends the distribution's software on a host, with all pods.
	Halt(c *Cluster, m Member) []Step
	// Restore runs on the master that has what was kept, which is halted and
	// prepared. Behind it the master serves, and is alone.
	Restore(c *Cluster, m Member, from Kept) ([]Step, error)
	// Readmit runs there when the cluster answers: it lets the members join
	// whatever the data says of hosts of their names.
	Readmit(c *Cluster, members []Member) []Step
	// Rejoin has another member, halted and prepared, forget what it had and join.
	Rejoin(c *Cluster, m Member) ([]Step, error)
}

// Rollbacker is a driver that can go back to what Upgrader.Snapshot kept.
type Rollbacker interface {
	Upgrader
	Restorer
	// Snapshotted is what Snapshot keeps before the cluster goes to an image. A
	// cluster of which it keeps nothing is an error, which says what to do.
	Snapshotted(c *Cluster, to Image) (Kept, error)
	// Return takes from a host what an upgrade to the image brought and brings
	// back what it took, beside what Prepare does.
	Return(c *Cluster, from Image, m Member) []Step
}

// Restoration says what is put back.
type Restoration struct {
	Kept
	On        Member   // the master that has it
	Operation string   // tells this restore from others; the same again goes on with it
	Gone      []string // nodes that the data may know and that are no members
	Discard   bool     // Dir is removed in the end
}

// Backup plans to keep, in a directory of the acting master, what a restore
// needs. Operation tells it from other backups.
func (r *Runtime) Backup(dir, operation string) (Plan, Kept, error) {
	b, ok := r.driver.(Backuper)
	if !ok {
		return Plan{}, Kept{}, r.unsupported("backup")
	}
	form, steps, err := b.Backup(r.cluster, dir)
	if err != nil {
		return Plan{}, Kept{}, fmt.Errorf("cluster %s: %w", r.cluster.Name, err)
	}
	return r.onActing("backup", during(operation, steps)).strict(), Kept{Dir: dir, Form: form}, nil
}

// Discard plans to remove from the acting master what a backup put there.
func (r *Runtime) Discard(kept Kept) Plan {
	return r.onActing("discard", []Step{{ID: "discard the copy", Do: Remove{Paths: []string{kept.Dir}}}})
}

// Restore plans to put back what a backup kept, on hosts that have the cluster
// or on others: everything is halted and prepared, the data goes to one master,
// and all others join that one again.
func (r *Runtime) Restore(from Restoration) (Plan, error) {
	back, ok := r.driver.(Restorer)
	if !ok {
		return Plan{}, r.unsupported("restoring a backup")
	}
	return r.restored(back, from, nil)
}

// Rollback plans to go back to this cluster from an image that it was upgraded
// to, whole or half way.
func (r *Runtime) Rollback(from Restoration, upgraded Image) (Plan, error) {
	back, ok := r.driver.(Rollbacker)
	if !ok {
		return Plan{}, r.unsupported("going back to the version before an upgrade")
	}
	plan, err := r.restored(back, from, func(m Member) []Step { return back.Return(r.cluster, upgraded, m) })
	if err != nil {
		return Plan{}, err
	}
	return plan.Then(r.takenBack(back, from.Operation, upgraded)).strict(), nil
}

// restored plans what is common to a restore and a rollback, for which extra is
// done on each host that is prepared.
func (r *Runtime) restored(back Restorer, from Restoration, extra func(Member) []Step) (Plan, error) {
	if from.Operation == "" || from.Dir == "" {
		return Plan{}, errors.New("restore: it is not said what is restored")
	}
	if down := len(r.cluster.Members) - len(r.cluster.up(r.cluster.Members)); down > 0 {
		return Plan{}, fmt.Errorf("%s %s not answer: all have to stop before data is put back, or delete those that are gone (sealrt delete --force)", count(down, "host"), verb(down, "does", "do"))
	}
	next := *r.cluster
	next.Acting = from.On.Address
	r = &Runtime{cluster: &next, driver: r.driver, force: r.force}
	halt, err := each(next.Members, func(m Member) ([]Step, error) { return during(from.Operation, back.Halt(&next, m)), nil })
	if err != nil {
		return Plan{}, err
	}
	send, err := r.deliver(next.Members)
	if err != nil {
		return Plan{}, err
	}
	if extra != nil {
		tasks, err := each(next.Members, func(m Member) ([]Step, error) { return during(from.Operation, extra(m)), nil })
		if err != nil {
			return Plan{}, err
		}
		send = send.Then(Plan{Phases: []Phase{{Name: "return", Tasks: tasks}}})
	}
	// nothing runs while programs are replaced, and all images are there before anything stops
	at := slices.IndexFunc(send.Phases, func(p Phase) bool { return p.Name == preparePhase })
	plan := Plan{Phases: slices.Insert(slices.Clone(send.Phases), at, Phase{Name: "halt", Tasks: halt})}
	members, err := r.comeBack(back, from)
	if err != nil {
		return Plan{}, err
	}
	hooks, err := r.hookPhase(HookPostInstall, next.Members, next.Image())
	if err != nil {
		return Plan{}, err
	}
	shown, err := r.publishedAgain(from.Operation)
	if err != nil {
		return Plan{}, err
	}
	plan = plan.Then(members).Then(r.onActing("settle", r.driver.Settled(&next))).Then(hooks).Then(shown).Then(r.tidy(next.Members))
	if from.Discard {
		plan = plan.Then(r.Discard(from.Kept))
	}
	return plan.strict(), nil
}

// preparePhase is the phase in which hosts get what they begin or join with.
const preparePhase = "prepare"

// comeBack puts the data back on one master and lets the other members join it:
// the masters one after another, then the nodes.
func (r *Runtime) comeBack(back Restorer, from Restoration) (Plan, error) {
	first := r.cluster.ActingMaster()
	steps, err := back.Restore(r.cluster, first, from.Kept)
	if err != nil {
		return Plan{}, fmt.Errorf("%s: %w", first.Name(), err)
	}
	answers := Step{ID: "the restored cluster answers", Do: Await{Argv: r.driver.Kubectl("get", "--raw", "/readyz"), Timeout: readyTimeout}}
	plan := r.onActing("restore", during(from.Operation, steps)).Then(r.onActing("answer", []Step{answers})).
		Then(r.onActing("readmit", during(from.Operation, append(back.Readmit(r.cluster, r.cluster.Members), r.sweep(from.Gone)...))))
	ready, err := r.ready([]Member{first})
	if err != nil {
		return Plan{}, err
	}
	plan = plan.Then(ready)
	for _, m := range r.cluster.Masters() {
		if m.Address == first.Address {
			continue
		}
		joined, err := r.rejoin(back, from, "rejoin master", []Member{m})
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(joined)
		if joiner, ok := r.driver.(MasterJoiner); ok {
			plan = plan.Then(r.onActing("vote", joiner.Voting(r.cluster, m)))
		}
	}
	for batch := range slices.Chunk(r.cluster.Nodes(), joinBatch) {
		joined, err := r.rejoin(back, from, "rejoin nodes", batch)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(joined)
	}
	return plan, nil
}

// rejoin has members join again, and waits for them.
func (r *Runtime) rejoin(back Restorer, from Restoration, name string, members []Member) (Plan, error) {
	tasks, err := each(members, func(m Member) ([]Step, error) {
		steps, err := back.Rejoin(r.cluster, m)
		return during(from.Operation, steps), err
	})
	if err != nil {
		return Plan{}, err
	}
	ready, err := r.ready(members)
	grant := r.onActing("grant", r.driver.Grant(r.cluster))
	return grant.Then(Plan{Phases: []Phase{{Name: name, Tasks: tasks}}}).Then(ready).Then(r.revoke(members, true)), err
}

// publishedAgain shows the Clusterfile once more: the data has it as it was then.
func (r *Runtime) publishedAgain(operation string) (Plan, error) {
	const again = "publish again"
	steps, err := Publish(r.cluster, r.driver.Kubectl)
	for i := range steps {
		steps[i].With = again
	}
	mark := Step{ID: again, Operation: operation, Do: Mark{"the Clusterfile is shown in the restored cluster"}}
	return r.onActing("publish", append([]Step{mark}, steps...)), err
}

// sweep deletes the nodes of hosts that the cluster does not have any more.
func (r *Runtime) sweep(gone []string) []Step {
	var steps []Step
	for _, name := range gone {
		steps = append(steps, Step{ID: "forget node " + name, Do: Exec{
			Argv: r.driver.Kubectl("delete", "node", name, "--ignore-not-found"), Timeout: leaveTimeout, Retry: true,
		}})
	}
	return steps
}

// takenBack records on the masters that the snapshot of an upgrade was used and
// that the nodes were not emptied for it, and on all hosts that what was staged is
// gone: another upgrade does all of it again.
func (r *Runtime) takenBack(up Upgrader, operation string, upgraded Image) Plan {
	steps := slices.Concat(up.Snapshot(r.cluster, upgraded), r.emptied(up, r.cluster.Nodes(), upgraded), r.uncordon(r.cluster.Nodes(), upgraded))
	if len(upgraded.Images) == 0 {
		upgraded.Images = r.cluster.Image().Images // what is known of it does not name them, and the step is the same
	}
	next := *r.cluster
	next.Images = append([]Image{upgraded}, r.cluster.Images[1:]...)
	staged := r.driver.Import(&next, upgraded)
	var tasks []Task
	for _, m := range r.cluster.Members {
		of := staged
		if m.Role == Master {
			of = slices.Concat(steps, staged)
		}
		var marks []Step
		for _, s := range of {
			if s.With == "" {
				marks = append(marks, Step{ID: s.ID, Do: Mark{"taken back by a rollback"}})
			}
		}
		if len(marks) > 0 {
			tasks = append(tasks, Task{Member: m, Steps: during(operation, marks)})
		}
	}
	return Plan{Phases: []Phase{{Name: "take back", Tasks: tasks}}}
}

// during makes steps that are done once for an operation. Those that serve
// another one are done with it, and those that ask the host stay as they are.
func during(operation string, steps []Step) []Step {
	out := slices.Clone(steps)
	for i, s := range out {
		switch s.Do.(type) {
		case Exec, Write, Mark, Feed:
			if s.With == "" {
				out[i].Operation = operation
			}
		}
	}
	return out
}

// Lost names what a restore takes away: hosts that are known to what was kept and
// no members any more.
func Lost(known []string, c *Cluster) []string {
	var out []string
	for _, name := range known {
		if !slices.ContainsFunc(c.Members, func(m Member) bool { return strings.EqualFold(m.Hostname, name) }) {
			out = append(out, name)
		}
	}
	return out
}
