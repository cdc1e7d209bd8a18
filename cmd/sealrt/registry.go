package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"sync"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/registry"
)

// newRegistry makes the command whose commands are about serving container
// images.
func newRegistry(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "registry COMMAND",
		Short:   "Serve container images, and free what no cluster image needs",
		Long:    "Serve the container images inside cluster images as a registry, and free what the image service of a cluster no longer needs.",
		Example: "  sealrt registry serve\n  sealrt registry gc --cluster default --dry-run",
		Args:    knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("registry: a command is missing")}
		},
	}
	cmd.AddCommand(newRegistryServe(env), newRegistryGC(env))
	return cmd
}

func newRegistryServe(env *environment) *cobra.Command {
	var settings, listen, platform string
	cmd := &cobra.Command{
		Use:   "serve [flags] [REF...]",
		Short: "Serve the container images inside cluster images",
		Long: `Serve the container images inside the cluster images of the store, or inside the
ones that are named, as a registry that takes nothing in. Its address is printed
on stdout. Ctrl-C ends it.

An image is found below the path that it has in its own registry:
docker.io/library/nginx:1.25 is library/nginx:1.25. Where several registries have
it, ask for ADDRESS/docker.io/library/nginx:1.25, or as mirrors are asked, with
?ns=docker.io.

The hosts of a cluster need no such command: each runs the image service.`,
		Example: "  sealrt registry serve\n  sealrt registry serve k3s:v1.25.3 --listen 127.0.0.1:5000",
		Args:    needArgs("", 0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if settings != "" {
				return serveHost(cmd.Context(), env, settings)
			}
			return serveStore(cmd.Context(), env, args, listen, platform)
		},
	}
	cmd.Flags().StringVar(&settings, "settings", "", "be the image service of this host, as `FILE` says")
	cmd.Flags().Lookup("settings").Hidden = true
	cmd.Flags().StringVar(&listen, "listen", fmt.Sprintf("127.0.0.1:%d", registry.DefaultPort), "listen on `ADDRESS:PORT`; 0 is a free port")
	onPlatform(cmd, &platform)
	return cmd
}

// serveHost is the image service of a host of a cluster.
func serveHost(ctx context.Context, env *environment, settings string) error {
	s, err := registry.New(settings, ownImages(env), func(text string) { env.note("%s", text) })
	if err != nil {
		return err
	}
	s.Ready = env.ready
	return s.Serve(ctx)
}

// ready tells systemd, where it asks for that, that a service answers
// (sd_notify(3), "READY=1").
func (e *environment) ready() error {
	socket := e.getenv("NOTIFY_SOCKET")
	if socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	_, err = c.Write([]byte("READY=1"))
	return errors.Join(err, c.Close())
}

// ownImages are the container images that this host keeps of cluster images.
func ownImages(env *environment) registry.Local {
	open := sync.OnceValues(func() (*depot.Depot, error) {
		d, err := openDepot(env)
		if err == nil {
			env.opened = append(env.opened, d)
		}
		return d, err
	})
	return registry.Polled(func(ctx context.Context) (layout.Images, error) {
		d, err := open()
		if err != nil {
			return nil, err
		}
		return d.Images(ctx)
	})
}

// serveStore serves what is inside the cluster images of the store.
func serveStore(ctx context.Context, env *environment, args []string, listen, platform string) error {
	images, n, err := insideStore(ctx, env, args, platform)
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("registry serve: %w: choose another address with --listen", err)
	}
	env.note("serving %d container images, Ctrl-C ends it", n)
	if _, err := fmt.Fprintf(env.stdout, "http://%s\n", l.Addr()); err != nil {
		l.Close()
		return err
	}
	return registry.ServeOn(ctx, l, registry.Handler(registry.Always(images)))
}

// insideStore opens the container images inside cluster images, and counts them.
func insideStore(ctx context.Context, env *environment, args []string, platform string) (layout.Images, int, error) {
	store, err := env.heldStore(ctx)
	if err != nil {
		return nil, 0, err
	}
	refs, err := parseRefs(args)
	if err != nil {
		return nil, 0, err
	}
	if len(args) == 0 {
		named, err := store.Refs(ctx)
		if err != nil {
			return nil, 0, err
		}
		for _, n := range named {
			refs = append(refs, n.Ref)
		}
	}
	var parts []layout.Images
	for _, ref := range refs {
		versions, err := versionsOf(ctx, store, ref, "")
		if err == nil && platform != "" {
			versions, err = versionsOf(ctx, store, ref, platform)
		}
		if err != nil {
			return nil, 0, err
		}
		for _, v := range versions {
			if len(args) == 0 && v.config.Config.Labels[artifact.LabelImagesDigest] == "" {
				continue // nothing inside
			}
			c, err := layout.OpenContents(ctx, store, ref, v.manifest)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, 0, err
			}
			parts = append(parts, c)
		}
	}
	images := registry.Union(parts...)
	n := 0
	for _, e := range images.Entries() {
		if e.Name != "" {
			n++
		}
	}
	if n == 0 {
		return nil, 0, fmt.Errorf("registry serve: no cluster image in %s has container images inside: pull, load or build one", store.Root())
	}
	return images, n, nil
}

