package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/export"
)

func newImageCopy(env *environment) *cobra.Command {
	var platform string
	var all bool
	cmd := &cobra.Command{
		Use:   "copy [flags] REF HOST/PREFIX [NAME...]",
		Short: "Push container images inside a cluster image to a registry",
		Long: `Push container images inside a cluster image to a registry, those of the given
names or all, with their signatures. What the registry has is not sent again.
Every reference that is there now is printed with its digest.

Below PREFIX, which may be left out, an image keeps its path and loses its
registry, so that a mirror of that registry finds it:

  docker.io/library/nginx:1.25  is HOST/PREFIX/library/nginx:1.25
  docker.io/calico/node:v3.29   is HOST/PREFIX/calico/node:v3.29
  registry.k8s.io/pause:3.9     is HOST/PREFIX/pause:3.9

Two different images that would get one name are an error, before anything is
pushed. References by digest are pushed by digest.

A tag names the image for the platform of the cluster image; with --all-platforms
an index of the images for all its platforms, which is upstream's where all of
that is inside. What differs from upstream is told. An index that a reference
names by digest and that is not whole is refused by most registries: the rest is
pushed all the same, and the command fails at its end.`,
		Example: `  sealrt image copy k3s:v1.25.3 harbor.example.com/k8s
  sealrt image copy k3s:v1.25.3 registry.lan:5000 nginx:1.25 --all-platforms`,
		Args: needArgs("an image reference and HOST/PREFIX", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all && platform != "" {
				return usageError{errors.New("image copy: --platform and --all-platforms exclude each other")}
			}
			return copyInside(cmd.Context(), env, args, platform, all)
		},
	}
	onPlatform(cmd, &platform)
	cmd.Flags().BoolVar(&all, "all-platforms", false, "push every image for all platforms of the cluster image, as one index")
	env.registryFlags(cmd.Flags())
	return cmd
}

// copyInside pushes what the arguments say.
func copyInside(ctx context.Context, env *environment, args []string, platform string, all bool) error {
	if err := checkPrefix(args[1]); err != nil {
		return err
	}
	names, err := parseRefs(args[2:])
	if err != nil {
		return err
	}
	variants, ref, err := toPush(ctx, env, args[0], platform, all)
	if err != nil {
		return err
	}
	o := env.copyOptions()
	o.Attached = false // Push knows what is attached to the images inside
	err = export.Push(ctx, env.registry(), variants, export.PushOptions{
		Prefix: args[1], Names: names, AllPlatforms: all, Copy: o,
		Note: func(text string) { env.note("%s", text) },
		Pushed: func(to artifact.Reference, d v1.Descriptor) error {
			_, err := fmt.Fprintln(env.stdout, to.WithDigest(d.Digest))
			return err
		},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return nil
}

// toPush opens the platforms that are to be pushed.
func toPush(ctx context.Context, env *environment, arg, platform string, all bool) ([]export.Variant, artifact.Reference, error) {
	var list []inside
	var err error
	if all {
		list, err = openInside(ctx, env, arg, "")
	} else {
		list = make([]inside, 1)
		list[0], err = openOne(ctx, env, arg, platform)
	}
	if err != nil {
		return nil, artifact.Reference{}, err
	}
	var variants []export.Variant
	for _, in := range list {
		if err := in.needImages(); err != nil {
			return nil, in.ref, err
		}
		v := export.Variant{Images: in.images}
		if p := in.config.Platform(); p != nil {
			v.Platform = *p
		}
		variants = append(variants, v)
	}
	return variants, list[0].ref, nil
}

// checkPrefix wants a registry in front: a single word would be a namespace of
// docker.io.
func checkPrefix(prefix string) error {
	host, _, _ := strings.Cut(prefix, "/")
	if !strings.ContainsAny(host, ".:") && host != "localhost" {
		return usageError{fmt.Errorf("image copy: %q begins with no registry: write HOST/PREFIX, like harbor.example.com/k8s", prefix)}
	}
	if _, err := artifact.ParseReference(strings.TrimSuffix(prefix, "/") + "/image:tag"); err != nil {
		return usageError{fmt.Errorf("image copy: %q: %w", prefix, err)}
	}
	return nil
}
