package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
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
	images, source, err := openImages(ctx, env, args, platform)
	if err != nil {
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

// checkNetwork refuses what is no network.
func checkNetwork(n runtime.Network) error {
	for flag, list := range map[string]string{"--pod-cidr": n.PodCIDR, "--service-cidr": n.ServiceCIDR} {
		if list == "" {
			continue
		}
		for cidr := range strings.SplitSeq(list, ",") {
			if p, err := netip.ParsePrefix(cidr); err != nil || p != p.Masked() {
				return usageError{fmt.Errorf("%s %q: write a network like 10.244.0.0/16", flag, list)}
			}
		}
	}
	return nil
}

// continued completes what is asked of a cluster with what it was made with:
// a second run repeats nothing that the first one was told. It refuses to
// forget a host, and to change what a cluster that stands was made with.
func continued(s *runtime.State, name string, asked *runtime.ClusterfileSpec) error {
	before, err := s.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	roles := map[string]runtime.Role{}
	for _, m := range asked.Hosts {
		roles[m.Name()] = m.Role
	}
	for _, m := range before.Spec.Hosts {
		switch role, ok := roles[m.Name()]; {
		case !ok:
			return fmt.Errorf("host %s is a %s of the cluster %s, and this command does not name it: name all hosts of the cluster, or reset it first", m.Name(), m.Role, name)
		case role != m.Role:
			return fmt.Errorf("host %s is a %s of the cluster %s, not a %s: name it with --%ss, or reset the cluster first", m.Name(), m.Role, name, role, m.Role)
		}
	}
	asked.SSH = merged(asked.SSH, before.Spec.SSH)
	_, err = os.Stat(s.KubeconfigPath())
	stands := err == nil
	values := []struct {
		what   string
		asked  *string
		before string
	}{
		{"--pod-cidr", &asked.Network.PodCIDR, before.Spec.Network.PodCIDR},
		{"--service-cidr", &asked.Network.ServiceCIDR, before.Spec.Network.ServiceCIDR},
	}
	for _, v := range values {
		if *v.asked == "" {
			*v.asked = v.before
		} else if stands && *v.asked != v.before {
			return fixed(name, v.what, v.before)
		}
	}
	for k, v := range before.Spec.Env {
		if _, ok := asked.Env[k]; !ok {
			asked.Env[k] = v
		}
	}
	for k, v := range asked.Env {
		if old, ok := before.Spec.Env[k]; stands && (!ok || old != v) {
			return fixed(name, "-e "+k, old)
		}
	}
	return nil
}

// fixed refuses to change what a cluster was made with.
func fixed(cluster, what, before string) error {
	if before == "" {
		before = "the default"
	}
	return fmt.Errorf("the cluster %s stands, and was made with %s for %s: that cannot be changed by this version of sealrt: leave it away, or reset the cluster first", cluster, before, what)
}

// knownSettings refuses a setting that no image knows: one that is mistyped
// would change nothing.
func knownSettings(images []runtime.Image, settings map[string]string) error {
	for name := range settings {
		known, err := asksFor(images, name)
		if err != nil {
			return err
		}
		if !known {
			return usageError{fmt.Errorf("-e %s: no image has such a setting (%s has: %s)", name, images[0].Ref.Familiar(), strings.Join(names(images[0].Env), ", "))}
		}
	}
	return nil
}

// asksFor reports whether an image has the setting in its ENV, or a template
// that names it.
func asksFor(images []runtime.Image, name string) (bool, error) {
	found := false
	for _, i := range images {
		found = found || slices.Contains(names(i.Env), name)
		err := fs.WalkDir(i.Files, ".", func(file string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(file, runtime.TemplateSuffix) {
				return err
			}
			text, err := fs.ReadFile(i.Files, file)
			found = found || strings.Contains(string(text), name)
			return err
		})
		if err != nil {
			return false, err
		}
	}
	return found, nil
}

// names returns the names of variables, K=V.
func names(env []string) []string {
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		out = append(out, name)
	}
	return out
}

// parseSettings reads -e NAME=VALUE.
func parseSettings(list []string) (map[string]string, error) {
	settings := map[string]string{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usageError{fmt.Errorf("-e %q: write NAME=VALUE", kv)}
		}
		settings[k] = v
	}
	return settings, nil
}

// archivePrefix marks an image that is read from an OCI archive where it lies.
const archivePrefix = "oci-archive:"

