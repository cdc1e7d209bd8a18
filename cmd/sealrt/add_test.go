package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestAHostThatIsAddedHasWhatAllHostsHave(t *testing.T) {
	ssh := clusterfile.SSH{User: "ops", Identity: "/id", AcceptNew: true}
	k := &known{env: &environment{home: t.TempDir()}, cluster: &runtime.Cluster{Name: "one", Spec: clusterfile.Spec{
		SSH: ssh, Labels: map[string]string{"zone": "a"}, Taints: []string{"a:NoSchedule"},
	}}}
	fresh, err := k.newcomers(t.Context(), memberFlags{nodes: "10.0.0.4"})
	if err != nil {
		t.Fatal(err)
	}
	want := []runtime.Member{{Address: "10.0.0.4", Role: runtime.Node, NodeIP: "10.0.0.4", SSH: ssh, Labels: map[string]string{"zone": "a"}, Taints: []string{"a:NoSchedule"}}}
	if diff := cmp.Diff(want, fresh); diff != "" {
		t.Error(diff)
	}
	if hosts := k.cluster.Clusterfile().Spec.Hosts; cmp.Diff(hosts, []clusterfile.Host{{Address: clusterfile.Strings{"10.0.0.4"}, Role: "node", NodeIP: "10.0.0.4"}}) != "" {
		t.Errorf("what all have is repeated: %+v", hosts)
	}
	flags := memberFlags{nodes: "10.0.0.5"}
	flags.SSH.User = "root"
	if fresh, err = k.newcomers(t.Context(), flags); err != nil || fresh[0].SSH.User != "root" || fresh[0].SSH.Identity != "/id" {
		t.Errorf("%+v, %v", fresh, err)
	}
}
