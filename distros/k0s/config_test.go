package k0s_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/distros/k0s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

const envoy = "quay.io/k0sproject/envoy-distroless:v1.34.3"

// cluster is one of three masters and a node, whose image has a configuration
// and a load balancer.
func cluster(version, config string) *runtime.Cluster {
	image := runtime.Image{
		Digest: "sha256:aa", Paths: []string{"bin/k0s"}, Files: fstest.MapFS{"etc/k0s.yaml": {Data: []byte(config)}},
		Images: []string{"quay.io/k0sproject/pause:3.10.1", envoy},
	}
	image.Kind.Distro, image.Kind.Version = "k0s", version
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{image}}
	for i, role := range []runtime.Role{runtime.Master, runtime.Master, runtime.Master, runtime.Node} {
		ip := "10.0.0." + string(rune('1'+i))
		c.Members = append(c.Members, runtime.Member{Address: ip, NodeIP: ip, Hostname: "host" + ip[len(ip)-1:], Role: role})
	}
	return c
}

// document puts a configuration of k0s into the Clusterfile.
func document(c *runtime.Cluster, text string) *runtime.Cluster {
	c.Others = append(c.Others, clusterfile.Other{APIVersion: "k0s.k0sproject.io/v1beta1", Kind: "ClusterConfig", Line: 9, Raw: text})
	return c
}

// told returns what k0s is told on a host.
func told(t *testing.T, c *runtime.Cluster, m runtime.Member) map[string]any {
	t.Helper()
	steps, err := k0s.Driver{}.Prepare(c, m)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if w, ok := s.Do.(runtime.Write); ok && w.Path == "/etc/k0s/k0s.yaml" {
			out := map[string]any{}
			if err := yaml.Unmarshal([]byte(w.Data), &out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	return nil
}

// at is a field of a document.
func at(in any, keys string) any {
	for _, k := range strings.Split(keys, ".") {
		m, _ := in.(map[string]any)
		in = m[k]
	}
	return in
}

func TestControllersDifferInTheirAddressesOnly(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "spec: {network: {provider: calico}}")
	c.Network.PodCIDR, c.TLSSANs = []string{"10.9.0.0/16"}, []string{"api.example.com"}
	var first string
	for _, m := range c.Masters() {
		config := told(t, c, m)
		for field, want := range map[string]any{
			"apiVersion": "k0s.k0sproject.io/v1beta1", "kind": "ClusterConfig", "spec.api.address": m.NodeIP, "spec.storage.type": "etcd", "spec.storage.etcd.peerAddress": m.NodeIP,
			"spec.network.podCIDR": "10.9.0.0/16", "spec.network.provider": "calico", "spec.images.default_pull_policy": "Never",
			"spec.network.nodeLocalLoadBalancing.enabled": true,
		} {
			if got := at(config, field); got != want {
				t.Errorf("%s: %s is %v, want %v", m.Name(), field, got, want)
			}
		}
		raw, err := yaml.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(raw), m.NodeIP, "IP")
		if first == "" {
			first = text
		}
		if text != first || !strings.Contains(text, "- api.example.com") || !strings.Contains(text, "- api.test.sealrt.internal") {
			t.Errorf("%s: %s\nis not %s", m.Name(), text, first)
		}
	}
	if config := told(t, c, c.Members[3]); config != nil {
		t.Errorf("a worker is told %v", config)
	}
}

