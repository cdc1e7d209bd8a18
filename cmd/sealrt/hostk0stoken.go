package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros/k0s/jointoken"
)

// newHostK0sToken makes the command that makes and invalidates join tokens of a
// k0s cluster, on one of its controllers.
func newHostK0sToken(env *environment) *cobra.Command {
	var k0s, granted, role, expiry string
	cmd := &cobra.Command{
		Use:   "k0stoken {create|invalidate}",
		Short: "Make join tokens of a k0s cluster, or invalidate those that were made",
		Long:  "Make a join token of a k0s cluster, and note its ID; or invalidate all tokens whose IDs are noted.",
		Example: `  sealrt host k0stoken --granted /root/granted create --role worker --expiry 2h
  sealrt host k0stoken --granted /root/granted invalidate`,
		Args: needArgs("create or invalidate", 1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case granted == "":
				return usageError{errors.New("--granted names a file")}
			case args[0] == "invalidate":
				return jointoken.Invalidate(cmd.Context(), k0s, granted)
			case args[0] != "create":
				return usageError{fmt.Errorf("%q is neither create nor invalidate", args[0])}
			}
			token, err := jointoken.Create(cmd.Context(), k0s, granted, role, expiry)
			if err == nil {
				_, err = fmt.Fprintln(env.stdout, token)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&k0s, "k0s", "k0s", "the `PROGRAM`")
	cmd.Flags().StringVar(&granted, "granted", "", "`FILE` with the IDs of tokens")
	cmd.Flags().StringVar(&role, "role", "worker", "what hosts become with the token: `controller` or worker")
	cmd.Flags().StringVar(&expiry, "expiry", "1h", "how long the token lives: a `DURATION`")
	return cmd
}
