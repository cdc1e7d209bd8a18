package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/runtime/depot"
)

// newHostDrop makes the command that tidies a host when a plan is at its end.
func newHostDrop(env *environment) *cobra.Command {
	var k depot.Keeping
	var check, list bool
	cmd := &cobra.Command{
		Use:   "drop DIGEST...",
		Short: "Remove what the images in use do not need any more",
		Long: `Remove from this host what the cluster images in use, named by the digests of their
manifests, do not need any more: other cluster images, layers that are unpacked, and
with --handed the container images, which the container runtime has.

With --check nothing is removed: a line is printed if there is something. Nor is it
with --list, which prints what would be removed as JSON.`,
		Example: "  sealrt host drop sha256:0d5f…",
		Args:    needArgs("the digests of the images in use", 1, -1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if k.Images, err = hashes(args); err != nil {
				return err
			}
			d, err := openDepot(env)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			if check {
				yes, err := d.Superfluous(cmd.Context(), k)
				if err == nil && yes {
					_, err = fmt.Fprintln(env.stdout, "superfluous")
				}
				return err
			}
			if list {
				all, err := d.List(cmd.Context(), k)
				if err == nil {
					err = printJSON(env, all)
				}
				return err
			}
			freed, err := d.Drop(cmd.Context(), k)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, "freed", disk.Bytes(freed))
			return err
		},
	}
	cmd.Flags().BoolVar(&k.Handed, "handed", false, "remove the container images too")
	cmd.Flags().BoolVar(&check, "check", false, "only say whether there is something to remove")
	cmd.Flags().BoolVar(&list, "list", false, "only say what there is to remove")
	return cmd
}
