package k3s_test

import (
	stdcmp "cmp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

func TestNeeds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		image   string
		version string
		change  func(*runtime.Cluster)
		member  int
		ports   []int
		udp     []int
		cidrs   []string
	}{
		{name: "one of three masters", ports: []int{10250, 6443, 2379, 2380}, udp: []int{8472}},
		{name: "a single master", change: func(c *runtime.Cluster) { c.Members = c.Members[:1] }, ports: []int{10250, 6443}, udp: []int{8472}},
		{name: "masters on a store of the user's", image: "datastore-endpoint: mysql://x", ports: []int{10250, 6443}, udp: []int{8472}},
		{name: "a node", member: 3, ports: []int{10250}, udp: []int{8472}},
		{name: "images from host to host", version: "v1.30.1+k3s1", image: "embedded-registry: true", member: 3, ports: []int{10250, 5001}, udp: []int{8472}},
		{name: "no tunnels", image: "flannel-backend: host-gw", member: 3, ports: []int{10250}},
		{name: "no tunnels, by the user", change: func(c *runtime.Cluster) { c.Others = document("flannel-backend: none") }, member: 3, ports: []int{10250}},
		{name: "wireguard", image: "flannel-backend: wireguard-native", member: 3, ports: []int{10250}, udp: []int{51820}},
		{name: "wireguard of both families", image: "flannel-backend: wireguard-native", change: func(c *runtime.Cluster) { c.Network.DualStack = true }, member: 3,
			ports: []int{10250}, udp: []int{51820, 51821}, cidrs: []string{"10.42.0.0/16", "fd00:42::/56", "10.43.0.0/16", "fd00:43::/112"}},
		{name: "other networks", image: "service-cidr: 10.9.0.0/16", change: func(c *runtime.Cluster) { c.Network.PodCIDR = []string{"10.8.0.0/16"} }, member: 3,
			ports: []int{10250}, udp: []int{8472}, cidrs: []string{"10.8.0.0/16", "10.9.0.0/16"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(stdcmp.Or(tt.version, "v1.25.3+k3s1"), tt.image)
			if tt.change != nil {
				tt.change(c)
			}
			if tt.cidrs == nil {
				tt.cidrs = []string{"10.42.0.0/16", "10.43.0.0/16"}
			}
			n := k3s.Driver{}.Needs(c, c.Members[tt.member])
			type facts struct {
				Ports, UDP []int
				CIDRs      []string
			}
			if diff := cmp.Diff(facts{tt.ports, tt.udp, tt.cidrs}, facts{n.Ports, n.UDP, n.CIDRs}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNeedsOfAMachine(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Size = 1 << 30
	c.Images = append(c.Images, runtime.Image{Size: 1 << 30})
	c.DataDir.Kubelet = "/srv/kubelet"
	master, node := k3s.Driver{}.Needs(c, c.Members[0]), k3s.Driver{}.Needs(c, c.Members[3])
	if master.CPUs != 2 || node.CPUs > 1 || master.MemoryAdvised != 2<<30 || node.Memory >= master.Memory || node.MemoryAdvised != 512<<20 {
		t.Errorf("a master needs %d CPUs and %d bytes, a node %d and %d", master.CPUs, master.Memory, node.CPUs, node.Memory)
	}
	if !node.DefaultRoute || node.SELinux != "k3s" || node.SwapOff || node.CgroupV2 {
		t.Errorf("a node needs %+v", node)
	}
	if slices.Contains(node.Conflicts, "docker") || slices.Contains(node.Conflicts, "containerd") || !slices.Contains(node.Conflicts, "rke2") {
		t.Errorf("a node cannot be beside %q", node.Conflicts)
	}
	room := map[string]int64{}
	for _, d := range node.Disks {
		room[d.Path] = d.Need
	}
	if room["/var/lib/rancher/k3s"] < 8<<30 || room["/usr/local/bin"] == 0 || room["/srv/kubelet"] == 0 {
		t.Errorf("a node needs room: %v", room)
	}
	if !(k3s.Driver{}).Needs(cluster("v1.35.0+k3s1", ""), c.Members[3]).CgroupV2 {
		t.Error("v1.35 does without version 2 of cgroups")
	}
}
