package k0s_test

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/distros/k0s"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

func TestAClusterThatStandsKeepsWhatItIsMadeWith(t *testing.T) {
	for name, tt := range map[string]struct {
		was, is string
		change  func(*runtime.Cluster)
		want    string
	}{
		"nothing":                 {},
		"what may change":         {is: "spec: {telemetry: {enabled: true}, api: {sans: [x.example.com]}, images: {default_pull_policy: IfNotPresent}}"},
		"what k0s does untold":    {was: "spec: {network: {provider: kuberouter}}", is: "spec: {network: {clusterDomain: cluster.local}}"},
		"the storage":             {is: "spec: {storage: {type: kine, kine: {dataSource: 'mysql://u:secret@db'}}}", want: "the database in spec.storage would be another one"},
		"another database":        {was: "spec: {storage: {type: kine, kine: {dataSource: 'env:A'}}}", is: "spec: {storage: {type: kine, kine: {dataSource: 'env:B'}}}", want: "the database in spec.storage"},
		"another cluster of etcd": {is: "spec: {storage: {etcd: {externalCluster: {endpoints: ['https://db:2379']}}}}", want: "the database in spec.storage"},
		"SQLite":                  {was: "spec: {storage: {type: kine}}", want: `spec.storage.type would change from "kine" to "etcd"`, change: func(c *runtime.Cluster) { c.Members = c.Members[:1] }},
		"who makes networks":      {is: "spec: {network: {provider: calico}}", want: `spec.network.provider would change from "kuberouter" to "calico"`},
		"the domain":              {is: "spec: {network: {clusterDomain: example.com}}", want: `from "cluster.local" to "example.com"`},
		"the network of pods":     {change: func(c *runtime.Cluster) { c.Network.PodCIDR = []string{"10.9.0.0/16"} }, want: `the networks of pods would change from "10.244.0.0/16" to "10.9.0.0/16"`},
		"both families":           {change: func(c *runtime.Cluster) { c.Network.DualStack = true }, want: "the networks of pods would change"},
		"services":                {change: func(c *runtime.Cluster) { c.Network.ServiceCIDR = []string{"10.8.0.0/16"} }, want: "the networks of services"},
		"the way to the API":      {change: func(c *runtime.Cluster) { c.Endpoint = "lb:6443" }, want: `spec.api.externalAddress would change from "" to "lb"`},
		"the kubelet's data":      {change: func(c *runtime.Cluster) { c.DataDir.Kubelet = "/srv/kubelet" }, want: `dataDir.kubelet would change from "/var/lib/k0s/kubelet" to "/srv/kubelet"`},
	} {
		was, is := cluster("v1.34.2+k0s.0", ""), cluster("v1.34.2+k0s.0", "")
		if tt.was != "" {
			document(was, tt.was)
		}
		if tt.is != "" {
			document(is, tt.is)
		}
		if tt.change != nil {
			tt.change(is)
			was.Members = is.Members
		}
		err := k0s.Driver{}.CheckChange(was, is)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// What the image says counts although it is not at hand, with the Clusterfile's
// config document in it.
func TestTheConfigurationOfAnImageThatIsNotAtHand(t *testing.T) {
	const says = "spec:\n  network: {provider: calico, podCIDR: 10.9.0.0/16}\n  konnectivity: {agentPort: 8132}\n"
	c := cluster("v1.34.2+k0s.0", says)
	c.Images[0].Config, c.Images[0].Files = runtime.KeepConfig(k0s.Driver{}, c.Image()), nil
	c.Config = []clusterfile.Config{{Path: "etc/k0s.yaml", Data: map[string]any{"spec": map[string]any{"network": map[string]any{"podCIDR": "10.7.0.0/16"}}}}}
	life, err := runtime.New(c, k0s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.Reset()
	if err != nil {
		t.Fatal(err)
	}
	flushed := 0
	for _, s := range stepsOf(plan) {
		if f, ok := s.Do.(runtime.Flush); ok {
			if flushed++; f.Networks[0] != "10.7.0.0/16" {
				t.Errorf("a reset takes routes to %q away", f.Networks)
			}
		}
	}
	if flushed != 4 {
		t.Errorf("%d hosts are flushed", flushed)
	}
	if plan, err = life.AddNames(); err != nil {
		t.Fatal(err)
	}
	written := 0
	for _, s := range stepsOf(plan) {
		if w, ok := s.Do.(runtime.Write); ok && w.Path == "/etc/k0s/k0s.yaml" {
			written++
			config := map[string]any{}
			if err := yaml.Unmarshal([]byte(w.Data), &config); err != nil {
				t.Fatal(err)
			}
			if at(config, "spec.network.provider") != "calico" || at(config, "spec.network.podCIDR") != "10.7.0.0/16" || at(config, "spec.konnectivity.agentPort") != 8132.0 {
				t.Errorf("a new name is told with %s", w.Data)
			}
		}
	}
	if written != 3 {
		t.Errorf("%d controllers are told", written)
	}
	to := cluster("v1.35.4+k0s.0", says).Images[0]
	if _, err := life.Upgrade(to); err != nil {
		t.Errorf("an image that says the same is refused: %v", err)
	}
	to = cluster("v1.35.4+k0s.0", "spec: {network: {podCIDR: 10.9.0.0/16}}").Images[0]
	if _, err := life.Upgrade(to); err == nil || !strings.Contains(err.Error(), `spec.network.provider would change from "calico" to "kuberouter"`) {
		t.Errorf("an image that says something else: %v", err)
	}
	none := cluster("v1.34.2+k0s.0", "")
	none.Images[0].Files = nil // as states of before have it
	if err := (k0s.Driver{}).CheckUpgrade(none, to); err != nil {
		t.Errorf("what is not known is held against an image: %v", err)
	}
}

// stepsOf are the steps of a plan, in order.
func stepsOf(plan runtime.Plan) []runtime.Step {
	var out []runtime.Step
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			out = append(out, task.Steps...)
		}
	}
	return out
}

func TestADatabaseOfTheUsersIsNamedAndNotShown(t *testing.T) {
	for said, want := range map[string]string{
		"": "",
		"spec: {storage: {type: kine, kine: {dataSource: 'mysql://u:secret@tcp(db)/k0s'}}}":            "the database that spec.storage.kine.dataSource names is not touched",
		"spec: {storage: {type: kine, kine: {dataSource: 'env:DB'}}}":                                  "dataSource (env:DB) names",
		"spec: {storage: {type: etcd, etcd: {externalCluster: {endpoints: ['https://secret:2379']}}}}": "the database that spec.storage.etcd.externalCluster names",
	} {
		c := cluster("v1.34.2+k0s.0", "")
		if said != "" {
			document(c, said)
		}
		got := strings.Join(k0s.Driver{}.Remains(c), "\n")
		if !strings.Contains(got, want) || want == "" && got != "" || strings.Contains(got, "secret") {
			t.Errorf("%s: %q", said, got)
		}
	}
}

func TestOldImagesStayUntilAllHostsHaveMoved(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	to := cluster("v1.35.4+k0s.0", "").Images[0]
	to.Digest = "sha256:bb"
	life, err := runtime.New(c, k0s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.Upgrade(to)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				if s.ID == "old images" || s.ID == runtime.ServiceID("k0scontroller") || s.ID == runtime.ServiceID("k0sworker") {
					order = append(order, s.ID)
				}
			}
		}
	}
	want := "service k0scontroller,service k0scontroller,service k0scontroller,service k0sworker,old images,old images,old images,old images"
	if got := strings.Join(order, ","); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
