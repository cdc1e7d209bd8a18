package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

func newDelete(env *environment) *cobra.Command {
	var f memberFlags
	cmd := &cobra.Command{
		Use:   "delete --masters HOST,... | --nodes HOST,...",
		Short: "Take hosts out of a cluster",
		Long: `Take hosts out of a cluster: each is emptied of pods, the cluster forgets it, and
what was made on it is undone. Masters leave one after another, and only while a
majority of them stays. The hosts that are named and one living master have to
be reached.

With --force a host that does not answer is forgotten by the cluster and not
cleaned, and one whose pods cannot be moved, or on which something hangs, is
taken out anyway: what could not be undone there is told.`,
		Example: `  sealrt delete --nodes 10.0.0.7
  sealrt delete --masters 10.0.0.2 --force --yes`,
		Args: needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twice(env, func() error { return remove(cmd.Context(), env, f) })
		},
	}
	f.define(cmd)
	cmd.Flags().StringVar(&f.masters, "masters", "", "`HOSTS` of the control plane to take out")
	cmd.Flags().StringVar(&f.nodes, "nodes", "", "`HOSTS` of the workloads to take out")
	cmd.Flags().BoolVar(&f.force, "force", false, "go on where a host does not answer or pods cannot be moved")
	return cmd
}

func remove(ctx context.Context, env *environment, f memberFlags) error {
	if err := env.catchUp(ctx, f.cluster, f.sshFlags); err != nil {
		return err
	}
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes, k.dry = "delete", f.output, f.yes, f.dryRun
	gone, err := k.chosen(f)
	if err != nil {
		return err
	}
	plan, err := k.planToDelete(ctx, gone, f.force)
	if err != nil {
		return err
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("take %s out of the cluster %s", nameList(gone), f.cluster)); err != nil {
		return err
	}
	k.yes = true
	if err := k.change(ctx, plan, k.cluster.Without(gone)); err != nil {
		return advised(fmt.Errorf("delete from %s: %w", f.cluster, err), "mend the cause and run the same command again; --force goes on where pods cannot be moved or a host does not answer")
	}
	for _, m := range gone {
		if k.cluster.Down[m.Address] {
			env.note("warning: host %s was not cleaned, since it does not answer: when it is back, stop what runs on it and wipe it, or make it anew, before it joins a cluster again", m.Name())
		}
	}
	return nil
}

// leaving finds the members that are named.
func (k *known) chosen(f memberFlags) ([]runtime.Member, error) {
	var out []runtime.Member
	for role, given := range map[runtime.Role]string{runtime.Master: f.masters, runtime.Node: f.nodes} {
		if given == "" {
			continue
		}
		addresses, err := host.ParseAddresses(given)
		if err != nil {
			return nil, usageError{err}
		}
		for _, a := range addresses {
			at := slices.IndexFunc(k.cluster.Members, func(m runtime.Member) bool { return m.Name() == a.Host || m.Hostname == a.Host })
			switch {
			case at < 0:
				return nil, usageError{fmt.Errorf("the cluster %s has no host %s (sealrt status lists them)", k.cluster.Name, a.Host)}
			case k.cluster.Members[at].Role != role:
				return nil, usageError{fmt.Errorf("host %s is a %s: name it with --%ss", a.Host, k.cluster.Members[at].Role, k.cluster.Members[at].Role)}
			}
			out = append(out, k.cluster.Members[at])
		}
	}
	if len(out) == 0 {
		return nil, usageError{errors.New("no host is named: pass --masters or --nodes")}
	}
	slices.SortFunc(out, func(a, b runtime.Member) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(out, func(a, b runtime.Member) bool { return a.Address == b.Address }), nil
}

// planToDelete finds out who lives, and plans.
func (k *known) planToDelete(ctx context.Context, gone []runtime.Member, force bool) (runtime.Plan, error) {
	masters, nodes := withRole(gone, runtime.Master), withRole(gone, runtime.Node)
	wanted := gone
	if len(masters) > 0 { // all masters are counted, and all hosts told where they are
		wanted = k.cluster.Members
	}
	k.warn(k.reach(ctx, wanted))
	if len(masters) > 0 && len(masters) == len(k.cluster.Masters()) {
		k.cluster.Acting = "" // the life cycle says why not
	} else if err := k.act(ctx, gone); err != nil {
		return runtime.Plan{}, err
	}
	life, err := k.life()
	if err != nil {
		return runtime.Plan{}, err
	}
	if force {
		life = life.Forced()
	}
	var plan runtime.Plan
	if len(nodes) > 0 {
		if plan, err = life.DeleteNodes(nodes); err != nil {
			return runtime.Plan{}, err
		}
	}
	if len(masters) > 0 {
		more, err := life.DeleteMasters(masters)
		if err != nil {
			return runtime.Plan{}, err
		}
		plan = plan.Then(more)
		rest, err := runtime.New(k.cluster.Without(gone), k.driver)
		if err != nil {
			return runtime.Plan{}, err
		}
		for _, a := range rest.Advice() {
			k.env.note("%s", a)
		}
	}
	return plan, nil
}
