package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func newCertAddSAN(env *environment) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "add-san NAME...",
		Short: "Add names to the certificate of a cluster's API",
		Long: `Add names and IP addresses to spec.tlsSANs of a cluster, and have its API show a
certificate that is for them. The masters are restarted one after another, each
showing the names before the next.`,
		Example: "  sealrt cert add-san api.example.com 203.0.113.7 --yes",
		Args:    needArgs("names", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range args {
				if err := clusterfile.CheckSAN(name); err != nil {
					return usageError{err}
				}
			}
			return twice(env, func() error { return addSANs(cmd.Context(), env, f, args) })
		},
	}
	f.define(cmd)
	env.registryFlags(cmd.Flags())
	return cmd
}

func addSANs(ctx context.Context, env *environment, f changeFlags, names []string) error {
	if err := env.catchUp(ctx, f.cluster, f.sshFlags); err != nil {
		return err
	}
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes, k.dry = "cert add-san", f.output, f.yes, f.dryRun
	plan, err := k.planToAddSANs(ctx, names)
	if err != nil {
		return fmt.Errorf("cert add-san: %w", err)
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("have the API of the cluster %s answer for %s: its masters start again one after another", f.cluster, strings.Join(names, ", "))); err != nil {
		return err
	}
	k.yes = true
	if err := k.change(ctx, plan, k.cluster); err != nil {
		return advised(fmt.Errorf("cert add-san: %w", err), "mend the cause and run the same command again: it goes on where it stopped")
	}
	return nil
}

// planToAddSANs lists the names in the cluster's specification, and plans.
func (k *known) planToAddSANs(ctx context.Context, names []string) (runtime.Plan, error) {
	if _, ok := k.driver.(runtime.Namer); !ok {
		return runtime.Plan{}, fmt.Errorf("%s: %w by this version of sealrt", k.driver.Name(), runtime.ErrUnsupported)
	}
	if err := k.reach(ctx, k.cluster.Masters()); err != nil {
		return runtime.Plan{}, errors.Join(err, errors.New("the API is on all masters: bring them back first, or delete those that are gone (sealrt delete --force)"))
	}
	if err := k.act(ctx, nil); err != nil {
		return runtime.Plan{}, err
	}
	if err := k.openMade(ctx); err != nil {
		return runtime.Plan{}, err
	}
	k.cluster.TLSSANs = slices.Clone(k.cluster.TLSSANs)
	for _, n := range names {
		if !slices.Contains(k.cluster.TLSSANs, n) {
			k.cluster.TLSSANs = append(k.cluster.TLSSANs, n)
		}
	}
	life, err := k.life()
	if err != nil {
		return runtime.Plan{}, err
	}
	return life.AddNames()
}
