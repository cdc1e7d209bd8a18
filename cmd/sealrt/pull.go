package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newPull(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pull [flags] REF",
		Short: "Fetch an image from a registry",
		Long: `Fetch an image, for all its platforms, from its registry into the store. What
the store has is not fetched again. The digest is printed.`,
		Example: "  sealrt pull registry.example.com/k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			refs, err := parseRefs(args)
			if err != nil {
				return err
			}
			return pull(cmd.Context(), env, refs[0])
		},
	}
	env.registryFlags(cmd.Flags())
	return cmd
}

func pull(ctx context.Context, env *environment, ref artifact.Reference) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	d, err := artifact.Copy(ctx, store, ref, env.registry(), ref, env.copyOptions())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.stdout, d.Digest)
	return err
}
