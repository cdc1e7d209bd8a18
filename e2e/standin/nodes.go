package main

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// silence is how long a kubelet may be silent before its node is not Ready.
const silence = 6 * time.Second

// nodeObject is a Node as Kubernetes shows it.
type nodeObject struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name   string            `json:"name"`
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Unschedulable bool     `json:"unschedulable,omitempty"`
		Taints        []string `json:"taints,omitempty"` // as kubectl taint is told them
	} `json:"spec"`
	Status struct {
		Conditions []condition `json:"conditions"`
		NodeInfo   struct {
			KubeletVersion string `json:"kubeletVersion"`
		} `json:"nodeInfo"`
		Addresses []address `json:"addresses"`
	} `json:"status"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

type address struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

type nodeList struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Items      []nodeObject `json:"items"`
}

func (n nodeObject) is(kind string) bool {
	return slices.Contains(n.Status.Conditions, condition{kind, "True"})
}

// nodeList returns the nodes as the leader knows them.
func (s *server) nodeList(map[string]int64) nodeList {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := nodeList{APIVersion: "v1", Kind: "List"}
	for _, name := range slices.Sorted(maps.Keys(s.state.Nodes)) {
		n := s.state.Nodes[name]
		o := nodeObject{APIVersion: "v1", Kind: "Node"}
		o.Metadata.Name = name
		o.Metadata.Labels = map[string]string{"kubernetes.io/hostname": name}
		maps.Copy(o.Metadata.Labels, n.Labels)
		last, heard := s.seen[name]
		if !heard {
			last = s.since // a leader that is new waits for all of them
		}
		ready := "True"
		if time.Since(last) > silence {
			ready = "Unknown"
		}
		o.Status.Conditions = []condition{{"Ready", ready}}
		if m := s.state.memberOf(name); m != nil {
			o.Metadata.Labels["node-role.kubernetes.io/control-plane"] = "true"
			if s.state.Etcd {
				voter := "True"
				if m.Learner {
					voter = "False"
				}
				o.Status.Conditions = append(o.Status.Conditions, condition{"EtcdIsVoter", voter})
			}
		}
		o.Spec.Unschedulable, o.Spec.Taints = n.Unschedulable, n.Taints
		o.Status.NodeInfo.KubeletVersion = n.Version
		for ip := range strings.SplitSeq(n.IP, ",") {
			o.Status.Addresses = append(o.Status.Addresses, address{"InternalIP", ip})
		}
		o.Status.Addresses = append(o.Status.Addresses, address{"Hostname", name})
		list.Items = append(list.Items, o)
	}
	return list
}
