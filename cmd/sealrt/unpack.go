package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
)

func newUnpack(env *environment) *cobra.Command {
	return &cobra.Command{
		Use:   "unpack REF DIR",
		Short: "Write the tree of an image to a directory",
		Long: `Write the tree of an image of the store to DIR, which must be empty or not exist.
Of several platforms this machine's is taken. The directory is printed.`,
		Example: "  sealrt unpack k3s:v1.25.3 /tmp/k3s",
		Args:    needArgs("an image reference and a directory", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return usageError{errors.New("unpack: the name of the directory is empty")}
			}
			n, versions, err := storedImage(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			store, err := env.openStore()
			if err != nil {
				return err
			}
			if err := artifact.Unpack(cmd.Context(), store, n.Ref, forThisMachine(versions).manifest, args[1]); err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, args[1])
			return err
		},
	}
}
