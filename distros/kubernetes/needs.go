package kubernetes

import (
	"slices"

	"github.com/sealrt/sealrt/runtime"
)

// serviceCIDR is the default of etc/kubeadm-init.yaml.tmpl.
const serviceCIDR = "10.96.0.0/16"

// Needs names the ports of https://kubernetes.io/docs/reference/networking/ports-and-protocols/
// and what kubeadm's own preflight asks for
// (https://kubernetes.io/docs/reference/setup-tools/kubeadm/implementation-details/).
func (Driver) Needs(c *runtime.Cluster, m runtime.Member) runtime.Needs {
	n := runtime.Needs{
		Ports:    []int{10250},
		Loopback: []int{10248, 10249, 10256}, // kubelet, kube-proxy
		CIDRs:    slices.Concat(or(c.Network.PodCIDR, podCIDR), or(c.Network.ServiceCIDR, serviceCIDR)),

		Memory: 512 * runtime.MiB, MemoryAdvised: 2 * runtime.GiB,
		Disks: []runtime.Disk{
			{Path: "/usr/local/bin", Need: 512 * runtime.MiB},
			{Path: cniBin, Need: 128 * runtime.MiB},
			{Path: "/var/lib/kubelet", Need: 256 * runtime.MiB},
			// the images' blobs and what they are unpacked to
			{Path: "/var/lib/containerd", Need: 3 * c.Image().Size, Inodes: 20_000},
		},
		CgroupV2:  c.Image().NeedsCgroupV2(),
		SwapOff:   true,
		Modules:   []string{"overlay", "br_netfilter", "nf_conntrack"},
		Sysctls:   []string{"net.ipv4.ip_forward=1"},
		SELinux:   "container",
		Conflicts: []string{"containerd", "docker", "kubelet", "k3s", "rke2", "k0s", "microk8s"},
	}
	if m.Role == runtime.Master {
		n.Ports = append(n.Ports, 6443, 2379, 2380)
		n.Loopback = append(n.Loopback, 2381, 10257, 10259) // etcd's metrics, controller-manager, scheduler
		n.CPUs, n.Memory = 2, 1700*runtime.MiB
		n.Disks = append(n.Disks, runtime.Disk{Path: "/var/lib/etcd", Need: 512 * runtime.MiB})
	}
	return n
}

// or returns the list, or the default where it is empty.
func or(list []string, standard string) []string {
	if len(list) == 0 {
		return []string{standard}
	}
	return list
}
