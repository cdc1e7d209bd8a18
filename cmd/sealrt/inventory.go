package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/archive"
	"github.com/sealrt/sealrt/artifact/store"
)

func newInventory(env *environment) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "inventory [-o FILE]",
		Short: "List what the store has, for a delta",
		Long: `Write a list of the images and blobs of the store, as JSON, to FILE; - is standard
output. Carry it to the machine that saves the next delta: sealrt save --base
FILE leaves out what is listed.

Without -o the digests of all blobs are printed, a line each.`,
		Example: "  sealrt inventory -o here.json",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := env.openStore()
			if err != nil {
				return err
			}
			if file == "" {
				return printBlobs(cmd.Context(), env, store)
			}
			inv, err := archive.TakeStore(cmd.Context(), store)
			if err != nil {
				return err
			}
			b, err := inv.Format()
			if err != nil {
				return err
			}
			if file == "-" {
				_, err = env.stdout.Write(b)
				return err
			}
			return writeOutput(env, "inventory", file, func(w io.Writer) error {
				_, err := w.Write(b)
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "write the list to `FILE` or -")
	return cmd
}

// printBlobs prints the digests of all blobs; so hosts are asked.
func printBlobs(ctx context.Context, env *environment, store *store.Store) error {
	blobs, err := store.Inventory(ctx)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(env.stdout)
	for _, h := range blobs {
		fmt.Fprintln(w, h)
	}
	return w.Flush()
}