// openImages finds each image in the store, in its registry, or in an archive,
// and returns with them the one place that all their blobs are read from.
func openImages(ctx context.Context, env *environment, args []string, platform v1.Platform) ([]runtime.Image, artifact.Source, error) {
	store, err := env.openStore()
	if err != nil {
		return nil, nil, err
	}
	var images []runtime.Image
	sources := byReference{}
	for _, arg := range args {
		ref, src, err := locate(ctx, env, store, arg)
		if err != nil {
			return nil, nil, err
		}
		image, err := runtime.OpenImage(ctx, src, ref, platform)
		if err != nil {
			return nil, nil, err
		}
		images = append(images, image)
		sources[ref.Name()] = src
	}
	return images, sources, nil
}

// locate returns where an image lies. What the store lacks is pulled into it.
func locate(ctx context.Context, env *environment, store *artifact.Store, arg string) (artifact.Reference, artifact.Source, error) {
	if file, ok := strings.CutPrefix(arg, archivePrefix); ok {
		archive, err := artifact.OpenArchive(file)
		if err != nil {
			return artifact.Reference{}, nil, err
		}
		refs := archive.Refs()
		if len(refs) != 1 {
			return artifact.Reference{}, nil, fmt.Errorf("%s holds %d images: load it and name one of them", file, len(refs))
		}
		return refs[0].Ref, archive, nil
	}
	ref, err := artifact.ParseReference(arg)
	if err != nil {
		return artifact.Reference{}, nil, usageError{err}
	}
	_, err = store.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) {
		_, err = artifact.Copy(ctx, store, ref, env.registry(), ref, artifact.CopyOptions{Jobs: env.jobs, Observe: env.progress()})
	}
	return ref, store, err
}

// byReference is a source made of several, by the name of the image.
type byReference map[string]artifact.Source

// Resolve implements artifact.Source.
func (b byReference) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return b[ref.Name()].Resolve(ctx, ref)
}

// Open implements artifact.Source.
func (b byReference) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return b[ref.Name()].Open(ctx, ref, d, offset)
}

// helper opens the sealrt executable for a platform: this very program where
// it is the same one.
func (e *environment) helper(system, arch string) (io.ReadCloser, error) {
	if system != goruntime.GOOS || arch != goruntime.GOARCH {
		return nil, fmt.Errorf("the host is %s/%s and this sealrt is %s/%s: run the sealrt that was built for the hosts", system, arch, goruntime.GOOS, goruntime.GOARCH)
	}
	path, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the sealrt executable: %w", err)
	}
	return os.Open(path)
}

// imagesFile keeps what the cluster was made of, so that reset and status need
// no image at hand.
const imagesFile = "images.json"

// madeOf is one image of a cluster, as the state keeps it.
type madeOf struct {
	Ref    artifact.Reference `json:"ref"`
	Digest string             `json:"digest"`
	Kind   artifact.Kind      `json:"kind"`
}

func saveCluster(s *runtime.State, c *runtime.Cluster, ssh runtime.SSH) error {
	var made []madeOf
	for _, i := range c.Images {
		made = append(made, madeOf{i.Ref, i.Digest, i.Kind})
	}
	raw, err := json.MarshalIndent(made, "", "  ")
	if err != nil {
		return fmt.Errorf("save the cluster: %w", err)
	}
	if err := s.Write(imagesFile, append(raw, '\n')); err != nil {
		return err
	}
	return s.Save(c.Clusterfile(ssh))
}

func loadImages(s *runtime.State) ([]madeOf, error) {
	raw, err := os.ReadFile(s.Path(imagesFile))
	if err != nil {
		return nil, err
	}
	var made []madeOf
	if err := json.Unmarshal(raw, &made); err != nil || len(made) == 0 {
		return nil, fmt.Errorf("%s is damaged: %w", s.Path(imagesFile), err)
	}
	return made, nil
}

// sameImage refuses to make a cluster of one image into one of another: that
// is an upgrade.
func sameImage(s *runtime.State, c *runtime.Cluster) error {
	made, err := loadImages(s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if made[0].Digest != c.Image().Digest {
		return fmt.Errorf("cluster %s was made of %s (%s), not of this %s (%s): reset it first, or give another --cluster", c.Name, made[0].Ref.Familiar(), made[0].Digest, c.Image().Ref.Familiar(), c.Image().Digest)
	}
	return nil
}
