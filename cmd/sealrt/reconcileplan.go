package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
)

// plan is what makes the cluster what it is to be: hosts that are gone from the
// file leave, another image is an upgrade of those that stay, and the rest is a
// creation of which the steps that hold fall away.
func (r *reconciled) plan(ctx context.Context) (runtime.Plan, error) {
	made, err := loadImages(r.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return runtime.Plan{}, err
	}
	if r.before == nil || len(made) == 0 {
		return r.planToCreate(ctx, r.checks)
	}
	stands, err := r.stands()
	if err != nil {
		return runtime.Plan{}, err
	}
	if !stands { // what was never made cannot be upgraded
		if err := sameImage(r.state, r.cluster); err != nil {
			return runtime.Plan{}, err
		}
	}
	var lacks map[string]int64
	moves := made[0].Digest != r.cluster.Image().Digest
	if moves {
		if m := r.cluster.ActingMaster(); r.hosts[m.Address] != nil && r.answers(ctx, m) != nil {
			if _, err := r.revive(ctx, nil); err != nil {
				return runtime.Plan{}, err
			}
		}
		moved, err := r.planToUpgrade(made)
		if err != nil {
			return runtime.Plan{}, err
		}
		if lacks, err = r.lacks(ctx, r.cluster.Image(), moved); err != nil {
			return runtime.Plan{}, err
		}
	}
	fixes, err := r.preflight(ctx, r.cluster, r.checks, lacks)
	plan, err := r.checked(ctx, err, func() (runtime.Plan, error) { return r.change(made, moves) })
	return fixes.Then(plan), err
}

// change plans what becomes of a cluster that is there, with what preflight has
// learnt of its hosts.
func (r *reconciled) change(made []madeOf, moves bool) (runtime.Plan, error) {
	parts := []func() (runtime.Plan, error){func() (runtime.Plan, error) { return r.planToLeave(made) }, r.create, r.relabel}
	if moves {
		parts = slices.Insert(parts, 1, func() (runtime.Plan, error) { return r.planToUpgrade(made) })
	}
	var plan runtime.Plan
	for _, part := range parts {
		next, err := part()
		if err != nil {
			return runtime.Plan{}, err
		}
		plan = plan.Then(next)
	}
	return plan, nil
}

// relabel gives the nodes of hosts that stay their new labels and taints. Until
// that is done the state has the old ones.
func (r *reconciled) relabel() (runtime.Plan, error) {
	before, err := runtime.MembersOf(r.before.Spec)
	if err != nil {
		return runtime.Plan{}, err
	}
	life, err := runtime.New(r.cluster, r.driver)
	if err != nil {
		return runtime.Plan{}, err
	}
	r.labelled = before
	return life.Relabel(before), nil
}

// asItWas is the life cycle of the cluster before it changes.
func (r *reconciled) asItWas(made []madeOf) (*runtime.Runtime, error) {
	members, err := runtime.MembersOf(r.before.Spec)
	if err != nil {
		return nil, err
	}
	was := &runtime.Cluster{Spec: r.before.Spec, Name: r.cluster.Name, Members: members, Acting: r.cluster.ActingMaster().Address, Voted: r.cluster.Voted}
	for i, m := range members { // they are reached as the file says now
		for _, n := range r.cluster.Members {
			if n.Name() == m.Name() {
				members[i].Address, members[i].SSH = n.Address, n.SSH
			}
		}
	}
	r.env.reveals(was)
	for _, m := range made {
		was.Images = append(was.Images, runtime.Image{Ref: m.Ref, Digest: m.Digest, Kind: m.Kind, Config: m.Config, Service: m.Service, Brought: m.Brought})
	}
	driver, err := distros.New(was.Image())
	if err != nil {
		return nil, err
	}
	return runtime.New(was, driver)
}

// planToUpgrade moves the hosts that stay to the image, with the settings that the
// file says.
func (r *reconciled) planToUpgrade(made []madeOf) (runtime.Plan, error) {
	stay := *r.cluster.Without(r.fresh)
	stay.Images = append([]runtime.Image{made[0].image()}, r.cluster.Images[1:]...)
	r.until, r.later = stay.Images, r.fresh
	var err error
	if stay.Scripts, err = readHooks(stay.Hooks, r.readNamed); err != nil {
		return runtime.Plan{}, err
	}
	if err := stay.PrepareImageService(r, time.Now(), false); err != nil {
		return runtime.Plan{}, err
	}
	driver, err := distros.New(stay.Image())
	if err != nil {
		return runtime.Plan{}, err
	}
	life, err := runtime.New(&stay, driver)
	if err != nil {
		return runtime.Plan{}, err
	}
	r.upgrading(&stay, r.cluster.Image())
	return life.Upgrade(r.cluster.Image())
}

// hostNames lists hosts for reading.
func hostNames(members []runtime.Member) string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name())
	}
	return strings.Join(out, ", ")
}

// planToLeave takes the hosts out of the cluster that the file does not name any
// more, nodes first.
func (r *reconciled) planToLeave(made []madeOf) (runtime.Plan, error) {
	if len(r.leaving) == 0 {
		return runtime.Plan{}, nil
	}
	for _, m := range r.leaving {
		if r.hosts[m.Address] == nil {
			return runtime.Plan{}, fmt.Errorf("host %s is to leave and does not answer: mend that, or have the cluster forget it without cleaning it: sealrt delete --%ss %s --force --cluster %s", m.Name(), m.Role, m.Name(), r.cluster.Name)
		}
	}
	life, err := r.asItWas(made)
	if err != nil {
		return runtime.Plan{}, err
	}
	byRole := map[runtime.Role][]runtime.Member{}
	for _, m := range r.leaving {
		byRole[m.Role] = append(byRole[m.Role], m)
	}
	var plan runtime.Plan
	for _, part := range []struct {
		role   runtime.Role
		delete func([]runtime.Member) (runtime.Plan, error)
	}{{runtime.Node, life.DeleteNodes}, {runtime.Master, life.DeleteMasters}} {
		if len(byRole[part.role]) == 0 {
			continue
		}
		next, err := part.delete(byRole[part.role])
		if err != nil {
			return runtime.Plan{}, err
		}
		plan = plan.Then(next)
	}
	return plan, nil
}
