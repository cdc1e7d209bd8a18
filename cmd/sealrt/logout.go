package main

import "github.com/spf13/cobra"

func newLogout(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "logout [flags] REGISTRY",
		Short:   "Remove the credentials for a registry",
		Example: "  sealrt logout registry.example.com",
		Args:    needArgs("a registry", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := env.registry().Logout(cmd.Context(), args[0]); err != nil {
				return err
			}
			env.note("the credentials for %s are removed", args[0])
			return nil
		},
	}
	env.registryFlags(cmd.Flags())
	return cmd
}
