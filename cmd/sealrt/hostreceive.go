package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/swarm"
)

// hostVerb makes a command that exchanges lines with the client over standard
// input and output.
func hostVerb(env *environment, name, short string, do func(context.Context, io.Reader, io.Writer, swarm.Keeper) error) *cobra.Command {
	return &cobra.Command{
		Use:     name,
		Short:   short,
		Long:    short + ".\nIt is told what to do on standard input and ends with that.",
		Example: "  sealrt host " + name,
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keeper, err := openKeeper(env)
			if err != nil {
				return err
			}
			return do(cmd.Context(), env.stdin, env.stdout, keeper)
		},
	}
}

func newHostMissing(env *environment) *cobra.Command {
	return hostVerb(env, "missing", "Say which blobs are not here", swarm.Missing)
}

func newHostReceive(env *environment) *cobra.Command {
	return hostVerb(env, "receive", "Take in blobs from the client", swarm.Receive)
}
