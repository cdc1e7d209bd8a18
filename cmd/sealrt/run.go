package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// runFlags are what run is told.
type runFlags struct {
	sshFlags
	preflightFlags
	cluster        string
	file           string
	masters, nodes string
	env            []string
	podCIDR        []string
	serviceCIDR    []string
	policy         string
	kubeconfig     string // of a cluster that sealrt did not make
	registry       string // that such a cluster gets images from, HOST/PREFIX
	dryRun         bool
	yes            bool
	output         string
}

func newRun(env *environment) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [IMAGE...] [-f CLUSTERFILE] [--masters HOST,...] [--nodes HOST,...]",
		Short: "Create a cluster from a cluster image, or put app images on one",
		Long: `Create a cluster from a cluster image, or go on where an earlier run stopped.

IMAGE is a reference, or oci-archive:FILE. The first image boots the cluster;
patches that follow are laid over it, and the commands of app images run on its
first master. Hosts are [user@]host[:port], separated by commas; 10.0.0.[1-5] is
a range. Without hosts the cluster is made on this machine. A Clusterfile says all
of this, and more; what is given beside it wins.

App images alone are put on the cluster that --cluster names, once more if they
are there already. With --kubeconfig and --registry the cluster is one that sealrt
did not make: container images are pushed to HOST/PREFIX, everything else happens
on this machine.

The path of the administrator's kubeconfig is printed on stdout.`,
		Example: `  sealrt run registry.example.com/kubernetes:v1.34.4 --masters 10.0.0.1 --nodes 10.0.0.2,10.0.0.3
  sealrt run kubernetes:v1.34.4 --masters ops@10.0.0.1 --dry-run
  sealrt run -f Clusterfile
  sealrt run shop:v7 -e DOMAIN=shop.example.com
  sealrt run shop:v7 --kubeconfig ~/.kube/config --registry harbor.example.com/shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			doc, err := f.document(env, cmd.Flags().Changed("cluster"), args)
			if err != nil {
				return err
			}
			f.cluster = doc.Metadata.Name
			return twice(env, func() error { return run(cmd.Context(), env, f, doc) })
		},
	}
	flags := cmd.Flags()
	f.sshFlags.register(flags)
	f.preflightFlags.register(flags)
	flags.StringVar(&f.cluster, "cluster", "default", "`NAME` of the cluster")
	flags.StringVarP(&f.file, "file", "f", "", "Clusterfile; - is standard input")
	flags.StringVar(&f.masters, "masters", "", "`HOSTS` of the control plane")
	flags.StringVar(&f.nodes, "nodes", "", "`HOSTS` of the workloads")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "setting of the image, `NAME=VALUE`; repeatable")
	flags.StringSliceVar(&f.podCIDR, "pod-cidr", nil, "addresses of pods")
	flags.StringSliceVar(&f.serviceCIDR, "service-cidr", nil, "addresses of services")
	flags.StringVar(&f.policy, "policy", "", "before any host is touched, check the images by the rules in `FILE`")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "put app images on the cluster of this kubeconfig `FILE`, which sealrt did not make")
	flags.StringVar(&f.registry, "registry", "", "with --kubeconfig: that cluster gets container images from `HOST/PREFIX`")
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	flags.BoolVar(&f.yes, "yes", false, "do not ask")
	outputFlag(cmd, &f.output)
	env.registryFlags(flags)
	return cmd
}

func run(ctx context.Context, env *environment, f runFlags, doc *clusterfile.Document) error {
	args := doc.Spec.Image
	if err := f.checkForeign(); err != nil {
		return err
	}
	asked, settings, wrong := f.asked(ctx, env, doc)
	if errors.As(wrong, new(usageError)) {
		return wrong
	}
	approved, err := judge(ctx, env, f.policy, args)
	if err != nil {
		return err
	}
	kinds, err := kindsOf(ctx, env, args)
	switch {
	case err != nil:
		return err
	case f.kubeconfig != "":
		return runForeign(ctx, env, f, args, kinds, approved)
	case appsAlone(kinds) && f.masters == "":
		return runApps(ctx, env, f, args, approved)
	case wrong != nil:
		return wrong
	}
	return runCluster(ctx, env, f, doc, approved, asked, settings)
}

// runCluster creates a cluster as asked, with these settings of images.
func runCluster(ctx context.Context, env *environment, f runFlags, doc *clusterfile.Document, approved judged, asked *clusterfile.Spec, settings map[string]string) error {
	args := doc.Spec.Image
	if err := env.catchUp(ctx, f.cluster, f.sshFlags); err != nil {
		return err
	}
	k, err := begin(env, f.cluster, f.sshFlags, asked)
	if err != nil {
		return err
	}
	defer k.close()
	k.command, k.output, k.yes = "run", f.output, f.yes
	before, err := k.state.Load()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if k.cluster.Others = doc.Others; before != nil && f.file == "" { // flags cannot say them
		k.cluster.Others = before.Others
	}
	if err := k.approach(ctx); err != nil {
		return err
	}
	if err := k.open(ctx, args, approved); err != nil {
		return err
	}
	// What a registry hid while it was asked is here now.
	if _, err := judge(ctx, env, f.policy, args); err != nil {
		return err
	}
	if err := sameImage(k.state, k.cluster); err != nil {
		return err
	}
	if err := k.changeable(before); err != nil {
		return err
	}
	if err := k.rememberApps(); err != nil {
		return err
	}
	if err := knownSettings(k.cluster.Images, settings); err != nil {
		return err
	}
	plan, err := k.planToCreate(ctx, f.preflightFlags)
	if err != nil {
		return err
	}
	if f.dryRun {
		return k.print(ctx, plan)
	}
	if err := k.carryOut(ctx, plan); err != nil {
		return advised(fmt.Errorf("run %s: %w", k.cluster.Image().Ref.Familiar(), err), fmt.Sprintf("mend the cause and run the same command again: it goes on where it stopped; or remove all traces with: sealrt reset --cluster %s", f.cluster))
	}
	_, err = fmt.Fprintln(env.stdout, k.state.KubeconfigPath())
	return err
}

// asked returns the cluster that the Clusterfile and the flags describe, host by
// host, and the settings among the flags.
func (f runFlags) asked(ctx context.Context, env *environment, doc *clusterfile.Document) (*clusterfile.Spec, map[string]string, error) {
	settings, err := parseSettings(f.env)
	if err != nil {
		return nil, nil, err
	}
	if err := checkNetwork(clusterfile.Network{PodCIDR: f.podCIDR, ServiceCIDR: f.serviceCIDR}); err != nil {
		return nil, nil, err
	}
	members, err := f.members(ctx, env, doc)
	if err != nil {
		return nil, nil, err
	}
	spec := doc.Spec
	c := &runtime.Cluster{Spec: spec, Members: members}
	spec.Hosts = c.Clusterfile().Spec.Hosts
	spec.SSH = merged(f.SSH, spec.SSH)
	if len(f.podCIDR) > 0 {
		spec.Network.PodCIDR = f.podCIDR
	}
	if len(f.serviceCIDR) > 0 {
		spec.Network.ServiceCIDR = f.serviceCIDR
	}
	spec.Env = maps.Clone(spec.Env)
	if spec.Env == nil {
		spec.Env = map[string]string{}
	}
	maps.Copy(spec.Env, settings)
	return &spec, settings, nil
}

// begin opens the state of a cluster that is to be as asked, whether it exists
// or not.
func begin(env *environment, name string, ssh sshFlags, asked *clusterfile.Spec) (*known, error) {
	folder, err := env.openFolder(env.clusters(), name)
	if err != nil {
		return nil, err
	}
	k := &known{env: env, state: folder}
	if err := k.ask(name, ssh, asked); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *known) ask(name string, ssh sshFlags, asked *clusterfile.Spec) error {
	if err := continued(k.state, name, asked); err != nil {
		return err
	}
	members, err := runtime.MembersOf(*asked)
	if err != nil {
		return err
	}
	k.cluster = &runtime.Cluster{Spec: *asked, Name: name, Members: members}
	k.env.reveals(k.cluster)
	return k.means(ssh)
}

// open opens the images that the cluster is made of, for the hosts' platform.
func (k *known) open(ctx context.Context, args []string, approved judged) error {
	platform, err := k.platform(ctx)
	if err != nil {
		return err
	}
	if k.cluster.Images, k.source, err = openImages(ctx, k.env, args, platform, approved); err != nil {
		return err
	}
	if image := k.cluster.Image(); !image.Boots() {
		return fmt.Errorf("%s is an app image, which no cluster can be made of: name a rootfs image in front of it, or leave the hosts away to put it on a cluster that stands", image.Ref.Familiar())
	}
	made, err := loadImages(k.state)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(made) > 0 {
		k.cluster.Images[0].Service = made[0].Service
	}
	k.inImage = helperInImages(ctx, k.source, k.cluster.Images)
	k.driver, err = distros.New(k.cluster.Image())
	return err
}

// platform is that of the first host that answers. What is wrong with the
// others is told by preflight, with all else.
func (k *known) platform(ctx context.Context) (v1.Platform, error) {
	var errs []error
	for _, m := range k.cluster.Members {
		h := k.hosts[m.Address]
		if h == nil {
			continue
		}
		p, err := runtime.HostPlatform(ctx, h)
		if err == nil || ctx.Err() != nil {
			return p, err
		}
		errs = append(errs, fmt.Errorf("host %s: %w", m.Name(), err))
	}
	return v1.Platform{}, errors.Join(errs...)
}

// planToCreate asks the hosts whether the cluster can be made, and plans it.
// What preflight finds and what is in the plan's way are told together.
func (k *known) planToCreate(ctx context.Context, f preflightFlags) (runtime.Plan, error) {
	fixes, err := k.preflight(ctx, k.cluster, f, nil)
	plan, err := k.checked(ctx, err, k.create)
	return fixes.Then(plan), err
}

// create plans the cluster.
func (k *known) create() (runtime.Plan, error) {
	life, err := k.life()
	if err != nil {
		return runtime.Plan{}, err
	}
	if _, err := os.Stat(k.state.KubeconfigPath()); err == nil {
		life = life.Forced() // a cluster that stands may have come down to two masters
	}
	plan, err := life.Create()
	if err != nil {
		return runtime.Plan{}, err
	}
	if k.cluster.Images, err = life.Bringing(k.cluster.Images); err != nil {
		return runtime.Plan{}, err
	}
	for _, a := range life.Advice() {
		k.env.note("%s", a)
	}
	return plan, nil
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
