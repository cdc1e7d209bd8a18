package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/disk"
)

// storePrefix marks an image of the store where a bare reference means a
// registry.
const storePrefix = "store:"

func newCopy(env *environment) *cobra.Command {
	var platform string
	cmd := &cobra.Command{
		Use:   "copy [flags] SRC DST",
		Short: "Copy an image from one place to another",
		Long: `Copy an image, for all its platforms, without the store between. A place is a
reference in a registry, oci-archive:FILE or oci-archive:FILE:NAME, or store:REF.
Within one registry blobs are not sent again. The digest is printed.`,
		Example: `  sealrt copy quay.io/team/k3s:v1.25.3 registry.example.com/k3s:v1.25.3
  sealrt copy oci-archive:/media/k3s.tar registry.example.com/k3s:v1.25.3`,
		Args: needArgs("two places", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o := env.copyOptions()
			if platform != "" {
				list, err := parsePlatforms([]string{platform})
				if err != nil {
					return err
				}
				o.Platform = &list[0]
			}
			d, err := copyImage(cmd.Context(), env, args[0], args[1], o)
			if err != nil {
				return hintStore(cmd.Context(), env, args[0], damagedIn(args[0], err))
			}
			_, err = fmt.Fprintln(env.stdout, d.Digest)
			return err
		},
	}
	cmd.Flags().StringVar(&platform, "platform", "", "of an image for several platforms copy only that for `OS/ARCH`")
	env.registryFlags(cmd.Flags())
	return cmd
}

// copyImage copies from one place to another.
func copyImage(ctx context.Context, env *environment, from, to string, o artifact.CopyOptions) (v1.Descriptor, error) {
	if isArchive(to) {
		if err := checkArchiveName(to); err != nil {
			return v1.Descriptor{}, usageError{err}
		}
	}
	ref, src, err := openSource(ctx, env, from)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if o.Platform != nil {
		if err := requirePlatform(ctx, src, ref, *o.Platform); err != nil {
			return v1.Descriptor{}, err
		}
	}
	if isArchive(to) {
		return copyToArchive(ctx, to, ref, src, o)
	}
	name, stored := strings.CutPrefix(to, storePrefix)
	dest, err := parseRef(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if !stored {
		return artifact.Copy(ctx, env.registry(), dest, src, ref, o)
	}
	store, err := env.openStore()
	if err != nil {
		return v1.Descriptor{}, err
	}
	return artifact.Copy(ctx, store, dest, src, ref, o)
}

// hintStore adds to the error of copying from a registry that the store has an
// image of that name.
func hintStore(ctx context.Context, env *environment, from string, err error) error {
	ref, bad := artifact.ParseReference(from)
	if bad != nil || isArchive(from) || ctx.Err() != nil {
		return err
	}
	if kept, serr := env.openStore(); serr == nil {
		if _, serr := kept.Resolve(ctx, ref); serr == nil {
			return fmt.Errorf("%w: the store has an image of that name: `sealrt copy %s%s` copies that", err, storePrefix, from)
		}
	}
	return err
}

// openSource returns where copy reads an image.
func openSource(ctx context.Context, env *environment, arg string) (artifact.Reference, artifact.Source, error) {
	if name, stored := strings.CutPrefix(arg, storePrefix); stored || isArchive(arg) {
		return openImage(ctx, env, name)
	}
	refs, err := parseRefs([]string{arg})
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	return refs[0], env.registry(), nil
}

// archiveTarget separates FILE and NAME of an archive that is to be written: a
// name begins behind the first colon.
func archiveTarget(arg string) (file, name string) {
	file, name, _ = strings.Cut(strings.TrimPrefix(arg, archivePrefix), ":")
	return file, name
}

func checkArchiveName(arg string) error {
	file, name := archiveTarget(arg)
	if file == "" {
		return errors.New("copy: " + archivePrefix + "FILE has no file")
	}
	if name == "" {
		return nil
	}
	_, err := artifact.ParseReference(name)
	return err
}

// copyToArchive writes an archive of one image.
func copyToArchive(ctx context.Context, to string, ref artifact.Reference, src artifact.Source, o artifact.CopyOptions) (v1.Descriptor, error) {
	file, name := archiveTarget(to)
	dest := ref
	if name != "" {
		var err error
		if dest, err = artifact.ParseReference(name); err != nil {
			return v1.Descriptor{}, usageError{err}
		}
	}
	var d v1.Descriptor
	err := disk.Replace(file, 0, func(w io.Writer) error {
		sink := archive.NewSink(w)
		var err error
		if d, err = artifact.Copy(ctx, sink, dest, src, ref, o); err != nil {
			return err
		}
		return sink.Close()
	})
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("copy to %s: %w", file, err)
	}
	return d, nil
}
