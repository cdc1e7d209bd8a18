package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newPush(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push [flags] REF [DEST]",
		Short: "Send an image to a registry",
		Long: `Send an image of the store to its registry, or to DEST. What the registry has
is not sent again. The digest is printed.`,
		Example: "  sealrt push registry.example.com/k3s:v1.25.3\n  sealrt push k3s:v1.25.3 registry.example.com/k3s:v1.25.3",
		Args:    needArgs("an image reference", 1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseRefs(args[len(args)-1:])
			if err != nil {
				return err
			}
			store, from, err := env.stored(cmd.Context(), args[:1])
			if err != nil {
				return err
			}
			d, err := artifact.Copy(cmd.Context(), env.registry(), to[0], store, from[0], env.copyOptions())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, d.Digest)
			return err
		},
	}
	env.registryFlags(cmd.Flags())
	return cmd
}
