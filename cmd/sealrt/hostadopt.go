package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/depot"
)

// newHostAdopt makes the command that shows the tree of an image on a host.
func newHostAdopt(env *environment) *cobra.Command {
	var check bool
	cmd := &cobra.Command{
		Use:   "adopt [--check DIGEST]",
		Short: "Show the tree of an image whose blobs are here",
		Long: `Show the tree of a cluster image, all of whose blobs were written, as a directory,
which is printed. What the image consists of is read from standard input, as JSON.

With --check nothing is changed: the digest is printed if the tree is there.`,
		Example: "  sealrt host adopt < listing.json",
		Args:    needArgs("a digest, with --check", 0, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if check != (len(args) == 1) {
				return usageError{errors.New("--check and a digest go together")}
			}
			d, err := openDepot(env)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, d.Close()) }()
			if check {
				return checkAdopted(cmd.Context(), env, d, args)
			}
			var l depot.Listing
			if err := readJSON(env, &l); err != nil {
				return err
			}
			dir, err := d.Adopt(cmd.Context(), l)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(env.stdout, dir)
			return err
		},
	}
	cmd.Flags().BoolVar(&check, "check", false, "only say whether the image is adopted")
	return cmd
}

func checkAdopted(ctx context.Context, env *environment, d *depot.Depot, args []string) error {
	list, err := hashes(args)
	if err != nil {
		return err
	}
	yes, err := d.Adopted(ctx, list[0])
	if err == nil && yes {
		_, err = fmt.Fprintln(env.stdout, list[0])
	}
	return err
}
