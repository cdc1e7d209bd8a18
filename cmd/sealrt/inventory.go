package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"
)

func newInventory(env *environment) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "inventory",
		Short: "List the blobs of the store",
		Long: `List the digests of all blobs in the store, a line each. Such a list tells
another machine what it need not send.`,
		Example: "  sealrt inventory > here.txt",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, err := env.openStore()
			if err != nil {
				return err
			}
			blobs, err := store.Inventory(cmd.Context())
			if err != nil {
				return err
			}
			if output == "json" {
				return printJSON(env, blobs)
			}
			w := bufio.NewWriter(env.stdout)
			for _, h := range blobs {
				fmt.Fprintln(w, h)
			}
			return w.Flush()
		},
	}
	outputFlag(cmd, &output)
	return cmd
}
