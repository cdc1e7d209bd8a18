package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/merge"
)

// mergeFlags are what merge is told.
type mergeFlags struct {
	tag, compression, output string
}

func newMerge(env *environment) *cobra.Command {
	var f mergeFlags
	cmd := &cobra.Command{
		Use:   "merge [flags] -t NAME REF REF...",
		Short: "Make one cluster image of several",
		Long: `Make one cluster image of several, for the platforms that all of them have. The
first stays as it is, the others go on top, without the layers that they share
with it; container images are there once. What they say differently is named:
the later one counts. The images are in the store, in registries, from where they
are pulled, or in archives: oci-archive:FILE. The digest is printed.`,
		Example: "  sealrt merge -t shop:1 k3s:v1.31.0 mysql:8.0 shop-app:1",
		Args:    needArgs("two image references", 2, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return mergeImages(cmd.Context(), env, f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.tag, "tag", "t", "", "call the new image `NAME`")
	flags.Var(newChoice(&f.compression, "zstd", "zstd", "gzip", "none"), "compression", "compression of layers: zstd, gzip or none")
	outputFlag(cmd, &f.output)
	env.registryFlags(flags)
	return cmd
}

// mergeJSON is what merge prints with -o json.
type mergeJSON struct {
	Ref       string         `json:"ref"`
	Digest    string         `json:"digest"`
	Platforms []merge.Report `json:"platforms"`
}

// mergeImages merges images and names the result.
func mergeImages(ctx context.Context, env *environment, f mergeFlags, args []string) (err error) {
	to, err := newName(f.tag)
	if err == nil && to.IsZero() {
		err = usageError{errors.New("merge: -t NAME is missing, the name of the new image")}
	}
	if err != nil {
		return err
	}
	o := merge.Options{Observe: env.progress(), Jobs: env.jobs}
	if o.Compression, err = layer.ParseCompression(f.compression); err != nil {
		return usageError{err}
	}
	if o.Created, err = env.created(); err != nil {
		return err
	}
	if o.Store, err = env.openStore(); err != nil {
		return err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	parts := make([]merge.Part, len(args))
	for i, arg := range args {
		if parts[i].Ref, parts[i].Source, err = locate(ctx, env, o.Store, arg); err != nil {
			return err
		}
	}
	d, reports, err := merge.Images(ctx, parts, o)
	if err != nil {
		return err
	}
	if err := o.Store.Tag(ctx, to, d); err != nil {
		return err
	}
	tellMerge(env, to, reports)
	if f.output == "json" {
		return printJSON(env, mergeJSON{to.Familiar(), d.Digest.String(), reports})
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}

// mostConflicts is how many conflicts of one platform are told one by one.
const mostConflicts = 20

// tellMerge tells what came out, and what the images say differently.
func tellMerge(env *environment, to artifact.Reference, reports []merge.Report) {
	for _, r := range reports {
		what := strings.TrimSpace(strings.Join([]string{r.Type, r.Distro, r.Version}, " "))
		env.note("%s for %s: %s, %d container images", to.Familiar(), r.Platform, what, r.Images)
		for i, c := range r.Conflicts {
			if i == mostConflicts {
				env.note("%s: %d more; -o json lists all", r.Platform, len(r.Conflicts)-i)
				break
			}
			env.note("%s: %s", r.Platform, c)
		}
	}
}
