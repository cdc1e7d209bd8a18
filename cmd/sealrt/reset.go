package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
)

func newReset(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	var dryRun, yes, force bool
	cmd := &cobra.Command{
		Use:     "reset",
		Short:   "Remove a cluster from its hosts",
		Long:    "Remove a cluster from its hosts: what run made there is undone, nodes first. What was there before stays.",
		Example: "  sealrt reset --cluster default --yes",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			if err := env.catchUp(ctx, cluster, ssh); err != nil {
				return err
			}
			k, err := openCluster(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			k.command, k.output, k.yes = "reset", output, yes
			plan, err := k.planToReset(ctx, force)
			if err != nil {
				return err
			}
			k.tellOfRemains()
			if dryRun {
				return k.print(ctx, plan)
			}
			if err := confirm(env, yes, fmt.Sprintf("remove the cluster %s from %d hosts", cluster, len(k.cluster.Members))); err != nil {
				return err
			}
			k.yes = true
			return k.reset(ctx, plan)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&force, "force", false, "reset the hosts that answer, and name the others")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	outputFlag(cmd, &output)
	return cmd
}

// tellOfRemains names what of the user's stays, or goes with the hosts.
func (k *known) tellOfRemains() {
	remainer, ok := k.driver.(runtime.Remainer)
	if !ok {
		return
	}
	for _, line := range remainer.Remains(k.cluster) {
		k.env.note("%s", line)
	}
}

// planToReset finds out which hosts answer, and plans.
func (k *known) planToReset(ctx context.Context, force bool) (runtime.Plan, error) {
	err := k.reach(ctx, k.cluster.Members)
	if err != nil && !force {
		return runtime.Plan{}, fmt.Errorf("%w\nnothing was changed: a cluster is reset when all its hosts can be reached (--force resets those that can, and names the others)", err)
	}
	k.warn(err)
	k.env.revealsWhatItCan(k.cluster)
	life, err := runtime.New(k.cluster, k.driver)
	if err != nil {
		return runtime.Plan{}, err
	}
	if force {
		life = life.Forced()
	}
	return life.Reset()
}

// reset carries the plan out. Hosts that did not answer stay listed, so that
// a reset when they are back cleans them too.
func (k *known) reset(ctx context.Context, plan runtime.Plan) error {
	if err := k.hold(ctx, "reset"); err != nil {
		return err
	}
	k.ending = true // the journal on the masters goes with all else
	if err := k.engine().Run(ctx, plan); err != nil {
		return advised(fmt.Errorf("reset %s: %w", k.cluster.Name, err), "mend the cause and run the same command again")
	}
	left := slices.DeleteFunc(slices.Clone(k.cluster.Members), func(m runtime.Member) bool { return !k.cluster.Down[m.Address] })
	if len(left) == 0 {
		return k.state.Remove()
	}
	return fmt.Errorf("%s did not answer and was not cleaned: run the same command when it is back, or forget it with: rm -r %s", nameList(left), k.state.Path(""))
}
