package k0s

import (
	"cmp"

	"github.com/sealrt/sealrt/runtime"
)

// kubeRouter is the provider of networks that k0s takes where it is told none.
const kubeRouter = "kuberouter"

// Needs is what docs.k0sproject.io asks for in "System requirements" and
// "Networking". A containerd of the host's own is not in the way: k0s brings its
// own, with a socket and data of its own.
func (d Driver) Needs(c *runtime.Cluster, m runtime.Member) runtime.Needs {
	t, _ := ofControllers(c) // Check says what is wrong with it, before any host is asked
	pods, services := t.cidrs()
	n := runtime.Needs{
		Ports: []int{10250}, Loopback: []int{10248, 10249, 10256},
		CIDRs:  append(pods, services...),
		Memory: 480 * runtime.MiB, MemoryAdvised: 512 * runtime.MiB,
		Disks: []runtime.Disk{
			{Path: "/usr/local/bin", Need: 320 * runtime.MiB},
			{Path: cmp.Or(c.DataDir.Kubelet, kubeletDir), Need: 256 * runtime.MiB},
			// what the program unpacks itself to, the file of container images, their blobs and what they become
			{Path: dataDir, Need: runtime.GiB + 4*c.ImageSize(), Inodes: 20_000},
		},
		DefaultRoute: true,
		CgroupV2:     c.Image().NeedsCgroupV2(),
		Modules:      []string{"overlay", "nf_conntrack", "br_netfilter"},
		Conflicts:    []string{"k3s", "rke2", "k0s", "kubelet", "microk8s"},
	}
	switch cmp.Or(t.Spec.Network.Provider, kubeRouter) {
	case kubeRouter:
		n.Ports = append(n.Ports, 179)
	case "calico":
		n.UDP = append(n.UDP, 4789)
	}
	if m.Role == runtime.Node {
		return n
	}
	n.Ports = append(n.Ports, apiPort)
	n.Loopback = append(n.Loopback, 10257, 10259)
	n.CPUs, n.Memory, n.MemoryAdvised = 1, 900*runtime.MiB, 2*runtime.GiB
	if !single(c) {
		n.Ports = append(n.Ports, cmp.Or(t.Spec.API.K0sAPIPort, 9443), 8132)
	}
	if t.votes() {
		n.Loopback = append(n.Loopback, 2379)
		n.Ports = append(n.Ports, 2380)
	}
	return n
}
