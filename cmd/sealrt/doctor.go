package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
)

// ailment is one line of what doctor finds.
type ailment struct {
	Host string `json:"host"`
	Step string `json:"step,omitempty"` // that made what has drifted
	What string `json:"what"`
}

func newDoctor(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	var heal bool
	cmd := &cobra.Command{
		Use:   "doctor [--heal [IMAGE...]]",
		Short: "Compare the hosts of a cluster with what was made there",
		Long: `Compare the hosts of a cluster with what was made there: files, programs, lines
in files of the hosts', services, parameters of the kernel; and ask the cluster
which hosts are Ready. It changes nothing. Exit 1 when something differs.

With --heal what differs is made again, as run made it. The images that the
cluster was made of are needed for that: from the store, their registry, or as
they are named, oci-archive:FILE for instance.`,
		Example: "  sealrt doctor\n  sealrt doctor --heal",
		Args:    needArgs("images", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && !heal {
				return usageError{errors.New("images are for --heal")}
			}
			open := lookAt
			if heal {
				open = openCluster
			}
			k, err := open(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			k.command = "doctor"
			return k.doctor(cmd.Context(), output, heal, args)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().BoolVar(&heal, "heal", false, "make again what differs")
	outputFlag(cmd, &output)
	env.registryFlags(cmd.Flags())
	return cmd
}

func (k *known) doctor(ctx context.Context, output string, heal bool, images []string) error {
	reach, err := k.view(ctx)
	if err != nil {
		return err
	}
	k.warn(reach)
	if len(k.hosts) == 0 {
		return errors.New("no host of the cluster " + k.cluster.Name + " can be reached")
	}
	found, drifts, err := k.examine(ctx)
	if err != nil {
		return err
	}
	if err := printAilments(k.env, output, found); err != nil {
		return err
	}
	switch {
	case len(found) == 0:
		return nil
	case !heal && len(drifts) > 0:
		return fmt.Errorf("%s found: sealrt doctor --heal --cluster %s makes again what sealrt made", plural(len(found), "difference"), k.cluster.Name)
	case len(drifts) == 0:
		return fmt.Errorf("%s found, and none in what sealrt made on hosts that can be reached: sealrt support-bundle --cluster %s collects what helps to find out more", plural(len(found), "difference"), k.cluster.Name)
	}
	if err := k.heal(ctx, drifts, images); err != nil {
		return err
	}
	if found, _, err = k.examine(ctx); err != nil || len(found) == 0 {
		return err
	}
	return fmt.Errorf("healed, but for %s: host %s: %s", plural(len(found), "difference"), found[0].Host, found[0].What)
}

// examine looks for what has drifted, on the hosts that are connected, and for
// all else that is not well.
func (k *known) examine(ctx context.Context) ([]ailment, []runtime.Drift, error) {
	drifts, err := k.engine().Drift(ctx, k.cluster.Members, k.cluster.Images)
	if err != nil {
		return nil, nil, err
	}
	found, err := k.ailments(ctx, drifts)
	return found, drifts, err
}

// ailments are what has drifted, with what the cluster says of its hosts.
func (k *known) ailments(ctx context.Context, drifts []runtime.Drift) ([]ailment, error) {
	var found []ailment
	for _, d := range drifts {
		found = append(found, ailment{d.Member.Name(), d.Step, d.What})
	}
	s, err := k.status(ctx)
	if err != nil {
		return nil, err
	}
	for _, h := range s.Hosts {
		switch {
		case !h.Reached:
			found = append(found, ailment{Host: h.Host, What: "cannot be reached"})
		case h.Ready != "True":
			found = append(found, ailment{Host: h.Host, What: "is not Ready"})
		}
	}
	return found, nil
}

// heal makes again what has drifted, and nothing else.
func (k *known) heal(ctx context.Context, drifts []runtime.Drift, images []string) error {
	if err := k.act(ctx, nil); err != nil {
		return err
	}
	if err := k.openAgain(ctx, images); err != nil {
		return err
	}
	plan, err := k.create()
	if err != nil {
		return err
	}
	plan, drifts = plan.Mending(drifts)
	if err := k.engine().Distrust(ctx, drifts); err != nil {
		return err
	}
	if err := k.carryOut(ctx, plan); err != nil {
		return fmt.Errorf("heal %s: %w", k.cluster.Name, err)
	}
	return nil
}

// openAgain opens the images that the cluster was made of, from where they are
// or as the user names them.
func (k *known) openAgain(ctx context.Context, images []string) error {
	if len(images) == 0 {
		return k.openMade(ctx)
	}
	if err := k.open(ctx, images, nil); err != nil {
		return err
	}
	if err := sameImage(k.state, k.cluster); err != nil {
		return err
	}
	return k.rememberApps()
}

func printAilments(env *environment, output string, found []ailment) error {
	if output == "json" {
		if found == nil {
			found = []ailment{}
		}
		return printJSON(env, found)
	}
	if len(found) == 0 {
		env.note("all hosts are as they were made")
		return nil
	}
	w := tabwriter.NewWriter(env.stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tDIFFERENCE\tSTEP")
	for _, a := range found {
		fmt.Fprintf(w, "%s\t%s\t%s\n", a.Host, a.What, a.Step)
	}
	return w.Flush()
}
