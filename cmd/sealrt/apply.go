package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// applyFlags are what apply and plan are told.
type applyFlags struct {
	sshFlags
	preflightFlags
	file   string
	output string
	dryRun bool
	yes    bool
}

// registerCommon defines the flags that apply and plan have both.
func (f *applyFlags) registerCommon(cmd *cobra.Command, env *environment) {
	f.sshFlags.register(cmd.Flags())
	f.preflightFlags.register(cmd.Flags())
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "the Clusterfile `FILE`")
	outputFlag(cmd, &f.output)
	env.registryFlags(cmd.Flags())
}

func newApply(env *environment) *cobra.Command {
	var f applyFlags
	cmd := &cobra.Command{
		Use:   "apply {-f CLUSTERFILE | PLAN}",
		Short: "Make a cluster what a Clusterfile says",
		Long: `Make a cluster what a Clusterfile says: it is created when there is none, hosts
that are new join, hosts that the file does not name any more leave, settings
that changed are set, and another image is an upgrade. What is so already is
left alone.

With PLAN, a file that "sealrt plan --out" wrote, exactly that is done; when
something has moved since, nothing is done and what moved is said.

The path of the administrator's kubeconfig is printed on stdout.`,
		Example: "  sealrt apply -f Clusterfile\n  sealrt apply -f Clusterfile --dry-run\n  sealrt apply monday.plan",
		Args:    needArgs("a plan", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (f.file == "") == (len(args) == 0) {
				return usageError{errors.New("apply: pass either -f CLUSTERFILE or a PLAN")}
			}
			if len(args) == 1 {
				return applyPlan(cmd.Context(), env, f, args[0])
			}
			return twice(env, func() error { return applyFile(cmd.Context(), env, f) })
		},
	}
	f.registerCommon(cmd, env)
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	return cmd
}

// applyFile makes a cluster what a Clusterfile says.
func applyFile(ctx context.Context, env *environment, f applyFlags) error {
	asked, err := readAsked(env, f.file)
	if err != nil {
		return err
	}
	return apply(ctx, env, f, asked, func(*reconciled, *runtime.Forecast) error { return nil })
}

// applyPlan carries out a plan that was kept, if it is still what would be
// planned.
func applyPlan(ctx context.Context, env *environment, f applyFlags, name string) error {
	saved, err := loadPlan(name)
	if err != nil {
		return err
	}
	return apply(ctx, env, f, saved.Asked, func(r *reconciled, now *runtime.Forecast) error { return r.unmoved(name, saved, now) })
}

// unmoved refuses a plan that is no longer what would be planned.
func (r *reconciled) unmoved(name string, saved runtime.SavedPlan, now *runtime.Forecast) error {
	moved := saved.Moved(programVersion().Version, r.base, now)
	if len(moved) == 0 {
		return nil
	}
	return fmt.Errorf("%s is out of date, nothing was changed:\n  %s\nplan again: sealrt plan -f CLUSTERFILE --out %s", name, strings.Join(moved, "\n  "), name)
}

// apply reconciles the cluster, unless check has something against it.
func apply(ctx context.Context, env *environment, f applyFlags, asked *clusterfile.Document, check func(*reconciled, *runtime.Forecast) error) error {
	r, err := reconcile(ctx, env, f, asked)
	if err != nil {
		return err
	}
	defer r.close()
	forecast, err := r.forecast(ctx)
	if err != nil {
		return err
	}
	if err := check(r, forecast); err != nil {
		return err
	}
	if f.dryRun {
		return r.show(forecast)
	}
	if len(r.leaving) > 0 {
		if err := confirm(env, f.yes, fmt.Sprintf("take %s out of the cluster %s", hostNames(r.leaving), r.cluster.Name)); err != nil {
			return err
		}
	}
	if err := r.decide(ctx, forecast); err != nil {
		return advised(fmt.Errorf("apply %s: %w", r.cluster.Name, err), "mend the cause and run the same command again: it goes on where it stopped")
	}
	_, err = fmt.Fprintln(env.stdout, r.state.KubeconfigPath())
	return err
}
