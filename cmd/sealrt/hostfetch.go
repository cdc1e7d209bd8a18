package main

import (
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/swarm"
)

func newHostFetch(env *environment) *cobra.Command {
	return hostVerb(env, "fetch", "Get blobs from other hosts of a run", swarm.Fetch)
}
