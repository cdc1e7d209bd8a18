package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// uninstallFlags are what uninstall is told.
type uninstallFlags struct {
	sshFlags
	cluster, kubeconfig string
	dryRun, yes         bool
	output              string
}

func newUninstall(env *environment) *cobra.Command {
	var f uninstallFlags
	cmd := &cobra.Command{
		Use:   "uninstall APP",
		Short: "Take an app image away from a cluster",
		Long: `Take an app image away from a cluster: the image's own command for that is run
(label io.sealrt.uninstall, or scripts/uninstall.sh), the objects of its manifests/
are deleted, and the hosts drop what they keep of it. APP is the image's name, with
or without its tag. Container images that were pushed to a registry of yours stay.`,
		Example: "  sealrt uninstall shop:v7\n  sealrt uninstall shop --kubeconfig ~/.kube/config",
		Args:    needArgs("an app image", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.kubeconfig != "" {
				return uninstallForeign(cmd.Context(), env, f, args[0])
			}
			return twice(env, func() error { return uninstall(cmd.Context(), env, f, args[0]) })
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVar(&f.kubeconfig, "kubeconfig", "", "of a cluster that sealrt did not make, the kubeconfig `FILE`")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	outputFlag(cmd, &f.output)
	return cmd
}

func uninstall(ctx context.Context, env *environment, f uninstallFlags, name string) error {
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes = "uninstall", f.output, f.yes
	app, err := appCalled(k.cluster.Apps(), name)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", f.cluster, err)
	}
	if err := k.reachLiving(ctx, "drops the image when it is cleaned up by a later run"); err != nil {
		return err
	}
	if err := k.leaveOut(ctx, app); err != nil {
		return err
	}
	life, err := runtime.New(k.cluster, k.driver)
	if err != nil {
		return err
	}
	plan, err := life.Uninstall(app)
	if err != nil {
		return err
	}
	tellWhatGoes(env, app, life.Leaving(app))
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("take %s away from the cluster %s", app.Ref.Familiar(), f.cluster)); err != nil {
		return err
	}
	k.yes = true
	after := *k.cluster
	after.Images = slices.DeleteFunc(slices.Clone(k.cluster.Images), func(i runtime.Image) bool { return i.Digest == app.Digest && i.Ref == app.Ref })
	if err := k.change(ctx, plan, &after); err != nil {
		return advised(fmt.Errorf("uninstall %s: %w", app.Ref.Familiar(), err), "mend the cause and run the same command again")
	}
	return nil
}

// leaveOut takes the hosts for down that have nothing of an app, as those that did
// not answer when it was installed: its hooks and its command cannot run there.
func (k *known) leaveOut(ctx context.Context, app runtime.Image) error {
	for _, m := range k.cluster.Members {
		h := k.hosts[m.Address]
		if h == nil {
			continue
		}
		err := h.Run(ctx, host.Command{Argv: []string{"test", "-d", app.Rootfs()}})
		var exit *host.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("host %s: %w", m.Name(), err)
		}
		if err != nil {
			k.cluster.Down[m.Address] = true
			k.env.note("host %s does not have %s: nothing is done there", m.Name(), app.Ref.Familiar())
		}
	}
	if !k.cluster.Down[k.cluster.ActingMaster().Address] {
		return nil
	}
	for _, m := range k.cluster.Masters() {
		if !k.cluster.Down[m.Address] && k.answers(ctx, m) == nil {
			k.cluster.Acting = m.Address
			return nil
		}
	}
	return fmt.Errorf("no master that answers has %s, which its command to take it away is in: sealrt run %s --cluster %s brings it back", app.Ref.Familiar(), app.Ref.Familiar(), k.cluster.Name)
}

// tellWhatGoes names the objects with which more goes than themselves.
func tellWhatGoes(env *environment, app runtime.Image, objects []runtime.Object) {
	for _, o := range objects {
		if o.Holds() {
			env.note("warning: %s goes with %s, and all that belongs to it", o, app.Ref.Familiar())
		}
	}
}
