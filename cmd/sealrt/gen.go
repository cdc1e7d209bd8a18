package main

import (
	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/state"
)

func newGen(env *environment) *cobra.Command {
	var cluster, masters, nodes string
	var schema bool
	cmd := &cobra.Command{
		Use:   "gen [IMAGE...] [--masters HOST,...] [--nodes HOST,...]",
		Short: "Print a Clusterfile with all defaults",
		Long: `Print a Clusterfile with every field that there is, its default, and what it is.
With --cluster alone, it is the one of a cluster that exists.`,
		Example: `  sealrt gen k3s:v1.25.3 --masters 10.0.0.[1-3] --nodes 10.0.0.[4-9] > Clusterfile
  sealrt gen --cluster default`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if schema {
				return printed(env)(clusterfile.Schema())
			}
			doc, err := newClusterfile(cluster, args, masters, nodes)
			if err != nil {
				return err
			}
			if cmd.Flags().Changed("cluster") && len(args) == 0 && masters == "" && nodes == "" {
				if doc, err = existing(env, cluster); err != nil {
					return err
				}
			}
			text, err := clusterfile.Explain(doc)
			if err != nil {
				return err
			}
			// what is printed can be read again, or nothing is printed
			if _, err := clusterfile.Parse("Clusterfile", text); err != nil {
				return usageError{err}
			}
			return printed(env)(text, nil)
		},
	}
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	cmd.Flags().StringVar(&masters, "masters", "", "`HOSTS` of the control plane")
	cmd.Flags().StringVar(&nodes, "nodes", "", "`HOSTS` of the workloads")
	cmd.Flags().BoolVar(&schema, "schema", false, "print the JSON schema of Clusterfiles instead")
	return cmd
}

// existing returns the Clusterfile of a cluster as it is.
func existing(env *environment, name string) (*clusterfile.Document, error) {
	folder, err := state.Read(env.clusters(), name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	if there, err := state.Exists(env.clusters(), name); err != nil || !there {
		return nil, unknownCluster(env, name, err)
	}
	return folder.Load()
}

// printed prints a result on stdout.
func printed(env *environment) func([]byte, error) error {
	return func(text []byte, err error) error {
		if err == nil {
			_, err = env.stdout.Write(text)
		}
		return err
	}
}
