package k3s_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestAClusterThatStandsKeepsWhatItsServersAgreeIn(t *testing.T) {
	for _, tt := range []struct {
		name, was, is string
		change        func(*runtime.Cluster)
		several       string // what is said where there are three masters
		single        string // and where there is one
	}{
		{name: "nothing"},
		{name: "what may be another everywhere", was: "disable: [traefik]", is: "disable: [local-storage]\nkubelet-arg: [max-pods=50]"},
		{name: "the network between hosts", is: "flannel-backend: host-gw", several: "flannel-backend is [vxlan] and [host-gw], before and after"},
		{name: "the load balancer", is: "disable: [servicelb]", several: "disable servicelb is false and true"},
		{name: "the network of pods", is: "cluster-cidr: 10.9.0.0/16", several: "cluster-cidr is [10.42.0.0/16] and [10.9.0.0/16]", single: "the cluster's data is made with it"},
		{name: "both, of which one can change", is: "{flannel-backend: none, service-cidr: 10.8.0.0/16}", several: "flannel-backend", single: "service-cidr is [10.43.0.0/16] and [10.8.0.0/16]"},
		{name: "both families", change: func(c *runtime.Cluster) { c.Network.DualStack = true }, several: "cluster-cidr is", single: "cluster-cidr is"},
		{name: "a datastore", is: "datastore-endpoint: mysql://user:secret@db", several: "datastore-endpoint differs", single: "datastore-endpoint differs"},
		{name: "where data is", was: "data-dir: /srv/k3s", several: "the cluster has /srv/k3s for its data-dir, and would have /var/lib/rancher/k3s", single: "/srv/k3s for its data-dir"},
		{name: "the kubelet's data", change: func(c *runtime.Cluster) { c.DataDir.Kubelet = "/srv/kubelet" }, several: "dataDir.kubelet", single: "dataDir.kubelet"},
		{name: "what runs containers", change: func(c *runtime.Cluster) { c.Runtime = "docker" }, several: "has containerd for its container runtime", single: "docker"},
	} {
		for masters, want := range map[int]string{3: tt.several, 1: tt.single} {
			was, is := cluster("v1.25.3+k3s1", ""), cluster("v1.25.3+k3s1", "")
			was.Members, is.Members = was.Members[:masters], is.Members[:masters]
			was.Others, is.Others = document(tt.was), document(tt.is)
			if tt.change != nil {
				tt.change(is)
			}
			err := k3s.Driver{}.CheckChange(was, is)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret")) {
				t.Errorf("%s, %d masters: %v, want %q", tt.name, masters, err, want)
			}
		}
	}
}

// What the image says counts although it is not at hand, with the Clusterfile's
// config document in it.
func TestSettingsOfAnImageThatIsNotAtHand(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "data-dir: /srv/k3s\nflannel-backend: host-gw\ncluster-cidr: 10.9.0.0/16\n")
	c.Images[0].Config, c.Images[0].Files = runtime.KeepConfig(k3s.Driver{}, c.Image()), nil
	c.Config = []clusterfile.Config{{Path: "etc/k3s.yaml", Data: map[string]any{"cluster-cidr": "10.8.0.0/16"}}}
	life, err := runtime.New(c, k3s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.Reset()
	if err != nil {
		t.Fatal(err)
	}
	var flushed []string
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if f, ok := s.Do.(runtime.Flush); ok {
					flushed = append(flushed, f.Networks...)
				}
			}
		}
	}
	if len(flushed) == 0 || flushed[0] != "10.8.0.0/16" {
		t.Errorf("a reset takes routes to %q away", flushed)
	}
	to := cluster("v1.26.1+k3s1", "data-dir: /srv/k3s\nflannel-backend: host-gw\n").Images[0]
	if _, err := life.Upgrade(to); err != nil {
		t.Errorf("an image that says the same is refused: %v", err)
	}
	to = cluster("v1.26.1+k3s1", "data-dir: /srv/k3s\n").Images[0]
	if _, err := life.Upgrade(to); err == nil || !strings.Contains(err.Error(), "flannel-backend is [host-gw] and [vxlan]") {
		t.Errorf("an image that says something else: %v", err)
	}
	none := cluster("v1.25.3+k3s1", "")
	none.Images[0].Files = nil // as states of before have it
	if err := (k3s.Driver{}).CheckUpgrade(none, to); err != nil {
		t.Errorf("what is not known is held against an image: %v", err)
	}
}
