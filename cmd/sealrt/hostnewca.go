package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/distros/k3s/newca"
)

// newHostNewCA makes the command that makes CAs for a k3s cluster, on one of its
// servers: the keys of the old ones are there.
func newHostNewCA(*environment) *cobra.Command {
	var from, to string
	cmd := &cobra.Command{
		Use:     "newca",
		Short:   "Make CAs that the CAs of a k3s server vouch for",
		Long:    "Make CAs that the CAs of a k3s server vouch for, for k3s certificate rotate-ca.",
		Example: "  sealrt host newca --from /var/lib/rancher/k3s/server/tls --to /root/new/tls",
		Args:    needArgs("", 0, 0),
		RunE: func(*cobra.Command, []string) error {
			if from == "" || to == "" {
				return usageError{errors.New("--from and --to name directories")}
			}
			return newca.Make(from, to, time.Now())
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`DIR` with the CAs as they are")
	cmd.Flags().StringVar(&to, "to", "", "`DIR` for the new ones")
	return cmd
}
