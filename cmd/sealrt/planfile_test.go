package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/state"
)

// toCreate is a cluster of a master and a node, in memory, that is to be made
// with a recipe of kubernetes.
func toCreate(t *testing.T, clusters string, hosts map[string]*hosttest.Host, digest string) *reconciled {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/kubernetes:v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	asked := &clusterfile.Document{File: clusterfile.File{Metadata: clusterfile.Metadata{Name: "test"}, Spec: *ask("10.0.0.1,10.0.0.2")}}
	members, err := runtime.MembersOf(asked.Spec)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := state.Open(clusters, "test")
	if err != nil {
		t.Fatal(err)
	}
	open := connections{}
	for i := range members {
		members[i].NodeIP = members[i].Address
		open[members[i].Address] = hosts[members[i].Address]
	}
	env := &environment{stderr: io.Discard, progressMode: "plain"}
	k := &known{env: env, state: folder, hosts: open, driver: kubernetes.Driver{}, cluster: &runtime.Cluster{
		Spec: asked.Spec, Name: "test", Members: members,
		Images: []runtime.Image{{
			Ref: ref, Digest: digest, Files: os.DirFS("../../distros/kubernetes/image"),
			Images: []string{"registry.k8s.io/kube-apiserver:v1.34.4", "registry.k8s.io/pause:3.10.1"}, Paths: []string{"bin/kubeadm", "bin/kubelet", "bin/kubectl"},
			Env:  []string{"CGROUP_DRIVER=systemd", "KUBE_PROXY_MODE=iptables", "KUBE_PROXY_CONNTRACK=set", "KUBELET_DISK_PRESSURE=evict", "CONTAINERD_RESTRICT_OOM=false"},
			Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: "kubernetes", Version: "v1.34.4"},
		}},
	}}
	r := &reconciled{known: k, asked: asked}
	if err := r.measure(); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKeptPlanIsCarriedOutOnlyWhereItIsWhatWouldBePlannedNow(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		change func(*hosttest.Host)
		digest string
		want   string
	}{
		"nothing moved":   {nil, digest, ""},
		"another image":   {nil, "sha256:" + strings.Repeat("cd", 32), "the image registry.example.com/kubernetes:v1.34.4 was " + digest},
		"another machine": {func(h *hosttest.Host) { h.WriteFile("/etc/machine-id", 0o444, []byte("new\n")) }, digest, "host 10.0.0.2: another machine answers"},
		"somebody worked there": {func(h *hosttest.Host) {
			h.WriteFile("/var/lib/sealrt/ledger.jsonl", 0o600, []byte(`{"cluster":"test","step":"claim","hash":"x","state":"begun"}`+"\n"))
		}, digest, "host 10.0.0.2: something was done there meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := map[string]*hosttest.Host{}
			for _, address := range []string{"10.0.0.1", "10.0.0.2"} {
				hosts[address] = hosttest.New("host" + address[len(address)-1:])
				hosts[address].WriteFile("/etc/machine-id", 0o444, []byte(address+"\n"))
				hosts[address].Respond([]string{"uname", "-n"}, "host"+address[len(address)-1:]+"\n", 0)
			}
			file := filepath.Join(t.TempDir(), "plan")
			clusters := t.TempDir()
			r := toCreate(t, clusters, hosts, digest)
			f, err := r.forecast(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := savePlan(file, r.saved(f)); err != nil {
				t.Fatal(err)
			}
			if err := r.keepMade(); err != nil {
				t.Fatal(err)
			}
			if err := r.state.Close(); err != nil {
				t.Fatal(err)
			}
			if c.change != nil {
				c.change(hosts["10.0.0.2"])
			}
			saved, err := loadPlan(file)
			if err != nil {
				t.Fatal(err)
			}
			again := toCreate(t, clusters, hosts, c.digest)
			defer again.state.Close()
			now, err := again.forecast(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = again.unmoved(file, saved, now)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "plan again: sealrt plan")) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
}
