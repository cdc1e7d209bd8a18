package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
)

// runFlags are what run is told.
type runFlags struct {
	sshFlags
	cluster        string
	masters, nodes string
	env            []string
	podCIDR        string
	serviceCIDR    string
	policy         string
	dryRun         bool
	yes            bool
}

func newRun(env *environment) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run IMAGE... [--masters HOST,...] [--nodes HOST,...]",
		Short: "Create a cluster from a cluster image",
		Long: `Create a cluster from a cluster image, or go on where an earlier run stopped.

IMAGE is a reference, or oci-archive:FILE. The first image boots the cluster;
the commands of further ones run on its first master. Hosts are
[user@]host[:port], separated by commas; 10.0.0.[1-5] is a range. Without hosts
the cluster is made on this machine.

The path of the administrator's kubeconfig is printed on stdout.`,
		Example: `  sealrt run registry.example.com/kubernetes:v1.34.4 --masters 10.0.0.1 --nodes 10.0.0.2,10.0.0.3
  sealrt run kubernetes:v1.34.4 --masters ops@10.0.0.1 --dry-run`,
		Args: needArgs("an image", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error { return run(cmd.Context(), env, f, args) },
	}
	flags := cmd.Flags()
	f.register(flags)
	flags.StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	flags.StringVar(&f.masters, "masters", "", "`HOSTS` of the control plane")
	flags.StringVar(&f.nodes, "nodes", "", "`HOSTS` of the workloads")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "setting of the image, `NAME=VALUE`; repeatable")
	flags.StringVar(&f.podCIDR, "pod-cidr", "", "addresses of pods")
	flags.StringVar(&f.serviceCIDR, "service-cidr", "", "addresses of services")
	flags.StringVar(&f.policy, "policy", "", "before any host is touched, check the images by the rules in `FILE`")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	env.registryFlags(flags)
	return cmd
}

func run(ctx context.Context, env *environment, f runFlags, args []string) error {
	settings, err := parseSettings(f.env)
	if err != nil {
		return err
	}
	network := runtime.Network{PodCIDR: f.podCIDR, ServiceCIDR: f.serviceCIDR}
	if err := checkNetwork(network); err != nil {
		return err
	}
	members, err := runMembers(ctx, env, f)
	if err != nil {
		return err
	}
	approved, err := judge(ctx, env, f.policy, args)
	if err != nil {
		return err
	}
	if err := requireImages(ctx, env, args); err != nil {
		return err
	}
	state, err := runtime.OpenState(env.clusters(), f.cluster)
	if err != nil {
		return err
	}
	defer state.Close()
	asked := &runtime.ClusterfileSpec{SSH: f.SSH, Hosts: members, Network: network, Env: maps.Clone(settings)}
	if err := continued(state, f.cluster, asked); err != nil {
		return err
	}
	f.SSH = asked.SSH
	dial, err := newDialer(env, f.sshFlags, state)
	if err != nil {
		return err
	}
	hosts, err := dial.connect(ctx, members)
	defer hosts.Close() //nolint:staticcheck // those that were reached are open even when others were not
	if err != nil {
		return err
	}
	platform, err := runtime.HostPlatform(ctx, hosts[members[0].Address])
	if err != nil {
		return fmt.Errorf("host %s: %w", members[0].Name(), err)
	}
	images, source, err := openImages(ctx, env, args, platform, approved)
	if err != nil {
		return err
	}
	// What a registry hid while it was asked is here now.
	if _, err := judge(ctx, env, f.policy, args); err != nil {
		return err
	}
	c := &runtime.Cluster{
		Name: f.cluster, Images: images, Members: members, Env: asked.Env, Network: asked.Network,
	}
	driver, err := distros.New(c.Image())
	if err != nil {
		return err
	}
	if err := sameImage(state, c); err != nil {
		return err
	}
	if err := knownSettings(images, settings); err != nil {
		return err
	}
	if err := runtime.Preflight(ctx, c, driver, hosts); err != nil {
		return fmt.Errorf("preflight, nothing was changed:\n%w", err)
	}
	life, err := runtime.New(c, driver)
	if err != nil {
		return err
	}
	plan, err := life.Create()
	if err != nil {
		return err
	}
	engine := &runtime.Engine{Cluster: f.cluster, Hosts: hosts, Images: source, Helper: env.helper, Observe: env.story()}
	if err := engine.Check(ctx, plan); err != nil {
		return fmt.Errorf("preflight, nothing was changed:\n%w", err)
	}
	if f.dryRun {
		pending, err := engine.Pending(ctx, plan)
		if err != nil {
			return err
		}
		if len(pending.Phases) == 0 {
			env.note("nothing to do: the cluster %s stands as asked", f.cluster)
		}
		_, err = pending.WriteTo(env.stdout)
		return err
	}
	if err := saveCluster(state, c, f.SSH); err != nil {
		return err
	}
	if err := engine.Run(ctx, plan); err != nil {
		return fmt.Errorf("run %s: %w\nmend the cause and run the same command again: it goes on where it stopped; or remove all traces with: sealrt reset --cluster %s", c.Image().Ref.Familiar(), err, f.cluster)
	}
	first := c.Masters()[0]
	kubeconfig, err := runtime.Kubeconfig(ctx, hosts[first.Address], driver.Kubeconfig(), first.NodeIP)
	if err != nil {
		return fmt.Errorf("host %s: %w", first.Name(), err)
	}
	if err := state.Write("kubeconfig", kubeconfig); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, state.KubeconfigPath())
	return err
}

// runMembers reads --masters and --nodes; neither means this machine.
func runMembers(ctx context.Context, env *environment, f runFlags) ([]runtime.Member, error) {
	masters, err := parseMembers(ctx, env, f.masters, runtime.Master)
	if err != nil {
		return nil, err
	}
	nodes, err := parseMembers(ctx, env, f.nodes, runtime.Node)
	if err != nil {
		return nil, err
	}
	if len(masters) == 0 && len(nodes) > 0 {
		return nil, usageError{errors.New("--nodes needs --masters: name at least one master")}
	}
	if len(masters) == 0 {
		m, err := thisMachine(ctx)
		return []runtime.Member{m}, err
	}
	seen := map[string]runtime.Role{}
	for _, m := range slices.Concat(masters, nodes) {
		if role, ok := seen[m.Name()]; ok {
			return nil, usageError{fmt.Errorf("host %s is given twice, as %s and as %s", m.Name(), role, m.Role)}
		}
		seen[m.Name()] = m.Role
	}
	return slices.Concat(masters, nodes), nil
}
