package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

func newPush(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push [flags] REF [DEST]",
		Short: "Send an image to a registry",
		Long: `Send an image of the store to its registry, or to DEST. What the registry has
is not sent again, and what another of its repositories has is taken from there
where the registry can. REF may be oci-archive:FILE. The digest is printed.`,
		Example: "  sealrt push registry.example.com/k3s:v1.25.3\n  sealrt push k3s:v1.25.3 registry.example.com/k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 2),
		RunE:    func(cmd *cobra.Command, args []string) error { return push(cmd.Context(), env, args) },
	}
	env.registryFlags(cmd.Flags())
	return cmd
}

// push sends the image that the first of args names to the place that the last
// one names.
func push(ctx context.Context, env *environment, args []string) error {
	from, src, err := openImage(ctx, env, args[0])
	if err != nil {
		return err
	}
	to := from
	if len(args) == 2 {
		if to, err = parseRef(args[1]); err != nil {
			return err
		}
	}
	o := env.copyOptions()
	if local, ok := src.(*store.Store); ok {
		o.MountFrom = store.MountFrom(ctx, local, to)
	}
	d, err := artifact.Copy(ctx, env.registry(), to, src, from, o)
	if err != nil {
		return damagedIn(args[0], err)
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}
