package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// memberFlags name hosts by their role.
type memberFlags struct {
	changeFlags
	preflightFlags
	masters, nodes string
	force          bool
}

func newAdd(env *environment) *cobra.Command {
	var f memberFlags
	cmd := &cobra.Command{
		Use:   "add --masters HOST,... | --nodes HOST,...",
		Short: "Add hosts to a cluster",
		Long: `Add hosts to a cluster that stands. Masters join one after another, each serving
before the next begins; then nodes, many at once. The hosts that are named and
one living master have to be reached.

A host whose joining failed stays in the cluster's list: the same command again
goes on where it stopped, and sealrt delete --force drops it.`,
		Example: `  sealrt add --nodes 10.0.0.[5-9]
  sealrt add --masters 10.0.0.2,10.0.0.3 --cluster default --dry-run`,
		Args: needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twice(env, func() error { return add(cmd.Context(), env, f) })
		},
	}
	f.define(cmd)
	f.preflightFlags.register(cmd.Flags())
	cmd.Flags().StringVar(&f.masters, "masters", "", "`HOSTS` to add to the control plane")
	cmd.Flags().StringVar(&f.nodes, "nodes", "", "`HOSTS` to add for workloads")
	cmd.Flags().BoolVar(&f.force, "force", false, "go on with two masters")
	return cmd
}

func add(ctx context.Context, env *environment, f memberFlags) error {
	if err := env.catchUp(ctx, f.cluster, f.sshFlags); err != nil {
		return err
	}
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes, k.dry = "add", f.output, f.yes, f.dryRun
	fresh, err := k.newcomers(ctx, f)
	if err != nil {
		return err
	}
	plan, advice, err := k.planToAdd(ctx, fresh, f)
	if err != nil {
		return err
	}
	for _, a := range advice {
		env.note("%s", a)
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("add %s to the cluster %s", nameList(fresh), f.cluster)); err != nil {
		return err
	}
	k.yes = true
	if err := k.change(ctx, plan, k.cluster); err != nil {
		return advised(fmt.Errorf("add to %s: %w", f.cluster, err), "mend the cause and run the same command again: it goes on where it stopped; or drop the host: sealrt delete --force")
	}
	return nil
}

// asAll returns a new member with what the cluster says of all its hosts.
func (k *known) asAll(m runtime.Member) (runtime.Member, error) {
	spec := k.cluster.Spec
	spec.Hosts = []clusterfile.Host{{Address: clusterfile.Strings{m.Address}, Role: string(m.Role), NodeIP: m.NodeIP}}
	members, err := runtime.MembersOf(spec)
	if err != nil {
		return m, err
	}
	return members[0], nil
}

// newcomers reads the hosts that are to join, and lists them as members. One
// that is listed already joined, or failed to: its plan says what is left.
func (k *known) newcomers(ctx context.Context, f memberFlags) ([]runtime.Member, error) {
	masters, err := parseMembers(ctx, k.env, f.masters, runtime.Master)
	if err != nil {
		return nil, err
	}
	nodes, err := parseMembers(ctx, k.env, f.nodes, runtime.Node)
	if err != nil {
		return nil, err
	}
	fresh := slices.Concat(masters, nodes)
	if len(fresh) == 0 {
		return nil, usageError{errors.New("no host is named: pass --masters or --nodes")}
	}
	for i, m := range fresh {
		if fresh[i], err = k.asAll(m); err != nil {
			return nil, err
		}
		if f.SSH.User+f.SSH.Identity != "" || f.SSH.Port != 0 {
			fresh[i].SSH = merged(f.SSH, fresh[i].SSH)
		}
		at := slices.IndexFunc(k.cluster.Members, func(o runtime.Member) bool { return o.Name() == m.Name() })
		switch {
		case slices.ContainsFunc(fresh[:i], func(o runtime.Member) bool { return o.Name() == m.Name() }):
			return nil, usageError{fmt.Errorf("host %s is given twice", m.Name())}
		case at < 0:
			k.cluster.Members = append(k.cluster.Members, fresh[i])
		case k.cluster.Members[at].Role != m.Role:
			return nil, fmt.Errorf("host %s is a %s of the cluster %s already: delete it first", m.Name(), k.cluster.Members[at].Role, k.cluster.Name)
		default:
			fresh[i] = k.cluster.Members[at]
		}
	}
	return fresh, nil
}

