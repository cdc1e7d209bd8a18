package runtime

import (
	"errors"
	"fmt"
	"slices"
)

// joinBatch is how many nodes join at a time: what a control plane takes
// (https://docs.k3s.io/installation/requirements, "Large Clusters").
const joinBatch = 50

// JoinMasters plans adding masters one after another, each serving, and voting,
// before the next begins.
func (r *Runtime) JoinMasters(masters []Member) (Plan, error) {
	joiner, ok := r.driver.(MasterJoiner)
	if !ok {
		return Plan{}, r.unsupported("more than one master")
	}
	if err := r.enoughVoters(); err != nil {
		return Plan{}, err
	}
	plan, err := r.deliver(masters)
	if err != nil {
		return Plan{}, err
	}
	joined, err := r.admitMasters(masters)
	if err != nil {
		return Plan{}, err
	}
	told, err := r.locate(r.cluster, r.cluster.Without(masters).Members)
	if err != nil {
		return Plan{}, err
	}
	done, err := r.installed(masters)
	return plan.Then(r.onActing("welcome", joiner.Welcome(r.cluster))).Then(joined).Then(told).Then(done), err
}

// enoughVoters refuses two masters that vote: when one of them is lost, both
// are.
func (r *Runtime) enoughVoters() error {
	leaver, ok := r.driver.(Leaver)
	if !ok || r.force || !leaver.Votes(r.cluster) || len(r.cluster.Masters()) != 2 {
		return nil
	}
	return errors.New("two masters are worse than one: when either is lost, no majority of 2 is left: name one master or three (--force goes on with two)")
}

// Advice is what speaks against the cluster and does not forbid it.
func (r *Runtime) Advice() []string {
	leaver, ok := r.driver.(Leaver)
	n := len(r.cluster.Masters())
	if !ok || n%2 == 1 || !leaver.Votes(r.cluster) {
		return nil
	}
	return []string{fmt.Sprintf("%d masters outlive the loss of no more masters than %d do: an odd number is better", n, n-1)}
}

// JoinNodes plans adding nodes, at most 50 at a time.
func (r *Runtime) JoinNodes(nodes []Member) (Plan, error) {
	plan, err := r.deliver(nodes)
	if err != nil {
		return Plan{}, err
	}
	joined, err := r.admitNodes(nodes)
	if err != nil {
		return Plan{}, err
	}
	done, err := r.installed(nodes)
	return plan.Then(joined).Then(done), err
}

// installed ends the joining of members.
func (r *Runtime) installed(members []Member) (Plan, error) {
	hooks, err := r.hookPhase(HookPostInstall, members, r.cluster.Image())
	if err != nil {
		return Plan{}, err
	}
	shown, err := r.published(r.cluster)
	return hooks.Then(shown).Then(r.tidy(members)), err
}

// admitMasters makes masters, one after another, of what was delivered.
func (r *Runtime) admitMasters(masters []Member) (Plan, error) {
	if len(masters) == 0 {
		return Plan{}, nil
	}
	joiner, ok := r.driver.(MasterJoiner)
	if !ok {
		return Plan{}, r.unsupported("more than one master")
	}
	plan := r.onActing("grant", r.grant(masters))
	for _, m := range masters {
		steps, err := joiner.JoinMaster(r.cluster, m)
		if err != nil {
			return Plan{}, fmt.Errorf("%s: %w", m.Name(), err)
		}
		joined, err := r.joining(Plan{}, []Member{m}, r.on(m, "join master", steps))
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(joined).Then(r.onActing("vote", joiner.Voting(r.cluster, m)))
	}
	return plan.Then(r.revoke(masters, false)), nil
}

// admitNodes makes nodes of what was delivered.
func (r *Runtime) admitNodes(nodes []Member) (Plan, error) {
	if len(nodes) == 0 {
		return Plan{}, nil
	}
	var plan Plan
	grant := r.onActing("grant", r.grant(nodes))
	for batch := range slices.Chunk(nodes, joinBatch) {
		tasks, err := each(batch, func(m Member) ([]Step, error) { return r.driver.JoinNode(r.cluster, m) })
		if err != nil {
			return Plan{}, err
		}
		joined, err := r.joining(grant, batch, Plan{Phases: []Phase{{Name: "join nodes", Tasks: tasks}}})
		if err != nil {
			return Plan{}, err
		}
		plan, grant = plan.Then(joined), Plan{}
	}
	return plan.Then(r.revoke(nodes, false)), nil
}

// joining lets members join, with the hooks around it. What is granted lives
// only for a while and comes after the first hooks.
func (r *Runtime) joining(grant Plan, members []Member, join Plan) (Plan, error) {
	before, err := r.hookPhase(HookPreJoin, members, r.cluster.Images...)
	if err != nil {
		return Plan{}, err
	}
	ready, err := r.ready(members)
	if err != nil {
		return Plan{}, err
	}
	after, err := r.hookPhase(HookPostJoin, members, r.cluster.Images...)
	return before.Then(grant).Then(join).Then(ready).Then(after), err
}

// grant makes what the members need to join, and forgets earlier attempts.
func (r *Runtime) grant(members []Member) []Step {
	steps := r.driver.Grant(r.cluster)
	for _, m := range members {
		for _, s := range r.driver.Forget(r.cluster, m) {
			s.About = m.Address
			steps = append(steps, s)
		}
	}
	return steps
}

// revoke takes back what was granted to the members, where any of them joined, and
// once what the host still has of before: a client may have ended when all had
// joined and nothing was taken back yet.
func (r *Runtime) revoke(members []Member, again bool) Plan {
	revoker, ok := r.driver.(Revoker)
	if !ok {
		return Plan{}
	}
	var steps []Step
	for i, m := range members {
		for _, s := range revoker.Revoke(r.cluster) {
			if a, ok := s.Do.(Remove); ok && a.IfAny || s.With != "" {
				if i == len(members)-1 {
					steps = append(steps, s)
				}
				continue
			}
			s.For = StepRef{Address: m.Address, ID: revoker.JoinedBy(again)}
			steps = append(steps, s)
		}
	}
	return r.onActing("revoke", steps)
}
