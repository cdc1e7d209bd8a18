package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
)

func newRollback(env *environment) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "rollback",
		Short: "Go back to what a cluster was before its last upgrade",
		Long: `Go back to what a cluster was before its last upgrade, whether that ended or stopped
half way: the image that the cluster ran then, and its data as the upgrade kept
it. Everything that changed in the cluster since the upgrade began is lost.

All hosts have to be reached. All of them stop; the master that has the snapshot
begins anew with it, the other masters and the nodes join it. Hosts that came
since stay members, those that left do not come back.

What stops half way goes on with the same command.`,
		Example: "  sealrt rollback --dry-run\n  sealrt rollback --cluster shop --yes",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twice(env, func() error { return rollBack(cmd.Context(), env, f) })
		},
	}
	f.define(cmd)
	env.registryFlags(cmd.Flags())
	return cmd
}

func rollBack(ctx context.Context, env *environment, f changeFlags) error {
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes, k.dry = "rollback", f.output, f.yes, f.dryRun
	was := k.cluster.Images // until it is done, this is what the state says
	plan, u, err := k.planToRollBack(ctx)
	if err != nil {
		return fmt.Errorf("rollback of %s: %w", f.cluster, err)
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	ask := fmt.Sprintf("stop the cluster %s and go back from %s to %s: all that changed in it since %s is lost", f.cluster, u.To.Ref.Familiar(), u.From.Ref.Familiar(), u.Time.Local().Format(time.DateTime))
	if err := confirm(env, f.yes, ask); err != nil {
		return err
	}
	meanwhile, after := *k.cluster, *k.cluster
	meanwhile.Images = was
	if err := k.putBack(ctx, plan, &meanwhile, &after, upgradeFile, func() error { return nil }); err != nil {
		return advised(fmt.Errorf("rollback of %s to %s: %w", f.cluster, u.From.Ref.Familiar(), err), "mend the cause and run the same command again: it goes on where it stopped")
	}
	return nil
}

// upgraded returns what is kept of the last upgrade, and the master that has its
// snapshot.
func (k *known) upgraded() (*upgradeRecord, runtime.Member, error) {
	none := runtime.Member{}
	u := &upgradeRecord{}
	there, err := k.recorded(upgradeFile, u)
	if err != nil {
		return nil, none, err
	}
	if !there {
		return nil, none, errors.New("no upgrade is known whose snapshot it could go back to: it was never upgraded, or went back already (sealrt restore FILE puts a backup back)")
	}
	if u.Kept.Dir == "" {
		return nil, none, fmt.Errorf("the upgrade to %s kept no snapshot, since the data is in a database of yours: bring that back with its own tools", u.To.Ref.Familiar())
	}
	i := slices.IndexFunc(k.cluster.Members, func(m runtime.Member) bool { return m.Address == u.Master && m.Role == runtime.Master })
	if i < 0 {
		return nil, none, fmt.Errorf("the snapshot of the upgrade to %s lay on %s, which is no master of the cluster any more: without it there is no way back (sealrt restore FILE puts a backup back)", u.To.Ref.Familiar(), u.Master)
	}
	return u, k.cluster.Members[i], nil
}

// planToRollBack makes the cluster, here, what it was, and plans to make it so
// there.
func (k *known) planToRollBack(ctx context.Context) (runtime.Plan, *upgradeRecord, error) {
	u, on, err := k.upgraded()
	if err != nil {
		return runtime.Plan{}, nil, err
	}
	if err := k.reach(ctx, k.cluster.Members); err != nil {
		return runtime.Plan{}, nil, fmt.Errorf("%w\nall hosts have to stop before data is put back: delete those that are gone (sealrt delete --force)", err)
	}
	there, err := hasDir(ctx, k.hosts[on.Address], u.Kept.Dir)
	if err == nil && !there {
		err = fmt.Errorf("there is no snapshot in %s: without one there is no way back (sealrt restore FILE puts a backup back)", u.Kept.Dir)
	}
	if err != nil {
		return runtime.Plan{}, nil, fmt.Errorf("host %s: %w", on.Name(), err)
	}
	k.cluster.Acting = on.Address
	k.cluster.Images = append([]runtime.Image{u.From.image()}, k.cluster.Images[1:]...)
	if k.driver, err = distros.New(k.cluster.Image()); err != nil {
		return runtime.Plan{}, nil, err
	}
	if err := k.openMade(ctx); err != nil {
		return runtime.Plan{}, nil, err
	}
	life, err := k.life()
	if err != nil {
		return runtime.Plan{}, nil, err
	}
	plan, err := life.Rollback(runtime.Restoration{
		Kept: u.Kept, On: on, Operation: "rollback of " + u.Time.Format(time.RFC3339), Gone: runtime.Lost(u.Nodes, k.cluster),
	}, u.To.image())
	return plan, u, err
}
