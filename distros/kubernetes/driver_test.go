package kubernetes_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/distrotest"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
)

var _ = flag.Bool("update", false, "write golden files anew")

func TestDriver(t *testing.T) {
	distrotest.Run(t, distrotest.Suite{
		Driver:  kubernetes.Driver{},
		Recipe:  os.DirFS("image"),
		Version: "v1.34.4",
		Env: []string{
			"CGROUP_DRIVER=systemd", "KUBE_PROXY_MODE=iptables", "KUBE_PROXY_CONNTRACK=set",
			"KUBELET_DISK_PRESSURE=evict", "CONTAINERD_RESTRICT_OOM=false",
		},
		Images:   []string{"registry.k8s.io/kube-apiserver:v1.34.4", "registry.k8s.io/pause:3.10.1"},
		Binaries: []string{"bin/kubeadm", "bin/kubelet", "bin/kubectl", "cri/containerd", "cri/runc", "cri/cni/bridge"},
		Trees:    []string{"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/var/lib/containerd", "/etc/cni/net.d"},
		Listed:   []string{"/usr/local/bin/ctr", "-n", "k8s.io", "images", "ls"},
	})
}

func TestCheckRefusesVersionsThatKubeadmV1beta4DoesNotKnow(t *testing.T) {
	for version, want := range map[string]string{
		"v1.34.4": "", "v1.31.0": "", "v2.0.0": "",
		"v1.30.4": "too old", "": "label", "latest": "label",
	} {
		c := &runtime.Cluster{Images: []runtime.Image{{Kind: artifact.Kind{Version: version}}}}
		err := kubernetes.Driver{}.Check(c)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", version, err, want)
		}
	}
}
