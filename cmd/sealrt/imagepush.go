package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/registry"
)

func newImagePush(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster string
	var platforms []string
	cmd := &cobra.Command{
		Use:   "push [flags] REF... --cluster NAME",
		Short: "Add container images to a cluster",
		Long: `Add container images to the masters of a cluster, from where every host of it
pulls them at once, by the names they have. A reference is looked for in the store
and then in its registry; docker-archive:FILE[:NAME], oci-archive:FILE[:NAME],
oci:FOLDER[:NAME] and docker-daemon:NAME are other places, from which all images
are taken that have a name where none is given.

Of images for several platforms those of the cluster's hosts are pushed. The first
master is sent what it lacks, the others fetch it from there. A master that is down
fetches it when it is back. Every image that is there now is printed with its
digest.`,
		Example: `  sealrt image push registry.example.com/shop/api:v7 --cluster default
  sealrt image push docker-archive:api.tar --cluster default`,
		Args: needArgs("an image", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			chosen, err := parsePlatforms(platforms)
			if err != nil {
				return err
			}
			k, err := openCluster(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			return k.push(cmd.Context(), args, chosen)
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringSliceVar(&platforms, "platform", nil, "of images for several platforms push those for `OS/ARCH`, not those of the cluster's hosts")
	env.registryFlags(cmd.Flags())
	return cmd
}

// pushing is what is being pushed.
type pushing struct {
	images []registry.Image
	blobs  []v1.Descriptor
	list   []registry.Listed
}

func (k *known) push(ctx context.Context, args []string, platforms []v1.Platform) error {
	if external := k.cluster.Registry.External; external != "" {
		return fmt.Errorf("cluster %s pulls from %s: push there, with `sealrt push` or any other tool", k.cluster.Name, external)
	}
	images, err := k.env.toCluster(ctx, args)
	if err != nil {
		return err
	}
	masters, down := k.connectMasters(ctx)
	if len(masters) == 0 {
		return fmt.Errorf("image push: no master can be reached: %w", down)
	}
	if down != nil {
		k.env.note("%v; it fetches the images when it is back", down)
	}
	if len(platforms) == 0 {
		if platforms, err = k.platforms(ctx, masters[0]); err != nil {
			return err
		}
	}
	p, err := toPushOf(ctx, images, platforms)
	if err != nil {
		return err
	}
	if err := k.sendTo(ctx, masters[0], p); err != nil {
		return err
	}
	if err := k.spread(ctx, masters[1:], p); err != nil {
		return err
	}
	for _, i := range images {
		if _, err := fmt.Fprintln(k.env.stdout, i.Ref.WithDigest(i.Desc.Digest)); err != nil {
			return err
		}
	}
	return nil
}

// toPushOf lists what there is to push, for some platforms.
func toPushOf(ctx context.Context, images []registry.Image, platforms []v1.Platform) (pushing, error) {
	p := pushing{images: images}
	seen := map[v1.Hash]bool{}
	now := time.Now().UTC()
	for _, i := range images {
		blobs, err := i.Blobs(ctx, platforms)
		if err != nil {
			return p, err
		}
		for _, d := range blobs {
			if !seen[d.Digest] {
				seen[d.Digest] = true
				p.blobs = append(p.blobs, d)
			}
		}
		d := v1.Descriptor{MediaType: i.Desc.MediaType, Digest: i.Desc.Digest, Size: i.Desc.Size}
		p.list = append(p.list, registry.Listed{Name: i.Ref.String(), Desc: d, Pushed: now})
	}
	return p, nil
}

// spread has the other masters fetch the images from the first one, and sends
// them what they could not.
func (k *known) spread(ctx context.Context, masters []runtime.Member, p pushing) error {
	errs := make([]error, len(masters))
	var wg sync.WaitGroup
	for i, m := range masters {
		wg.Go(func() {
			if err := k.onHost(ctx, m, nil, nil, "image-catch-up"); err != nil {
				k.env.note("%v; sent from here instead", err)
			}
			errs[i] = k.sendTo(ctx, m, p)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sendTo brings a master what it lacks of the images.
func (k *known) sendTo(ctx context.Context, m runtime.Member, p pushing) error {
	var wants []registry.Want
	if err := k.onHost(ctx, m, p.blobs, &wants, "image-lacks"); err != nil {
		return fmt.Errorf("%w: a cluster that was made without the image service cannot be pushed to", err)
	}
	r, w := io.Pipe()
	var sent int64
	var sending error
	var wg sync.WaitGroup
	wg.Go(func() {
		sent, sending = registry.Send(ctx, w, p.images, wants, p.list)
		w.CloseWithError(sending)
	})
	argv := []string{runtime.HelperPath, "host", "image-take", "--settings", runtime.ServiceSettings}
	err := k.hosts[m.Address].Run(ctx, host.Command{Argv: argv, Stdin: r})
	r.CloseWithError(io.ErrClosedPipe)
	wg.Wait()
	if sending != nil && !errors.Is(sending, io.ErrClosedPipe) {
		return fmt.Errorf("host %s: %w", m.Name(), sending)
	}
	if err != nil {
		return fmt.Errorf("host %s: %w", m.Name(), err)
	}
	k.env.note("host %s: %s sent", m.Name(), sizeText(sent))
	return nil
}

// platforms returns those of the cluster's hosts. A host that was never asked is
// like the first master.
func (k *known) platforms(ctx context.Context, first runtime.Member) ([]v1.Platform, error) {
	p, err := runtime.HostPlatform(ctx, k.hosts[first.Address])
	if err != nil {
		return nil, fmt.Errorf("host %s: %w", first.Name(), err)
	}
	list := []v1.Platform{p}
	seen := map[string]bool{p.Architecture: true, "": true}
	for _, m := range k.cluster.Members {
		if !seen[m.Arch] {
			seen[m.Arch] = true
			list = append(list, v1.Platform{OS: p.OS, Architecture: m.Arch})
		}
	}
	return list, nil
}

// toCluster finds the images that arguments name, each under the name that pods
// ask for it.
func (e *environment) toCluster(ctx context.Context, args []string) ([]registry.Image, error) {
	var images []registry.Image
	for _, arg := range args {
		place, name, err := transport.Split(arg)
		if err != nil {
			return nil, usageError{err}
		}
		var found []registry.Image
		if place == "" {
			found, err = e.fromStoreOrRegistry(ctx, name)
		} else {
			found, err = e.fromPlace(ctx, place, name)
		}
		if err != nil {
			return nil, err
		}
		images = append(images, found...)
	}
	return images, nil
}

func (e *environment) fromStoreOrRegistry(ctx context.Context, name string) ([]registry.Image, error) {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, usageError{err}
	}
	store, err := e.heldStore(ctx)
	if err != nil {
		return nil, err
	}
	var src artifact.Source = store
	d, err := store.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) {
		src = e.registry()
		d, err = src.Resolve(ctx, ref)
	}
	if err != nil {
		return nil, err
	}
	return []registry.Image{{Ref: ref, Desc: d, Source: src}}, nil
}

// fromPlace finds the image of that name in an archive, a folder or a daemon, or
// all that have a name. The place is closed when the command ends.
func (e *environment) fromPlace(ctx context.Context, place, name string) ([]registry.Image, error) {
	o := transport.Options{Adopt: name != "", DockerHost: e.getenv("DOCKER_HOST"), DockerCerts: e.getenv("DOCKER_CERT_PATH")}
	p, err := transport.Open(ctx, place, o)
	if err != nil {
		return nil, err
	}
	e.opened = append(e.opened, p)
	if name == "" {
		named, err := p.Refs(ctx)
		if err != nil {
			return nil, err
		}
		var list []registry.Image
		for _, n := range named {
			list = append(list, registry.Image{Ref: n.Ref, Desc: n.Desc, Source: p})
		}
		return list, nil
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, usageError{err}
	}
	d, err := p.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	return []registry.Image{{Ref: ref, Desc: d, Source: p}}, nil
}
