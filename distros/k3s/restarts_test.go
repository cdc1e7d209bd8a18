package k3s_test

import (
	"slices"
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// revisions are those of the services of all hosts, by which the engine knows
// that one has to be started again.
func revisions(t *testing.T, c *runtime.Cluster) []string {
	t.Helper()
	var out []string
	for i, m := range c.Members {
		make := k3s.Driver{}.JoinMaster
		switch {
		case i == 0:
			make = k3s.Driver{}.Init
		case m.Role == runtime.Node:
			make = k3s.Driver{}.JoinNode
		}
		steps, err := make(c, m)
		if err != nil {
			t.Fatal(err)
		}
		service, ok := steps[len(steps)-1].Do.(runtime.Service)
		if !ok {
			t.Fatalf("%s: the last step is %s", m.Name(), steps[len(steps)-1].Do)
		}
		out = append(out, service.Revision)
	}
	return out
}

// k3s reads its settings when it starts and at no other time.
func TestWhatK3sReadsWhenItStartsStartsItAgain(t *testing.T) {
	masters, nodes := []bool{true, true, true, false}, []bool{false, false, false, true}
	all, none := []bool{true, true, true, true}, []bool{false, false, false, false}
	for name, tt := range map[string]struct {
		change func(*runtime.Cluster)
		again  []bool // by host
	}{
		"nothing":                {func(*runtime.Cluster) {}, none},
		"the image's settings":   {func(c *runtime.Cluster) { c.Images[0].Files = tree("debug: true", "") }, all},
		"settings of servers":    {func(c *runtime.Cluster) { c.Others = document("disable: [traefik]") }, masters},
		"settings of the user's": {func(c *runtime.Cluster) { c.Others = document("kubelet-arg: [max-pods=50]") }, all},
		"names of the API":       {func(c *runtime.Cluster) { c.TLSSANs = []string{"x"} }, masters},
		"proxies":                {func(c *runtime.Cluster) { c.Proxy.HTTP = "http://p:3128" }, all},
		"a variable of one host": {func(c *runtime.Cluster) { c.Members[3].Env = map[string]string{"K3S_X": "y"} }, nodes},
		"another program":        {func(c *runtime.Cluster) { c.Images[0].Digest = "sha256:bb" }, all},
		"where masters are":      {func(c *runtime.Cluster) { c.Endpoint = "vip.example.com:6443" }, all},
		"a master more": {func(c *runtime.Cluster) {
			c.Members = append(c.Members, runtime.Member{Address: "10.0.0.9", Role: runtime.Master, NodeIP: "10.0.0.9", Hostname: "host9"})
		}, none},
		"labels of a node": {func(c *runtime.Cluster) { c.Members[3].Labels = map[string]string{"zone": "a"} }, none},
		"taints of a node": {func(c *runtime.Cluster) { c.Members[3].Taints = []string{"a=b:NoSchedule"} }, none},
		"a file of the registry": {func(c *runtime.Cluster) {
			c.Images[0].Files = tree("", "configs: {x.example: {auth: {username: a, password: b}}}")
		}, all},
		"a config document": {func(c *runtime.Cluster) {
			c.Config = []clusterfile.Config{{Path: "etc/k3s.yaml", Data: map[string]any{"v": 2}}}
		}, all},
		"a datastore's password":  {func(c *runtime.Cluster) { c.Others = document("datastore-endpoint: mysql://a") }, masters},
		"nothing that k3s reads":  {func(c *runtime.Cluster) { c.Env = map[string]string{"TZ": "UTC"} }, none},
		"what the kubelet is for": {func(c *runtime.Cluster) { c.DataDir.Kubelet = "/srv/kubelet" }, all},
	} {
		before := cluster("v1.30.3+k3s1", "")
		after := cluster("v1.30.3+k3s1", "")
		tt.change(after)
		if _, err := runtime.New(after, k3s.Driver{}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		was, is := revisions(t, before), revisions(t, after)
		var again []bool
		for i := range was {
			again = append(again, was[i] != is[i])
		}
		if !slices.Equal(again, tt.again) {
			t.Errorf("%s: started again are %v, want %v", name, again, tt.again)
		}
	}
}

// tree has an image's settings and registries.
func tree(config, registries string) fstest.MapFS {
	return fstest.MapFS{"etc/k3s.yaml": {Data: []byte(config)}, "etc/registries.yaml": {Data: []byte(registries)}}
}
