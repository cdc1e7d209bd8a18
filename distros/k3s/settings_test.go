package k3s_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// prepared returns what the host is told in config.yaml.
func prepared(t *testing.T, c *runtime.Cluster, m runtime.Member) map[string]any {
	t.Helper()
	steps, err := k3s.Driver{}.Prepare(c, m)
	out := map[string]any{}
	if err := yaml.Unmarshal([]byte(files(t, steps, err)["/etc/rancher/k3s/config.yaml"]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// document is a configuration of k3s in a Clusterfile.
func document(text string) []clusterfile.Other { return []clusterfile.Other{{Line: 9, Raw: text}} }

func TestFieldsOfTheClusterfileBecomeSettings(t *testing.T) {
	type want = map[string]any
	for _, tt := range []struct {
		name   string
		image  string
		change func(*runtime.Cluster)
		master want
		node   want
	}{
		{"names of the API", "tls-san: [a.example.com]", func(c *runtime.Cluster) {
			c.Endpoint, c.TLSSANs = "vip.example.com:6443", []string{"b.example.com", "a.example.com"}
		}, want{"tls-san": []any{"a.example.com", "api.test.sealrt.internal", "vip.example.com", "b.example.com"}, "server": nil}, want{"server": "https://vip.example.com:6443", "tls-san": nil}},
		{"networks", "", func(c *runtime.Cluster) {
			c.Network = clusterfile.Network{PodCIDR: []string{"10.1.0.0/16"}, ServiceCIDR: []string{"10.2.0.0/16"}, ClusterDNS: "10.2.0.10"}
		}, want{"cluster-cidr": "10.1.0.0/16", "service-cidr": "10.2.0.0/16", "cluster-dns": "10.2.0.10"}, want{"cluster-cidr": nil, "cluster-dns": nil}},
		{"two networks", "", func(c *runtime.Cluster) {
			c.Network = clusterfile.Network{PodCIDR: []string{"10.1.0.0/16", "fd01::/56"}, ServiceCIDR: []string{"10.2.0.0/16", "fd02::/112"}}
		}, want{"cluster-cidr": "10.1.0.0/16,fd01::/56", "service-cidr": "10.2.0.0/16,fd02::/112"}, nil},
		{"two networks, whichever", "", func(c *runtime.Cluster) { c.Network.DualStack = true },
			want{"cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112"}, nil},
		{"two networks of one kind", "", func(c *runtime.Cluster) { c.Network.ServiceCIDR = []string{"10.2.0.0/16", "fd02::/112"} },
			want{"cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.2.0.0/16,fd02::/112"}, nil},
		{"IPv6 first", "", func(c *runtime.Cluster) { c.Network.PodCIDR = []string{"fd01::/56", "10.1.0.0/16"} },
			want{"cluster-cidr": "fd01::/56,10.1.0.0/16", "service-cidr": "fd00:43::/112,10.43.0.0/16"}, nil},
		{"IPv6 alone", "", func(c *runtime.Cluster) { c.Network.ServiceCIDR = []string{"fd02::/112"} },
			want{"cluster-cidr": "fd00:42::/56", "service-cidr": "fd02::/112"}, nil},
		{"none", "", func(*runtime.Cluster) {}, want{"cluster-cidr": nil, "service-cidr": nil, "cluster-dns": nil}, nil},
		{"labels, taints and addresses", "node-label: a=1,b=2", func(c *runtime.Cluster) {
			for n := range c.Members {
				c.Members[n].Labels, c.Members[n].Taints = map[string]string{"zone": "x"}, []string{"k=v:NoSchedule"}
			}
		}, want{"node-label": []any{"a=1", "b=2", "zone=x"}, "node-taint": []any{"k=v:NoSchedule"}, "node-ip": "10.0.0.1"},
			want{"node-label": []any{"a=1", "b=2", "zone=x"}, "node-taint": []any{"k=v:NoSchedule"}, "node-ip": "10.0.0.4"}},
		{"the kubelet's data", "kubelet-arg: max-pods=50,x", func(c *runtime.Cluster) { c.DataDir.Kubelet = "/srv/kubelet" },
			want{"kubelet-arg": []any{"max-pods=50,x", "root-dir=/srv/kubelet"}}, want{"kubelet-arg": []any{"max-pods=50,x", "root-dir=/srv/kubelet"}}},
		{"a document of the user's", "disable: [traefik]\ndebug: true", func(c *runtime.Cluster) {
			c.TLSSANs = []string{"a"}
			c.Others = document("disable: []\ntls-san: [only]\nflannel-backend: none\ndebug: false\nnode-ip: null\nkubelet-arg: [v=2]\n")
		}, want{"disable": []any{}, "tls-san": []any{"only"}, "flannel-backend": "none", "debug": false, "node-ip": nil},
			want{"disable": nil, "flannel-backend": nil, "debug": false, "kubelet-arg": []any{"v=2"}, "token": "⟨k3s agent token⟩"}},
		{"a document that adds", "disable: [traefik]", func(c *runtime.Cluster) { c.Others = document("disable+: [servicelb]\ntls-san+: more") },
			want{"disable": []any{"traefik", "servicelb"}, "tls-san": []any{"api.test.sealrt.internal", "more"}}, nil},
		{"documents of others", "", func(c *runtime.Cluster) {
			c.Others = []clusterfile.Other{{APIVersion: "k0s.k0sproject.io/v1beta1", Kind: "ClusterConfig", Raw: "debug: true"}}
		}, want{"debug": nil}, want{"debug": nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster("v1.25.3+k3s1", tt.image)
			tt.change(c)
			for m, want := range map[int]want{0: tt.master, 3: tt.node} {
				got := prepared(t, c, c.Members[m])
				for _, key := range slices.Sorted(maps.Keys(want)) {
					if _, there := got[key]; want[key] == nil && there {
						t.Errorf("%s: %s is said", c.Members[m].Name(), key)
					}
					if diff := cmp.Diff(want[key], got[key]); diff != "" {
						t.Errorf("%s: %s: %s", c.Members[m].Name(), key, diff)
					}
				}
			}
		})
	}
}

func TestTheKubeletsDirectoryIsClaimed(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.DataDir.Kubelet = "/srv/kubelet"
	steps, err := k3s.Driver{}.Prepare(c, c.Members[3])
	if err != nil {
		t.Fatal(err)
	}
	claim, _ := steps[0].Do.(runtime.Claim)
	if !slices.Contains(claim.Paths, "/srv/kubelet") || !slices.Contains(claim.Paths, "/var/lib/kubelet") {
		t.Errorf("claimed are %q", claim.Paths)
	}
}

func TestWhatCannotBeSaidIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*runtime.Cluster)
		want   string
	}{
		"a token":            {func(c *runtime.Cluster) { c.Others = document("token: env:X") }, "line 9 of the Clusterfile says token"},
		"a server":           {func(c *runtime.Cluster) { c.Others = document("server+: x") }, "says server"},
		"another kubeconfig": {func(c *runtime.Cluster) { c.Others = document("write-kubeconfig: /root/x") }, "write-kubeconfig /root/x"},
		"another port":       {func(c *runtime.Cluster) { c.Others = document("https-listen-port: 7443") }, "only 6443"},
		"the usual port":     {func(c *runtime.Cluster) { c.Others = document("https-listen-port: 6443") }, ""},
		"kubeadm's document": {func(c *runtime.Cluster) {
			c.Others = []clusterfile.Other{{Line: 9, APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "ClusterConfiguration", Raw: "a: b"}}
		}, "line 9 of the Clusterfile: kubeadm.k8s.io/v1beta4 ClusterConfiguration has no effect"},
		"containerd's place": {func(c *runtime.Cluster) { c.DataDir.Containerd = "/srv" }, "dataDir.containerd is /srv"},
		"etcd's place":       {func(c *runtime.Cluster) { c.DataDir.Etcd = "/srv" }, "dataDir.etcd is /srv"},
		"a secret proxy":     {func(c *runtime.Cluster) { c.Proxy.HTTPS = "env:PROXY" }, "proxy.https"},
		"a variable of ours": {func(c *runtime.Cluster) { c.Env = map[string]string{"K3S_URL": "x"} }, "K3S_URL"},
		"a secret variable":  {func(c *runtime.Cluster) { c.Members[3].Env = map[string]string{"K3S_VPN_AUTH": "file:x"} }, "10.0.0.4: env K3S_VPN_AUTH"},
		"a role label": {func(c *runtime.Cluster) {
			c.Members[1].Labels = map[string]string{"node-role.kubernetes.io/worker": ""}
		}, "10.0.0.2: label node-role"},
		"labels": {func(c *runtime.Cluster) {
			c.Members[1].Labels = map[string]string{"topology.kubernetes.io/zone": "a", "node.kubernetes.io/x": "", "example.com/k8s.io": "", "zone": "b"}
		}, ""},
	} {
		c := cluster("v1.25.3+k3s1", "")
		tt.change(c)
		err := k3s.Driver{}.Check(c)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestEnvironmentOfTheUnit(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Env = []string{"K3S_A=image", "K3S_B=image", "OTHER=x"}
	c.Env = map[string]string{"K3S_B": `say "$x"`, "CONTAINERD_HTTP_PROXY": "http://c:1"}
	c.Members[3].Env = map[string]string{"K3S_C": "host"}
	c.Members[1].NodeIP = "192.0.2.7"
	c.Proxy = clusterfile.Proxy{HTTP: "http://p:3128", NoProxy: []string{"localhost", "corp.example.com"}}
	steps, err := k3s.Driver{}.Prepare(c, c.Members[3])
	texts := files(t, steps, err)
	want := `# Written by sealrt.
CONTAINERD_HTTP_PROXY="http://c:1"
HTTP_PROXY="http://p:3128"
K3S_A="image"
K3S_B="say \"\$x\""
K3S_C="host"
NO_PROXY="localhost,api.test.sealrt.internal,127.0.0.0/8,::1,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fc00::/7,192.0.2.7,corp.example.com"
`
	if diff := cmp.Diff(want, texts["/etc/systemd/system/k3s-agent.service.env"]); diff != "" {
		t.Error(diff)
	}
	if unit := texts["/etc/systemd/system/k3s-agent.service"]; strings.Contains(unit, "3128") || !strings.Contains(unit, "\nEnvironmentFile=-/etc/systemd/system/k3s-agent.service.env\n") {
		t.Errorf("unit: %s", unit)
	}
	steps, err = k3s.Driver{}.Prepare(c, c.Members[0])
	if text := files(t, steps, err)["/etc/systemd/system/k3s.service.env"]; strings.Contains(text, "K3S_C") {
		t.Errorf("a master has the variables of a node: %s", text)
	}
}
