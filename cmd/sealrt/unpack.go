package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

func newUnpack(env *environment) *cobra.Command {
	var o artifact.UnpackOptions
	var limit size
	cmd := &cobra.Command{
		Use:   "unpack REF DIR",
		Short: "Write the tree of an image to a directory",
		Long: `Write the tree of an image of the store to DIR, which must be empty or not exist.
Of several platforms this machine's is taken. The directory is printed.

Nothing outside of DIR is read or changed, whatever the image holds. Devices and named
pipes are refused. As root, files get the owners, setuid bits and capabilities that the
image declares; otherwise they are yours, and setuid and setgid bits are left out.`,
		Example: "  sealrt unpack k3s:v1.25.3 /tmp/k3s",
		Args:    needArgs("an image reference and a directory", 2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[1] == "" {
				return usageError{errors.New("unpack: the name of the directory is empty")}
			}
			if o.MaxEntries < 0 {
				return usageError{errors.New("--max-files cannot be negative")}
			}
			o.MaxBytes = int64(limit)
			n, versions, err := storedImage(cmd.Context(), env, args[0])
			if err != nil {
				return err
			}
			store, err := env.openStore()
			if err != nil {
				return err
			}
			if err := artifact.Unpack(cmd.Context(), store, n.Ref, forThisMachine(versions).manifest, args[1], o); err != nil {
				if errors.Is(err, layer.ErrLimit) {
					err = fmt.Errorf("%w: --max-size and --max-files allow more, if you trust the image", err)
				}
				return err
			}
			_, err = fmt.Fprintln(env.stdout, args[1])
			return err
		},
	}
	cmd.Flags().Var(&limit, "max-size", "refuse images whose files have more than `SIZE` together, like 2TiB (default 1TiB)")
	cmd.Flags().Int64Var(&o.MaxEntries, "max-files", 0, "refuse images with more than `N` files and directories (default 10000000)")
	return cmd
}