// planToAdd asks the newcomers whether they can join, and plans it.
func (k *known) planToAdd(ctx context.Context, fresh []runtime.Member, f memberFlags) (runtime.Plan, []string, error) {
	if err := k.meet(ctx, fresh); err != nil {
		return runtime.Plan{}, nil, err
	}
	if err := k.act(ctx, fresh); err != nil {
		return runtime.Plan{}, nil, err
	}
	masters, nodes := withRole(fresh, runtime.Master), withRole(fresh, runtime.Node)
	if len(masters) > 0 { // all hosts are told where the masters are
		k.warn(k.reach(ctx, k.cluster.Members))
	}
	if err := k.openMade(ctx); err != nil {
		return runtime.Plan{}, nil, err
	}
	fixes, err := k.inspect(ctx, fresh, f.preflightFlags)
	var advice []string
	plan, err := k.checked(ctx, err, func() (plan runtime.Plan, err error) {
		plan, advice, err = k.joining(masters, nodes, f.force)
		return plan, err
	})
	return fixes.Then(plan), advice, err
}

// meet connects to the newcomers. Those that cannot be reached are left to
// preflight, which tells of them with all else, unless no other is there.
func (k *known) meet(ctx context.Context, fresh []runtime.Member) error {
	err := k.reach(ctx, fresh)
	var lost *unreachedError
	if !errors.As(err, &lost) || len(lost.why) == len(fresh) {
		return err
	}
	k.unreached = lost.why
	return nil
}

// joining plans that hosts join, masters first, and advises.
func (k *known) joining(masters, nodes []runtime.Member, force bool) (runtime.Plan, []string, error) {
	life, err := k.life()
	if err != nil {
		return runtime.Plan{}, nil, err
	}
	if force {
		life = life.Forced()
	}
	named := func(list []runtime.Member) []runtime.Member { // as they are known by now
		return slices.DeleteFunc(slices.Clone(k.cluster.Members), func(m runtime.Member) bool {
			return !slices.ContainsFunc(list, func(o runtime.Member) bool { return o.Address == m.Address })
		})
	}
	var plan runtime.Plan
	if len(masters) > 0 {
		if plan, err = life.JoinMasters(named(masters)); err != nil {
			return runtime.Plan{}, nil, err
		}
	}
	if len(nodes) > 0 {
		more, err := life.JoinNodes(named(nodes))
		if err != nil {
			return runtime.Plan{}, nil, err
		}
		plan = plan.Then(more)
	}
	return plan, life.Advice(), nil
}

// inspect asks the newcomers, beside the acting master, what they are.
func (k *known) inspect(ctx context.Context, fresh []runtime.Member, f preflightFlags) (runtime.Plan, error) {
	some := *k.cluster
	some.Members = append([]runtime.Member{k.cluster.ActingMaster()}, fresh...)
	fixes, err := k.preflight(ctx, &some, f, nil)
	for i, m := range k.cluster.Members {
		for _, seen := range some.Members {
			if seen.Address == m.Address {
				k.cluster.Members[i] = seen
			}
		}
	}
	return fixes, err
}

func withRole(members []runtime.Member, role runtime.Role) []runtime.Member {
	return slices.DeleteFunc(slices.Clone(members), func(m runtime.Member) bool { return m.Role != role })
}

// nameList names members in a sentence.
func nameList(members []runtime.Member) string {
	var out string
	for i, m := range members {
		if i > 0 {
			out += ", "
		}
		out += m.Name()
	}
	return out
}
