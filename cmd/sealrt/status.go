package main

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// hostStatus is one line of status.
type hostStatus struct {
	Host    string       `json:"host"`
	Role    runtime.Role `json:"role"`
	Name    string       `json:"name"`
	Reached bool         `json:"reached"`
	Ready   string       `json:"ready"` // the condition's status: True, False, Unknown; "" when no master answered
	Version string       `json:"version"`
}

// clusterStatus is what status prints.
type clusterStatus struct {
	Cluster string       `json:"cluster"`
	Image   string       `json:"image"`
	Digest  string       `json:"digest"`
	Hosts   []hostStatus `json:"hosts"`
	// Components are the parts of the distribution, where the image is at hand.
	Components []componentJSON `json:"components,omitempty"`
	// Last is what the journal says of the last operation; nil when there is none.
	Last *runtime.LastOperation `json:"lastOperation,omitempty"`
}

func newStatus(env *environment) *cobra.Command {
	var ssh sshFlags
	var cluster, output string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the hosts of a cluster",
		Long:    "Show the hosts of a cluster: whether they can be reached, and what the cluster says of them.\nWhere this machine has the image of the cluster, the versions of its components are shown too.\nExit 1 when a host is not reached or not Ready.",
		Example: "  sealrt status\n  sealrt status --cluster default -o json",
		Args:    needArgs("", 0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			k, err := lookAt(env, cluster, ssh)
			if err != nil {
				return err
			}
			defer k.close()
			reach, err := k.view(ctx)
			if err != nil {
				return err
			}
			s, err := k.status(ctx)
			if err != nil {
				return err
			}
			if err := printStatus(env, output, s); err != nil {
				return err
			}
			if reach != nil {
				return reach
			}
			return s.healthy()
		},
	}
	ssh.register(cmd.Flags())
	cmd.Flags().StringVar(&cluster, "cluster", "default", "`NAME` of the cluster")
	outputFlag(cmd, &output)
	return cmd
}

// nodeList is the part of a Kubernetes NodeList that status shows.
type nodeList struct {
	Items []struct {
		Metadata struct{ Name string }
		Status   struct {
			Conditions []struct{ Type, Status string }
			NodeInfo   struct{ KubeletVersion string }
		}
	}
}

func (k *known) status(ctx context.Context) (clusterStatus, error) {
	image := k.cluster.Image()
	s := clusterStatus{Cluster: k.cluster.Name, Image: image.Ref.Familiar(), Digest: image.Digest}
	var err error
	if s.Last, err = k.lastOperation(); err != nil {
		return s, err
	}
	nodes, err := k.nodes(ctx)
	if err != nil {
		return s, err
	}
	for _, m := range k.cluster.Members {
		line := hostStatus{Host: m.Name(), Role: m.Role, Name: m.Hostname}
		_, line.Reached = k.hosts[m.Address]
		for _, n := range nodes.Items {
			if n.Metadata.Name != m.Hostname {
				continue
			}
			line.Version = n.Status.NodeInfo.KubeletVersion
			for _, c := range n.Status.Conditions {
				if c.Type == "Ready" {
					line.Ready = c.Status
				}
			}
		}
		s.Hosts = append(s.Hosts, line)
	}
	s.Components, err = k.components(ctx)
	return s, err
}

// nodes asks the masters, one after another, for the nodes of the cluster. There
// are none when no master answers: their hosts show as not Ready.
func (k *known) nodes(ctx context.Context) (nodeList, error) {
	ask := func(m runtime.Member) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, livingTimeout)
		defer cancel()
		return host.Output(ctx, k.hosts[m.Address], k.driver.Kubectl("get", "nodes", "-o", "json")...)
	}
	var nodes nodeList
	for _, m := range k.cluster.Masters() {
		if k.hosts[m.Address] == nil {
			continue
		}
		out, err := ask(m)
		if ctx.Err() != nil {
			return nodes, ctx.Err()
		}
		if err != nil {
			continue // another master may know
		}
		if err := json.Unmarshal(out, &nodes); err != nil {
			return nodes, fmt.Errorf("nodes of %s as %s tells them: %w", k.cluster.Name, m.Name(), err)
		}
		break
	}
	return nodes, nil
}

// healthy names the hosts that do not serve.
func (s clusterStatus) healthy() error {
	for _, h := range s.Hosts {
		if h.Ready != "True" {
			return fmt.Errorf("host %s is not Ready", h.Host)
		}
	}
	return nil
}

func printStatus(env *environment, output string, s clusterStatus) error {
	if output == "json" {
		return printJSON(env, s)
	}
	fmt.Fprintf(env.stdout, "cluster %s of %s (%s)\n", s.Cluster, s.Image, s.Digest)
	if s.Last != nil {
		fmt.Fprintln(env.stdout, lastOperationText(s.Last))
	}
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOST\tROLE\tNAME\tREACHED\tREADY\tVERSION")
	for _, h := range s.Hosts {
		reached, ready := "no", h.Ready
		if h.Reached {
			reached = "yes"
		}
		if ready == "" {
			ready = "?"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", h.Host, h.Role, h.Name, reached, ready, h.Version)
	}
	if len(s.Components) > 0 {
		fmt.Fprintln(w, "\nCOMPONENT\tVERSION")
	}
	for _, c := range s.Components {
		fmt.Fprintf(w, "%s\t%s\n", c.Name, c.Version)
	}
	return w.Flush()
}
