package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newTag(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "tag REF NEW",
		Short: "Give an image another name",
		Long: `Give an image of the store another name. The old one stays. REF may be a digest,
or the beginning of one. If another image had the new name, it has that no more.`,
		Example: "  sealrt tag k3s:v1.25.3 registry.example.com/k3s:v1.25.3\n  sealrt tag 4f2a9c81d0e7 k3s:stable",
		Args:    needArgs("two image references", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			to, err := parseRefs(args[1:])
			if err != nil {
				return err
			}
			if _, pinned := to[0].Digest(); pinned {
				return usageError{fmt.Errorf("tag: the new name %s cannot have a digest", args[1])}
			}
			store, err := env.heldStore(cmd.Context())
			if err != nil {
				return err
			}
			d, err := findImage(cmd.Context(), store, args[0])
			if errors.Is(err, artifact.ErrNotFound) {
				return fmt.Errorf("%w, `sealrt pull` fetches more", err)
			}
			if err != nil {
				return err
			}
			return store.Tag(cmd.Context(), to[0], d)
		},
	}
}
