package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/artifact/disk"
)

func newKubeconfig(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print where a cluster's kubeconfig is, or the kubeconfig",
		Long: `Print the path of the administrator's kubeconfig that this machine keeps of a
cluster. With -o it is read anew from a master that answers, and goes to FILE, which
is then readable by you only; - is standard output.`,
		Example: `  sealrt kubeconfig --cluster shop -o ~/.kube/shop
  kubectl --kubeconfig "$(sealrt kubeconfig)" get nodes`,
		Args: needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			if output != "" {
				return k.exportKubeconfig(cmd.Context(), output)
			}
			path := k.state.KubeconfigPath()
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the cluster %s has no kubeconfig yet: it was not made to its end, `sealrt run` goes on", cluster)
			}
			_, err = fmt.Fprintln(env.stdout, path)
			return err
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVarP(&output, "output", "o", "", "read it from a master and write it to `FILE`; - is standard output")
	return cmd
}

// exportKubeconfig reads the kubeconfig from a master that answers.
func (k *known) exportKubeconfig(ctx context.Context, to string) error {
	k.warn(k.reach(ctx, k.cluster.Masters()))
	if err := k.act(ctx, nil); err != nil {
		return err
	}
	raw, err := k.kubeconfig(ctx)
	if err != nil {
		return err
	}
	if to == "-" {
		_, err = k.env.stdout.Write(raw)
		return err
	}
	err = disk.Replace(to, int64(len(raw)), func(w io.Writer) error {
		_, err := w.Write(raw)
		return err
	})
	if err != nil {
		return err
	}
	return os.Chmod(to, 0o600)
}
