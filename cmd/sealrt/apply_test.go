package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// toReconcile is a cluster of two hosts that is to have the hosts asked for.
func toReconcile(t *testing.T, hosts string) (*reconciled, []runtime.Member) {
	t.Helper()
	s := standing(t, true)
	before, err := s.Load()
	if err != nil {
		t.Fatal(err)
	}
	members, err := runtime.MembersOf(*ask(hosts))
	if err != nil {
		t.Fatal(err)
	}
	asked := &clusterfile.Document{File: clusterfile.File{Metadata: clusterfile.Metadata{Name: "test"}, Spec: *ask(hosts)}}
	k := &known{state: s, cluster: &runtime.Cluster{Name: "test", Members: members, Images: []runtime.Image{{Digest: "sha256:new"}}}}
	return &reconciled{known: k, asked: asked, before: before}, members
}

func TestHostsThatTheFileDoesNotNameLeave(t *testing.T) {
	r, members := toReconcile(t, "10.0.0.1,10.0.0.3")
	got, err := r.compare(members)
	if err != nil || hostNames(got) != "10.0.0.1, 10.0.0.3" || hostNames(r.leaving) != "10.0.0.2" || hostNames(r.fresh) != "10.0.0.3" {
		t.Errorf("members %q, leaving %q, new %q, %v", hostNames(got), hostNames(r.leaving), hostNames(r.fresh), err)
	}
	if r.asked.Spec.Network.PodCIDR.String() != "10.244.0.0/16" {
		t.Errorf("the network is %v, want the one that it was made with", r.asked.Spec.Network)
	}
}

func TestMasterThatIsNewNeverBeginsAnotherCluster(t *testing.T) {
	r, members := toReconcile(t, "10.0.0.9,10.0.0.2,10.0.0.1")
	members[1].Role, members[2].Role = runtime.Node, runtime.Master // as they are in the cluster
	got, err := r.compare(members)
	if err != nil || hostNames(got) != "10.0.0.1, 10.0.0.2, 10.0.0.9" {
		t.Errorf("members %q, %v", hostNames(got), err)
	}
}

func TestWhatCannotBecomeOfAClusterIsRefused(t *testing.T) {
	r, members := toReconcile(t, "10.0.0.2,10.0.0.1")
	if _, err := r.compare(members); err == nil || !strings.Contains(err.Error(), "host 10.0.0.1 is a master of the cluster test, not a node") {
		t.Errorf("error is %v", err)
	}
	r, members = toReconcile(t, "10.0.0.1,10.0.0.2")
	r.asked.Spec.Network.PodCIDR = clusterfile.Strings{"10.9.0.0/16"}
	if _, err := r.compare(members); err == nil || !strings.Contains(err.Error(), "10.244.0.0/16 for network.podCIDR") {
		t.Errorf("error is %v", err)
	}
}

func TestHostThatLeavesAndDoesNotAnswerIsForgottenByHand(t *testing.T) {
	r, members := toReconcile(t, "10.0.0.1")
	if _, err := r.compare(members); err != nil {
		t.Fatal(err)
	}
	if _, err := r.planToLeave(nil); err == nil || !strings.Contains(err.Error(), "sealrt delete --nodes 10.0.0.2 --force --cluster test") {
		t.Errorf("error is %v", err)
	}
}

func TestClusterIsWhatItWasUntilItsPlanIsDone(t *testing.T) {
	old, app := runtime.Image{Digest: "sha256:old"}, runtime.Image{Digest: "sha256:app"}
	spec := clusterfile.Spec{Labels: map[string]string{"zone": "b"}, Taints: []string{"new:NoSchedule"}}
	k := &known{until: []runtime.Image{old, app}, leaving: []runtime.Member{{Address: "10.0.0.2"}}, labelled: []runtime.Member{{Address: "10.0.0.1", Labels: map[string]string{"zone": "a"}}}}
	after := &runtime.Cluster{Spec: spec, Images: []runtime.Image{{Digest: "sha256:new"}, app}, Members: []runtime.Member{
		{Address: "10.0.0.1", Labels: spec.Labels, Taints: spec.Taints}, {Address: "10.0.0.3", Labels: spec.Labels, Taints: spec.Taints},
	}}
	got := k.meanwhile(after)
	if hostNames(got.Members) != "10.0.0.1, 10.0.0.3, 10.0.0.2" || got.Image().Digest != "sha256:old" || len(got.Images) != 2 {
		t.Errorf("members %s, image %s", hostNames(got.Members), got.Image().Digest)
	}
	kept, err := runtime.MembersOf(got.Clusterfile().Spec)
	if err != nil || kept[0].Labels["zone"] != "a" || len(kept[0].Taints) != 0 || kept[1].Labels["zone"] != "b" || len(kept[1].Taints) != 1 {
		t.Errorf("kept are %+v, %v", kept, err)
	}
	k.later = after.Members[1:]
	if got := k.meanwhile(after); hostNames(got.Members) != "10.0.0.1, 10.0.0.2" {
		t.Errorf("before the upgrade is done its members are %s", hostNames(got.Members))
	}
	if after.Members[0].Labels["zone"] != "b" || len(after.Members) != 2 {
		t.Errorf("what comes after was changed: %+v", after.Members)
	}
}

func TestClusterThatWasNeverMadeIsNotUpgraded(t *testing.T) {
	r, _ := toReconcile(t, "10.0.0.1,10.0.0.2")
	ref, err := artifact.ParseReference("kubernetes:v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	r.cluster.Images[0].Ref = ref
	was := *r.cluster
	was.Images = []runtime.Image{{Ref: ref, Digest: "sha256:old", Kind: artifact.Kind{Distro: "kubernetes"}}}
	if err := saveCluster(r.state, &was); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(r.state.KubeconfigPath()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.plan(t.Context()); err == nil || !strings.Contains(err.Error(), "reset it first") {
		t.Errorf("error is %v", err)
	}
}

func TestClusterfileIsReadStrictly(t *testing.T) {
	good := "apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {image: [k3s:v1]}\n"
	for text, want := range map[string]string{
		good:                                   "",
		good + "other: 1\n":                    "other",
		strings.Replace(good, "/v1", "/v9", 1): "sealrt.io/v9",
		"apiVersion: sealrt.io/v1\nkind: Cluster\n": "spec.image",
	} {
		name := filepath.Join(t.TempDir(), "Clusterfile")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := readAsked(&environment{}, name)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err == nil && file.Metadata.Name != "default" {
			t.Errorf("the name is %q", file.Metadata.Name)
		}
	}
}