func newRegistryGC(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "gc",
		Short: "Free what the masters of a cluster keep and no image needs",
		Long: `Free what the masters of a cluster keep and no installed image needs: cluster
images that are not installed any more with their blobs, and of the image service
blobs that nothing names and what a master fetched from another one that has it no
more. What image push added stays. What was freed is printed.`,
		Example: "  sealrt registry gc --cluster default --dry-run",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return twice(env, func() error {
				k, err := openCluster(env, cluster, ssh)
				if err != nil {
					return err
				}
				defer k.close()
				freed, err := k.collect(cmd.Context(), dryRun)
				return errors.Join(err, printFreed(env, output, freed, dryRun))
			})
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "print what would be freed and change nothing")
	outputFlag(cmd, &output)
	return cmd
}

// freedOn is what became free on one host.
type freedOn struct {
	Host  string           `json:"host"`
	Freed []registry.Freed `json:"freed"`
}

// collect frees on all masters that answer. What is needed is what the newest
// state says, while nobody changes the cluster.
func (k *known) collect(ctx context.Context, dryRun bool) ([]freedOn, error) {
	masters, reach := k.connectMasters(ctx)
	if len(masters) == 0 {
		return nil, fmt.Errorf("registry gc: no master can be reached: %w", reach)
	}
	if err := k.hold(ctx, "registry gc"); err != nil { // a dry run too is about the newest state
		return nil, err
	}
	if err := k.atRest(); err != nil {
		return nil, err
	}
	freed, err := k.collectOn(ctx, masters, dryRun)
	return freed, errors.Join(err, reach)
}

// atRest refuses to free anything while hosts may need more than what the state
// names: between one image and the next, for instance.
func (k *known) atRest() error {
	last, err := k.lastOperation()
	if err != nil || last == nil || last.State == runtime.OutcomeDone {
		return err
	}
	return fmt.Errorf("registry gc: nothing was freed, since hosts may be half way: %s: bring that to its end first, with the same command", lastOperationText(last))
}

// collectOn frees on masters at once. What was freed on some is returned with the
// error about others.
func (k *known) collectOn(ctx context.Context, masters []runtime.Member, dryRun bool) ([]freedOn, error) {
	freed := make([]freedOn, len(masters))
	errs := make([]error, len(masters))
	var wg sync.WaitGroup
	for i, m := range masters {
		wg.Go(func() {
			args := []string{"registry-gc"}
			if dryRun {
				args = append(args, "--dry-run")
			}
			freed[i] = freedOn{Host: m.Name(), Freed: []registry.Freed{}}
			if k.cluster.Serves() {
				errs[i] = k.onHost(ctx, m, nil, &freed[i].Freed, args...)
			}
			errs[i] = errors.Join(errs[i], k.dropOn(ctx, m, &freed[i], dryRun))
		})
	}
	wg.Wait()
	return freed, errors.Join(errs...)
}

// dropOn frees what of cluster images a master keeps and no installed one needs,
// and adds it to what was freed there.
func (k *known) dropOn(ctx context.Context, m runtime.Member, freed *freedOn, dryRun bool) error {
	argv := []string{runtime.HelperPath, "host", "drop"}
	for _, i := range k.cluster.Images {
		argv = append(argv, i.Digest)
	}
	if len(k.cluster.Images) == 0 {
		return nil
	}
	out, err := host.Output(ctx, k.hosts[m.Address], append(slices.Clone(argv), "--list")...)
	var list []depot.Needless
	if err == nil {
		err = json.Unmarshal(out, &list)
	}
	if err == nil && len(list) > 0 && !dryRun {
		_, err = host.Output(ctx, k.hosts[m.Address], argv...)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", m.Name(), err)
	}
	for _, n := range list {
		freed.Freed = append(freed.Freed, registry.Freed(n))
	}
	return nil
}

// connectMasters reaches the masters, and returns those that answer.
func (k *known) connectMasters(ctx context.Context) ([]runtime.Member, error) {
	all := k.cluster.Masters()
	err := k.reach(ctx, all)
	var there []runtime.Member
	for _, m := range all {
		if k.hosts[m.Address] != nil {
			there = append(there, m)
		}
	}
	return there, err
}

// onHost asks the image service of a host something: a command of sealrt there,
// with a value as JSON on its input, that answers with another on its output.
func (k *known) onHost(ctx context.Context, m runtime.Member, input, output any, args ...string) error {
	raw, err := json.Marshal(input)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	argv := append([]string{runtime.HelperPath, "host"}, args...)
	err = k.hosts[m.Address].Run(ctx, host.Command{Argv: append(argv, "--settings", runtime.ServiceSettings), Stdin: bytes.NewReader(raw), Stdout: &out})
	if err == nil && output != nil {
		err = json.Unmarshal(out.Bytes(), output)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", m.Name(), err)
	}
	return nil
}

func printFreed(env *environment, output string, list []freedOn, dryRun bool) error {
	if output == "json" {
		return printJSON(env, list)
	}
	for _, on := range list {
		var sum int64
		for _, f := range on.Freed {
			sum += f.Size
			if _, err := fmt.Fprintf(env.stdout, "%s  %s  %s  %s\n", on.Host, f.Kind, f.Name, sizeText(f.Size)); err != nil {
				return err
			}
		}
		verb := "freed"
		if dryRun {
			verb = "would free"
		}
		env.note("host %s: %s %s", on.Host, verb, sizeText(sum))
	}
	return nil
}
