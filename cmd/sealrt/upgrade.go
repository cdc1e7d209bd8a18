package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
)

// upgradeFlags are what upgrade is told.
type upgradeFlags struct {
	changeFlags
	preflightFlags
	policy string
	force  bool
}

func newUpgrade(env *environment) *cobra.Command {
	var f upgradeFlags
	cmd := &cobra.Command{
		Use:   "upgrade IMAGE",
		Short: "Move a cluster to another version",
		Long: `Move a cluster to another rootfs image. A snapshot is taken and the image brought
to all hosts first. Then the masters move one after another, each Ready before
the next, and the nodes in batches (spec.batch, 1 unless the Clusterfile says),
emptied of pods before and given back after.

What fails stops the rest; the same command again goes on there, and sealrt
rollback goes back.`,
		Example: `  sealrt upgrade registry.example.com/k3s:v1.26.1
  sealrt upgrade oci-archive:k3s.tar --dry-run`,
		Args: needArgs("an image", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return twice(env, func() error { return upgrade(cmd.Context(), env, f, args) })
		},
	}
	f.define(cmd)
	f.preflightFlags.register(cmd.Flags())
	cmd.Flags().StringVar(&f.policy, "policy", "", "before any host is touched, check the image by the rules in `FILE`")
	cmd.Flags().BoolVar(&f.force, "force", false, "go on where pods cannot be moved")
	env.registryFlags(cmd.Flags())
	return cmd
}

func upgrade(ctx context.Context, env *environment, f upgradeFlags, args []string) error {
	k, err := openCluster(env, f.cluster, f.sshFlags)
	if err != nil {
		return err
	}
	defer k.close()
	approved, err := judge(ctx, env, f.policy, args)
	if err != nil {
		return err
	}
	if _, err := kindsOf(ctx, env, args); err != nil { // before a host is asked for anything
		return err
	}
	k.command, k.output, k.yes, k.dry = "upgrade", f.output, f.yes, f.dryRun
	to, plan, err := k.planToUpgrade(ctx, args, approved, f)
	if err != nil {
		return err
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := confirm(env, f.yes, fmt.Sprintf("move the cluster %s from %s to %s, host after host", f.cluster, k.cluster.Image().Ref.Familiar(), to.Ref.Familiar())); err != nil {
		return err
	}
	k.yes = true
	after := *k.cluster
	after.Images = append([]runtime.Image{to}, k.cluster.Images[1:]...)
	if err := k.change(ctx, plan, &after); err != nil {
		return advised(fmt.Errorf("upgrade %s to %s: %w%s", f.cluster, to.Ref.Familiar(), err, k.whereThingsStand(ctx)), "mend the cause and run the same command again: it goes on where it stopped")
	}
	return nil
}

// planToUpgrade opens the new image and those that stay, and plans.
func (k *known) planToUpgrade(ctx context.Context, args []string, approved judged, f upgradeFlags) (runtime.Image, runtime.Plan, error) {
	none := runtime.Image{}
	if err := k.reach(ctx, k.cluster.Members); err != nil {
		return none, runtime.Plan{}, fmt.Errorf("%w\nan upgrade needs all hosts: delete those that are gone (sealrt delete --force)", err)
	}
	if err := k.act(ctx, nil); err != nil {
		return none, runtime.Plan{}, err
	}
	m := k.cluster.ActingMaster()
	platform, err := runtime.HostPlatform(ctx, k.hosts[m.Address])
	if err != nil {
		return none, runtime.Plan{}, fmt.Errorf("host %s: %w", m.Name(), err)
	}
	for _, i := range k.cluster.Images[1:] { // they are on the hosts already
		args = append(args, i.Ref.Repository().String()+"@"+i.Digest)
	}
	if approved != nil && len(k.cluster.Images) > 1 {
		args = args[:1]
	}
	images, source, err := openImages(ctx, k.env, args, platform, approved)
	if err != nil {
		return none, runtime.Plan{}, err
	}
	k.source = source
	images[0].Service, images[0].Brought = k.cluster.Image().Service, k.cluster.Image().Brought
	life, err := k.life()
	if err != nil {
		return none, runtime.Plan{}, err
	}
	if f.force {
		life = life.Forced()
	}
	plan, err := life.Upgrade(images[0])
	if err != nil {
		return none, runtime.Plan{}, err
	}
	k.upgrading(k.cluster, images[0])
	if images, err = life.Bringing(images[:1]); err != nil {
		return none, runtime.Plan{}, err
	}
	tellRetired(k.env, images...)
	fixes, err := k.roomToUpgrade(ctx, images[0], plan, f.preflightFlags)
	plan, err = k.checked(ctx, err, func() (runtime.Plan, error) { return plan, nil })
	return images[0], fixes.Then(plan), err
}

// roomToUpgrade looks at the hosts before they get another image.
func (k *known) roomToUpgrade(ctx context.Context, to runtime.Image, plan runtime.Plan, f preflightFlags) (runtime.Plan, error) {
	lacks, err := k.lacks(ctx, to, plan)
	if err != nil {
		return runtime.Plan{}, err
	}
	some := *k.cluster
	some.Images, some.Members = []runtime.Image{to}, slices.Clone(k.cluster.Members)
	return k.preflight(ctx, &some, f, lacks)
}

// lacks returns how many bytes of an image each host lacks, by its address: what
// a plan would send, which is known when all hosts answer.
func (k *known) lacks(ctx context.Context, to runtime.Image, plan runtime.Plan) (map[string]int64, error) {
	out := map[string]int64{}
	if len(k.unreached) > 0 {
		return out, nil
	}
	forecast, err := k.engine().Forecast(ctx, plan)
	if err != nil {
		return nil, err
	}
	for _, h := range forecast.Hosts {
		out[h.Address] = min(h.Bytes, to.Size)
	}
	return out, nil
}

// whereThingsStand says which version each host has.
func (k *known) whereThingsStand(ctx context.Context) string {
	s, err := k.status(ctx)
	if err != nil {
		return ""
	}
	out := "\nas things stand:"
	for _, h := range s.Hosts {
		version := h.Version
		if version == "" {
			version = "an unknown version"
		}
		out += fmt.Sprintf("\n  %s %s: %s, Ready: %s", h.Role, h.Host, version, h.Ready)
	}
	return out
}
