package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/builder"
)

func newPrune(env *environment) *cobra.Command {
	var cache bool
	cmd := &cobra.Command{
		Use:   "prune [flags]",
		Short: "Free the space that no image needs",
		Long: `Remove from the store the blobs that no name reaches, and what commands that
were killed left there. With --cache the build cache goes too: the next build
makes every layer anew. What was freed is printed. A store that another sealrt
is at work in is left alone.`,
		Example: "  sealrt prune\n  sealrt prune --cache",
		Args:    needArgs("", 0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return prune(cmd.Context(), env, cache) },
	}
	cmd.Flags().BoolVar(&cache, "cache", false, "remove the build cache too: records, unpacked layers, cache mounts and downloads")
	return cmd
}

// prune frees space; what was freed before an error is told with it.
func prune(ctx context.Context, env *environment, cache bool) error {
	store, err := env.openStore()
	if err != nil {
		return err
	}
	freed, err := store.Sweep(ctx)
	if err == nil {
		err = builder.PruneTrees(store)
	}
	if err == nil && cache {
		var n int64
		n, err = builder.PruneCache(ctx, store)
		freed += n
	}
	if err != nil {
		if freed > 0 {
			env.note("%s freed before that", sizeText(freed))
		}
		return err
	}
	_, err = fmt.Fprintf(env.stdout, "%s freed\n", sizeText(freed))
	return err
}
