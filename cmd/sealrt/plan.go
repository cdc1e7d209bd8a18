package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
)

func newPlan(env *environment) *cobra.Command {
	var f applyFlags
	var out string
	cmd := &cobra.Command{
		Use:   "plan -f CLUSTERFILE [--out PLAN]",
		Short: "Show what would make a cluster what a Clusterfile says",
		Long: `Show, for each host, what would make a cluster what a Clusterfile says, why, what
would be sent, and what restarts. Nothing is changed.

With --out the plan is kept in a file, which "sealrt apply PLAN" carries out as
long as nothing has moved meanwhile. There is no secret in it.`,
		Example: "  sealrt plan -f Clusterfile\n  sealrt plan -f Clusterfile --out monday.plan && sealrt apply monday.plan",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.file == "" {
				return usageError{errors.New("plan: which Clusterfile? pass -f FILE")}
			}
			return plan(cmd.Context(), env, f, out)
		},
	}
	f.registerCommon(cmd, env)
	cmd.Flags().StringVar(&out, "out", "", "keep the plan in `FILE`")
	return cmd
}

// plan shows what would be done, and keeps it.
func plan(ctx context.Context, env *environment, f applyFlags, out string) error {
	asked, err := readAsked(env, f.file)
	if err != nil {
		return err
	}
	f.dryRun = true
	r, err := reconcile(ctx, env, f, asked)
	if err != nil {
		return err
	}
	defer r.close()
	forecast, err := r.forecast(ctx)
	if err != nil {
		return err
	}
	if out != "" {
		if err := savePlan(out, r.saved(forecast)); err != nil {
			return err
		}
		if err := r.keepMade(); err != nil {
			return err
		}
	}
	return r.show(forecast)
}

// forecast says what reconciling the cluster would do.
func (r *reconciled) forecast(ctx context.Context) (*runtime.Forecast, error) {
	plan, err := r.plan(ctx)
	if err != nil {
		return nil, err
	}
	return r.engine().Forecast(ctx, plan)
}

// saved is the plan as a document.
func (r *reconciled) saved(f *runtime.Forecast) runtime.SavedPlan {
	return runtime.SavedPlan{Version: programVersion().Version, Made: time.Now().UTC(), Asked: r.asked, Base: r.base, Forecast: *f}
}

// savePlan writes a plan to a file that only its owner reads, whole or not at
// all.
func savePlan(name string, plan runtime.SavedPlan) error {
	tmp, err := os.CreateTemp(filepath.Dir(name), ".plan-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	err = plan.Write(tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err := errors.Join(err, tmp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), name)
}

// loadPlan reads a plan from a file.
func loadPlan(name string) (runtime.SavedPlan, error) {
	file, err := os.Open(name)
	if err != nil {
		return runtime.SavedPlan{}, err
	}
	defer file.Close()
	plan, err := runtime.ReadPlan(file)
	if err != nil {
		return plan, fmt.Errorf("%s: %w", name, err)
	}
	return plan, nil
}
