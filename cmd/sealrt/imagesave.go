package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/airgap/export"
	"github.com/sealrt/sealrt/artifact/disk"
)

func newImageSave(env *environment) *cobra.Command {
	var file, format, platform string
	cmd := &cobra.Command{
		Use:   "save [flags] REF [NAME...] -o FILE",
		Short: "Write container images inside a cluster image to an archive",
		Long: `Write container images inside a cluster image to one archive, those of the given
names or all; - is standard output. The same images give the same bytes.

An OCI archive keeps every name and digest and is what containerd, podman and
skopeo read. An archive of the format docker is for docker load: it keeps tags
alone, of images for several platforms that of the cluster image, and layers
uncompressed.`,
		Example: `  sealrt image save k3s:v1.25.3 registry.k8s.io/pause:3.9 -o pause.tar
  sealrt image save k3s:v1.25.3 nginx:1.25 --format docker -o - | docker load`,
		Args: needArgs("an image reference", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usageError{errors.New("image save: -o FILE is missing")}
			}
			write, err := imageArchive(cmd.Context(), env, args, format, platform)
			if err != nil {
				return err
			}
			return writeOutput(env, "image save", file, write)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the archive, a `FILE` or -")
	cmd.Flags().Var(newChoice(&format, "oci", "oci", "docker"), "format", "kind of the archive: oci or docker")
	onPlatform(cmd, &platform)
	env.registryFlags(cmd.Flags())
	return cmd
}

// imageArchive finds the images and returns what writes them.
func imageArchive(ctx context.Context, env *environment, args []string, format, platform string) (func(io.Writer) error, error) {
	refs, err := parseRefs(args[1:])
	if err != nil {
		return nil, err
	}
	in, err := openOne(ctx, env, args[0], platform)
	if err != nil {
		return nil, err
	}
	names, err := export.Chosen(in.images, refs)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.ref.Familiar(), err)
	}
	if format == "docker" {
		var on v1.Platform
		if p := in.config.Platform(); p != nil {
			on = *p
		}
		return func(w io.Writer) error {
			return export.WriteDocker(ctx, w, in.images, on, names, func(text string) { env.note("%s", text) })
		}, nil
	}
	return func(w io.Writer) error { return in.images.WriteArchive(ctx, w, names) }, nil
}

// writeOutput writes to a file, which appears when it is complete, to what
// cannot be replaced by a file, such as a pipe, or to standard output.
func writeOutput(env *environment, verb, file string, write func(io.Writer) error) error {
	if file == "-" {
		if isTerminal(env.stdout) {
			return usageError{errors.New(verb + ": an archive is nothing for a terminal: name a file, or a pipe")}
		}
		return write(env.stdout)
	}
	fi, err := os.Stat(file)
	if err == nil && fi.IsDir() {
		return fmt.Errorf("%s to %s: this is a directory: name a file in it", verb, file)
	}
	if err == nil && !fi.Mode().IsRegular() {
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", verb, err)
		}
		if err := write(f); err != nil {
			f.Close()
			return err
		}
		return f.Close()
	}
	if err := disk.Replace(file, 0, write); err != nil {
		return fmt.Errorf("%s to %s: %w", verb, file, err)
	}
	return nil
}
