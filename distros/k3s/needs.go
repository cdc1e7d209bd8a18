package k3s

import (
	"cmp"
	"fmt"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
)

// Needs is what https://docs.k3s.io/installation/requirements asks for. A
// containerd or docker of the host's is not in the way: k3s brings its own, with
// a socket and data of its own. With docker as the runtime both are: that one is
// installed where theirs would be.
func (d Driver) Needs(c *runtime.Cluster, m runtime.Member) runtime.Needs {
	s, _ := ofServers(c) // Check says what is wrong with it, before any host is asked
	kubelet := cmp.Or(c.DataDir.Kubelet, kubeletDir)
	n := runtime.Needs{
		Ports:    []int{10250},
		Loopback: []int{6444, 10010, 10248, 10249, 10256}, // the API's way there, containerd's streams, kubelet, kube-proxy
		CIDRs:    append(list(s.text("cluster-cidr", podCIDR)), list(s.text("service-cidr", serviceCIDR))...),

		Memory: 400 * runtime.MiB, MemoryAdvised: 512 * runtime.MiB, // a machine of 512 MB shows less
		Disks: []runtime.Disk{
			{Path: "/usr/local/bin", Need: 128 * runtime.MiB},
			{Path: kubelet, Need: 256 * runtime.MiB},
			// the file of container images, their blobs, what they are unpacked to, and what the program unpacks itself to
			{Path: stateDir(c), Need: runtime.GiB/2 + 4*c.ImageSize(), Inodes: 20_000},
		},
		DefaultRoute: true,
		CgroupV2:     c.Image().NeedsCgroupV2(),
		OpenRC:       true,
		Modules:      []string{"overlay", "nf_conntrack"}, // the unit loads br_netfilter, and the kernel the tunnels' by itself
		SELinux:      "k3s",
		Conflicts:    []string{"k3s", "rke2", "k0s", "kubelet", "microk8s"},
	}
	if docker.Chosen(c) {
		// dockerd takes the containerd of another one where that runs
		n.Conflicts = append(n.Conflicts, "docker", "containerd")
		n.OpenRC = false // the unit of docker is systemd's
		for i, d := range n.Disks {
			if d.Path == stateDir(c) {
				n.Disks[i].Need, n.Disks[i].Inodes = runtime.GiB/2, 0
			}
		}
		n.Disks[0].Need += 512 * runtime.MiB // docker's programs, and once more while they are unpacked
		n.Disks = append(n.Disks, runtime.Disk{Path: docker.Data(c), Need: runtime.GiB/4 + 3*c.ImageSize(), Inodes: 20_000})
	}
	if dir := stateDir(c); dir != dataDir {
		n.NoSELinux = fmt.Sprintf("data-dir is %s: the policy of k3s knows %s only", dir, dataDir)
	}
	tunnels(&n, s)
	if s.on("embedded-registry") {
		n.Ports = append(n.Ports, 5001)
	}
	if m.Role == runtime.Master {
		n.Ports = append(n.Ports, apiPort)
		n.Loopback = append(n.Loopback, 10257, 10258, 10259) // controller-manager, cloud-controller-manager, scheduler
		n.CPUs, n.Memory, n.MemoryAdvised = 2, 900*runtime.MiB, 2*runtime.GiB
		if d.Votes(c) {
			n.Ports = append(n.Ports, 2379, 2380)
			n.Loopback = append(n.Loopback, 2381, 2382)
		}
	}
	return n
}

// tunnels adds what the network between the hosts needs.
func tunnels(n *runtime.Needs, s settings) {
	switch s.text("flannel-backend", "vxlan") {
	case "vxlan":
		n.UDP = append(n.UDP, 8472)
	case "wireguard-native":
		n.UDP = append(n.UDP, 51820)
		if len(list(s["cluster-cidr"])) > 1 || is6(s.text("cluster-cidr", podCIDR)) {
			n.UDP = append(n.UDP, 51821)
		}
	}
}
