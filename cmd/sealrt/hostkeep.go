package main

import (
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/state"
)

// newHostKeep makes the command that keeps a cluster's state on a master while a
// client works on it. What they say to each other is package state's.
func newHostKeep(env *environment) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "keep",
		Short:   "Hold the lock of the cluster, and keep its journal and state, for the client on standard input",
		Long:    "Hold the lock of the cluster, and keep its journal and state, for the client on standard input.\nIt ends, and the lock is free, when the input ends or nothing was heard for a minute.",
		Example: "  sealrt host keep",
		Hidden:  true,
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return state.Keeper{Dir: dir}.Keep(cmd.Context(), env.stdin, env.stdout)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", state.Dir, "`DIR` of the state")
	return cmd
}
