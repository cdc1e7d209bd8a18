package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	goruntime "runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// newImage makes the command whose commands are about the container images
// inside a cluster image.
func newImage(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image COMMAND",
		Short: "Look at the container images inside a cluster image, and take them out",
		Long: `Look at the container images inside a cluster image, and take them out of it. The
cluster image is in the store, in a registry, from where it is pulled, or in an
archive: oci-archive:FILE.`,
		Example: "  sealrt image list k3s:v1.25.3\n  sealrt image copy k3s:v1.25.3 harbor.example.com/k8s",
		Args:    knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("image: a command is missing")}
		},
	}
	cmd.AddCommand(newImageList(env), newImageSave(env), newImageCopy(env), newImagePush(env), newImageLint(env))
	return cmd
}

// inside is what a cluster image has inside for one platform.
type inside struct {
	variant
	ref    artifact.Reference
	images *layout.Contents // nil: none
}

// onPlatform defines --platform for commands that need one platform.
func onPlatform(cmd *cobra.Command, platform *string) {
	cmd.Flags().StringVar(platform, "platform", "", "of a cluster image for several platforms take that for `OS/ARCH`, not this machine's")
}

// openInside opens the container images in a cluster image, for every platform
// that it has, or just for the one that is named.
func openInside(ctx context.Context, env *environment, arg, platform string) ([]inside, error) {
	store, err := env.heldStore(ctx)
	if err != nil {
		return nil, err
	}
	ref, src, err := locate(ctx, env, store, arg)
	if err != nil {
		return nil, err
	}
	versions, err := versionsOf(ctx, src, ref, platform)
	if err != nil {
		return nil, err
	}
	list := make([]inside, len(versions))
	for i, v := range versions {
		list[i] = inside{variant: v, ref: ref}
		list[i].images, err = layout.OpenContents(ctx, src, ref, v.manifest)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return list, nil
}

// versionsOf reads a cluster image for every platform, or for the one that is
// named.
func versionsOf(ctx context.Context, src artifact.Source, ref artifact.Reference, platform string) ([]variant, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	versions, err := variants(ctx, src, artifact.Named{Ref: ref, Desc: d})
	if err != nil {
		return nil, err
	}
	if platform != "" {
		want, err := parsePlatforms([]string{platform})
		if err != nil {
			return nil, err
		}
		return matching(ref, versions, want[0])
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%s: none of its platforms is here: pull or load it again", ref.Familiar())
	}
	return versions, nil
}

// matching returns the version for a platform.
func matching(ref artifact.Reference, versions []variant, want v1.Platform) ([]variant, error) {
	var have []string
	for _, v := range versions {
		p := v.config.Platform()
		if p != nil && artifact.MatchPlatform(*p, want) {
			return []variant{v}, nil
		}
		have = append(have, v.platform())
	}
	return nil, fmt.Errorf("%s is for %s, not for %s: choose with --platform", ref.Familiar(), strings.Join(have, ", "), want)
}

// requirePlatform refuses an image for one platform alone that is not the one
// that is asked for. Of an index the image is chosen, or missed, where it is read.
func requirePlatform(ctx context.Context, src artifact.Source, ref artifact.Reference, want v1.Platform) error {
	d, err := src.Resolve(ctx, ref)
	if err != nil || d.MediaType.IsIndex() {
		return err
	}
	versions, err := variants(ctx, src, artifact.Named{Ref: ref, Desc: d})
	if err != nil {
		return err
	}
	_, err = matching(ref, versions, want)
	return err
}

// openOne is openInside for one platform: the one that is named, the only one,
// or this machine's.
func openOne(ctx context.Context, env *environment, arg, platform string) (inside, error) {
	list, err := openInside(ctx, env, arg, platform)
	if err != nil {
		return inside{}, err
	}
	if len(list) > 1 {
		versions := make([]variant, len(list))
		for i, in := range list {
			versions[i] = in.variant
		}
		chosen, err := matching(list[0].ref, versions, v1.Platform{OS: "linux", Architecture: goruntime.GOARCH})
		if err != nil {
			return inside{}, err
		}
		for _, in := range list {
			if in.desc.Digest == chosen[0].desc.Digest {
				return in, in.needImages()
			}
		}
	}
	return list[0], list[0].needImages()
}

// needImages is an error when there are no container images.
func (i inside) needImages() error {
	if i.images == nil {
		return fmt.Errorf("%s has no container images inside for %s", i.ref.Familiar(), i.platform())
	}
	return nil
}
