package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// newCert makes the command whose commands are about certificates.
func newCert(env *environment) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cert COMMAND",
		Short: "Check and renew the certificates of a cluster's hosts",
		Long: `Check and renew the certificates of a cluster's hosts: those of the distribution,
and those by which the image services know each other.`,
		Example: "  sealrt cert check\n  sealrt cert renew --cluster shop --yes\n  sealrt cert add-san api.example.com",
		Args:    knownCommand,
		RunE: func(*cobra.Command, []string) error {
			return usageError{errors.New("cert: a command is missing")}
		},
	}
	cmd.AddCommand(newCertCheck(env), newCertRenew(env), newCertAddSAN(env))
	return cmd
}

// hasService refuses clusters whose hosts run no image service.
func (k *known) hasService() error {
	if k.cluster.Serves() {
		return nil
	}
	return fmt.Errorf("the hosts of the cluster %s run no image service: it has no certificates", k.cluster.Name)
}