func TestTheUsersDocumentWins(t *testing.T) {
	c := document(cluster("v1.34.2+k0s.0", "spec: {telemetry: {enabled: true}}"),
		"spec: {images: {default_pull_policy: IfNotPresent}, network: {provider: custom, nodeLocalLoadBalancing: {enabled: false}}, api: {sans: []}}")
	config := told(t, c, c.Members[0])
	for field, want := range map[string]any{
		"spec.images.default_pull_policy": "IfNotPresent", "spec.network.provider": "custom", "spec.network.nodeLocalLoadBalancing.enabled": false,
		"spec.telemetry.enabled": true, "spec.api.address": "10.0.0.1",
	} {
		if got := at(config, field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
	if sans, _ := at(config, "spec.api.sans").([]any); len(sans) != 0 {
		t.Errorf("sans are %v", sans)
	}
}

func TestAnEndpointIsInFrontOfTheMastersAndNoBalancerOnNodes(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	c.Endpoint = "k0s.example.com:6443"
	config := told(t, c, c.Members[0])
	if at(config, "spec.api.externalAddress") != "k0s.example.com" || at(config, "spec.network.nodeLocalLoadBalancing") != nil {
		t.Errorf("%v", config)
	}
}

func TestDualStackIsToldByFamily(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	c.Network.PodCIDR, c.Network.ServiceCIDR = []string{"10.9.0.0/16", "fd01::/56"}, []string{"10.8.0.0/16"}
	config := told(t, c, c.Members[0])
	for field, want := range map[string]any{
		"spec.network.podCIDR": "10.9.0.0/16", "spec.network.serviceCIDR": "10.8.0.0/16", "spec.network.dualStack.enabled": true,
		"spec.network.dualStack.IPv6podCIDR": "fd01::/56", "spec.network.dualStack.IPv6serviceCIDR": "fd00:43::/108",
	} {
		if got := at(config, field); got != want {
			t.Errorf("%s is %v, want %v", field, got, want)
		}
	}
}

func TestWhatCannotBeMadeIsRefused(t *testing.T) {
	const version = "v1.34.2+k0s.0"
	for name, tt := range map[string]struct {
		change func(*runtime.Cluster)
		config string
		want   string
	}{
		"as it is":                   {},
		"no version":                 {change: func(c *runtime.Cluster) { c.Images[0].Kind.Version = "latest" }, want: "is not like v1.34.2+k0s.0"},
		"an old version":             {change: func(c *runtime.Cluster) { c.Images[0].Kind.Version = "v1.30.9+k0s.0" }, want: "needs v1.31 or newer"},
		"an address in the image":    {config: "spec: {api: {address: 10.0.0.1}}", want: "different on every controller"},
		"a peer in a document":       {change: func(c *runtime.Cluster) { document(c, "spec: {storage: {etcd: {peerAddress: 10.0.0.1}}}") }, want: "line 9 of the Clusterfile says spec.storage.etcd.peerAddress"},
		"another port":               {config: "spec: {api: {port: 7443}}", want: "only 6443 is known"},
		"SQLite for many":            {config: "spec: {storage: {type: kine}}", want: "a SQLite on one host"},
		"SQLite for one":             {config: "spec: {storage: {type: kine}}", change: func(c *runtime.Cluster) { c.Members = c.Members[:1] }},
		"another storage":            {config: "spec: {storage: {type: paper}}", want: "write etcd or kine"},
		"docker":                     {change: func(c *runtime.Cluster) { c.Runtime = "docker" }, want: "k0s brings containerd"},
		"an endpoint's port":         {change: func(c *runtime.Cluster) { c.Endpoint = "lb:443" }, want: "have it pass these on and write lb:6443"},
		"no way to several masters":  {change: func(c *runtime.Cluster) { c.Images[0].Images = nil }, want: "nodes would know one master alone"},
		"an image that is not open":  {change: func(c *runtime.Cluster) { c.Images[0].Images, c.Images[0].Files = nil, nil }},
		"an endpoint as that way":    {change: func(c *runtime.Cluster) { c.Images[0].Images, c.Endpoint = nil, "lb:6443" }},
		"an endpoint and a balancer": {change: func(c *runtime.Cluster) { c.Endpoint = "lb:6443" }, config: "spec: {network: {nodeLocalLoadBalancing: {enabled: true}}}", want: "exclude each other"},
		"one master needs none":      {change: func(c *runtime.Cluster) { c.Images[0].Images, c.Members = nil, c.Members[2:] }},
		"arguments":                  {change: func(c *runtime.Cluster) { c.Env = map[string]string{"K0S_WORKER_ARGS": "--token-file=/x"} }, want: "which sealrt gives itself"},
		"words":                      {change: func(c *runtime.Cluster) { c.Env = map[string]string{"K0S_CONTROLLER_ARGS": "--logging all"} }, want: `"all" is no argument`},
		"a document of another": {change: func(c *runtime.Cluster) {
			c.Others = []clusterfile.Other{{APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "ClusterConfiguration", Line: 3}}
		}, want: "no effect"},
	} {
		c := cluster(version, tt.config)
		if tt.change != nil {
			tt.change(c)
		}
		err := k0s.Driver{}.Check(c)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

func TestSettingsOfContainerdThatTheImageBringsAreOnEveryHost(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	files, _ := c.Image().Files.(fstest.MapFS)
	files["etc/k0s/containerd.d/mine.toml"] = &fstest.MapFile{Data: []byte("version = 2\n")}
	files["etc/k0s/containerd.d/notes.txt"] = &fstest.MapFile{}
	for _, m := range c.Members {
		steps, err := k0s.Driver{}.Prepare(c, m)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range steps {
			if w, ok := s.Do.(runtime.Write); ok && strings.HasPrefix(w.Path, "/etc/k0s/containerd.d/") {
				got = append(got, w.Path+": "+w.Data)
			}
		}
		if len(got) != 1 || got[0] != "/etc/k0s/containerd.d/mine.toml: version = 2\n" {
			t.Errorf("%s has %q", m.Name(), got)
		}
	}
}
