package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/contents"
)

// exitDiffers is the exit code of diff --exit-code when the images differ. It is
// not that of a failure.
const exitDiffers = 3

// diffFlags are the flags of diff.
type diffFlags struct {
	files, images, packages bool
	output, platform        string
	exitCode                bool
}

func newDiff(env *environment) *cobra.Command {
	var o diffFlags
	cmd := &cobra.Command{
		Use:   "diff [flags] A B",
		Short: "Show what differs between two images",
		Long: `Show what there is to know before an image A is replaced by B: settings, container
images inside, software packages, and files of the tree. A and B are in the store,
or oci-archive:FILE. Of several platforms this machine's is taken.

A container image that is the only one of its repository on both sides is compared
under another tag too. Packages are those of sbom; they are compared for the tree,
and for container images that differ.

The exit code is 0 whether the images differ or not; with --exit-code it is 3 when
they do.`,
		Example: "  sealrt diff k3s:v1.25.3 k3s:v1.26.0\n  sealrt diff --images -o json k3s:v1.25.3 oci-archive:k3s.tar",
		Args:    needArgs("two images", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			report, err := diffImages(cmd.Context(), env, args, o)
			if err != nil {
				return err
			}
			if o.output == "json" {
				err = printJSON(env, report)
			} else {
				err = report.print(env.stdout)
			}
			if err == nil && o.exitCode && !report.Equal {
				return differs{exitError(exitDiffers)}
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&o.files, "files", false, "compare files; several of these flags compare several things, none everything")
	flags.BoolVar(&o.images, "images", false, "compare the container images inside")
	flags.BoolVar(&o.packages, "packages", false, "compare software packages")
	flags.BoolVar(&o.exitCode, "exit-code", false, "exit with 3 when the images differ")
	flags.StringVar(&o.platform, "platform", "", "of images for several platforms compare those for `OS/ARCH`")
	outputFlag(cmd, &o.output)
	return cmd
}

// differs is what diff --exit-code ends with.
type differs struct{ exitError }

// Error says what the exit code means.
func (differs) Error() string { return "the images differ" }

// Unwrap returns the exit code.
func (d differs) Unwrap() error { return d.exitError }

// diffImages compares two images.
func diffImages(ctx context.Context, env *environment, args []string, o diffFlags) (*diffJSON, error) {
	var sides [2]contents.Cluster
	report := &diffJSON{}
	for i, arg := range args {
		ref, src, err := openImage(ctx, env, arg)
		if err != nil {
			return nil, err
		}
		versions, err := versionsOf(ctx, src, ref, o.platform)
		if err != nil {
			return nil, err
		}
		v := forThisMachine(versions)
		sides[i] = contents.Cluster{Source: src, Ref: ref, Manifest: v.manifest, Config: v.config}
		*[2]*sideJSON{&report.From, &report.To}[i] = sideJSON{Ref: ref.Familiar(), Digest: v.desc.Digest.String(), Platform: v.platform()}
	}
	all := !o.files && !o.images && !o.packages
	found, err := contents.Compare(ctx, sides[0], sides[1], contents.CompareOptions{Options: contents.Options{Scratch: os.TempDir()},
		Files: all || o.files, Images: all || o.images, Packages: all || o.packages})
	if err != nil {
		return nil, err
	}
	if !all {
		found.Config = nil
	}
	for _, note := range found.Notes {
		env.note("%s", note)
	}
	report.fill(found)
	return report, nil
}
