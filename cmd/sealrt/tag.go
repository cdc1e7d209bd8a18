package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newTag(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:     "tag REF NEW",
		Short:   "Give an image another name",
		Long:    "Give an image of the store another name. The old one stays.",
		Example: "  sealrt tag k3s:v1.25.3 registry.example.com/k3s:v1.25.3",
		Args:    needArgs("two image references", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseRefs(args[1:])
			if err != nil {
				return err
			}
			if _, pinned := to[0].Digest(); pinned {
				return usageError{fmt.Errorf("tag: the new name %s cannot have a digest", args[1])}
			}
			store, from, err := env.stored(cmd.Context(), args[:1])
			if err != nil {
				return err
			}
			d, err := store.Resolve(cmd.Context(), from[0])
			if err != nil {
				return err
			}
			return store.Tag(cmd.Context(), to[0], d)
		},
	}
}
