package k0s

import (
	"encoding/json"

	"github.com/sealrt/sealrt/runtime"
)

var _ runtime.Leaver = Driver{}

// Votes reports whether the controllers keep an etcd of their own. A cluster of
// one is on etcd too, and can grow.
func (Driver) Votes(c *runtime.Cluster) bool {
	t, err := ofControllers(c)
	return err == nil && t.votes()
}

// etcdMember is the object by which a controller's etcd is asked to leave
// (docs.k0sproject.io, "Declarative Etcd member management").
type etcdMember struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Leave bool `json:"leave"`
	} `json:"spec"`
}

// Leave takes a controller out of the cluster before it is stopped, dead or
// alive: autopilot's ControlNode, the etcd member, and the Node. The controller
// that leads removes the member, and says on the object when it has; a member
// that is none any more says so at once, so that all of it may be repeated.
func (d Driver) Leave(c *runtime.Cluster, m runtime.Member, _ bool) ([]runtime.Step, error) {
	if m.Hostname == "" { // it was never reached, and never joined
		return nil, nil
	}
	do := func(what string, e runtime.Exec) runtime.Step {
		e.Timeout, e.Always, e.Retry = readyTimeout, true, true
		return runtime.Step{ID: what + " " + m.Hostname, Do: e}
	}
	forget := func(kind string) runtime.Step {
		return do("delete "+kind, runtime.Exec{Argv: d.Kubectl("delete", kind, m.Hostname, "--ignore-not-found")})
	}
	steps := []runtime.Step{forget("controlnodes.autopilot.k0sproject.io")}
	if d.Votes(c) {
		member := etcdMember{APIVersion: "etcd.k0sproject.io/v1beta1", Kind: "EtcdMember"}
		member.Metadata.Name, member.Spec.Leave = m.Hostname, true
		raw, err := json.Marshal(member)
		if err != nil {
			return nil, err
		}
		steps = append(steps,
			do("etcd leaves", runtime.Exec{Argv: d.Kubectl("apply", "--server-side", "--force-conflicts", "-f", "-"), Stdin: string(raw)}),
			runtime.Until(d, "etcd left "+m.Hostname, "condition=Joined=False", "etcdmember/"+m.Hostname, readyTimeout),
			forget("etcdmembers.etcd.k0sproject.io"))
	}
	return append(steps, forget("node")), nil
}
