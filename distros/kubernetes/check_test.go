package kubernetes_test

import (
	"os"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// asked is a cluster of what a Clusterfile says.
func asked(t *testing.T, spec, documents string) *runtime.Cluster {
	t.Helper()
	text := "apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {hosts: [{address: 10.0.0.1, role: master, nodeIP: 10.0.0.1, hostname: m1}], " + spec + "}\n" + documents
	d, err := clusterfile.Parse("x", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	members, err := runtime.MembersOf(d.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return &runtime.Cluster{Name: "one", Spec: d.Spec, Members: members, Others: d.Others, Images: []runtime.Image{{
		Kind: artifact.Kind{Version: "v1.34.4"}, Files: os.DirFS("image"),
		Env: []string{"CGROUP_DRIVER=systemd", "KUBE_PROXY_MODE=iptables", "KUBE_PROXY_CONNTRACK=set", "KUBELET_DISK_PRESSURE=evict", "CONTAINERD_RESTRICT_OOM=false"},
	}}}
}

func TestCheckRefusesFieldsThatWouldHaveNoEffect(t *testing.T) {
	for spec, want := range map[string]string{
		"":                                 "",
		"network: {podCIDR: 10.1.0.0/16}":  "",
		"env: {TZ: UTC}, batch: 2":         "",
		"runtime: containerd":              "",
		"endpoint: 'a:6443'":               "endpoint of the Clusterfile",
		"runtime: docker":                  "runtime: docker",
		"network: {clusterDNS: 10.96.0.9}": "network.clusterDNS",
		"network: {dualStack: true}":       "network.dualStack",
		"dataDir: {etcd: /srv/etcd}":       "dataDir.etcd",
		"dataDir: {kubelet: /srv/kubelet}": "dataDir.kubelet",
		"proxy: {noProxy: [a]}":            "proxy of",
		"tlsSANs: [a]":                     "apiServer.certSANs",
		"labels: {a: b}":                   "10.0.0.1: labels",
		"taints: ['a:NoSchedule']":         "10.0.0.1: taints",
	} {
		err := kubernetes.Driver{}.Check(asked(t, spec, ""))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}

func TestDocumentsOfKubeadmAreInWhatItReads(t *testing.T) {
	c := asked(t, "", `---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer: {certSANs: [api.example.com]}
networking: {serviceSubnet: ""}
featureGates: {}
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failSwapOn: false
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
nodeRegistration: {taints: []}
`)
	if err := (kubernetes.Driver{}).Check(c); err != nil {
		t.Fatal(err)
	}
	text := func(steps []runtime.Step, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		out := ""
		for _, s := range steps {
			if w, ok := s.Do.(runtime.Write); ok {
				out += w.Data
			}
		}
		return out
	}
	init := text(kubernetes.Driver{}.Init(c, c.Members[0]))
	for _, want := range []string{"- api.example.com", `serviceSubnet: ""`, "podSubnet: 10.244.0.0/16", "featureGates: {}", "failSwapOn: false", "cgroupDriver: systemd"} {
		if !strings.Contains(init, want) {
			t.Errorf("%q is not in\n%s", want, init)
		}
	}
	if strings.Contains(init, "JoinConfiguration") {
		t.Errorf("kubeadm init reads what is for join:\n%s", init)
	}
	if join := text(kubernetes.Driver{}.JoinNode(c, c.Members[0])); !strings.Contains(join, "taints: []") || strings.Contains(join, "failSwapOn") {
		t.Errorf("%s", join)
	}
}

func TestCheckRefusesDocumentsThatWouldHaveNoEffect(t *testing.T) {
	for document, want := range map[string]string{
		"apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration": "line 5 of the Clusterfile: kubeadm.k8s.io/v1beta3 ClusterConfiguration has no effect",
		"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ResetConfiguration":   "ResetConfiguration",
		"apiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig":     "ClusterConfig",
		"disable: [traefik]": "a configuration of k3s",
		"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration": "",
	} {
		err := kubernetes.Driver{}.Check(asked(t, "", "---\n"+document+"\n"))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", document, err)
		}
	}
}
