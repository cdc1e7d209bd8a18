package main

import "github.com/spf13/cobra"

// newHost makes the commands that sealrt runs on the hosts of a cluster, where
// it is its own helper. They are no interface for people: they change with it.
func newHost(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "host COMMAND",
		Short:   "What sealrt runs on the hosts of a cluster",
		Long:    "What sealrt runs on the hosts of a cluster. These commands are for sealrt itself and change with it.",
		Example: "  sealrt host -h",
		Hidden:  true,
		Args:    needArgs("a command", 0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, construct := range hostConstructors() {
		cmd.AddCommand(construct(env))
	}
	return cmd
}

// hostConstructors lists the commands.
func hostConstructors() []func(*environment) *cobra.Command {
	return append([]func(*environment) *cobra.Command{
		newHostMissing, newHostReceive, newHostServe, newHostFetch,
		newHostAdopt, newHostDrop, newHostFeed, newHostKeep, newScript, newHostCerts, newHostNewCA, newHostK0sToken,
	}, hostRegistry()...)
}
