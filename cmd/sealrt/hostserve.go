package main

import (
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/swarm"
)

func newHostServe(env *environment) *cobra.Command {
	return hostVerb(env, "serve", "Serve the blobs of a run to its other hosts", swarm.Serve)
}
