package k0s_test

import (
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/k0s"
	"github.com/sealrt/sealrt/runtime"
)

func TestNeedsOfK0s(t *testing.T) {
	const old, newer = "v1.34.2+k0s.0", "v1.35.4+k0s.0"
	for name, tt := range map[string]struct {
		version, config string
		member          int
		ports, udp      []int
		without         []int
		v2              bool
		cidrs           string
	}{
		"a master":            {version: old, ports: []int{6443, 9443, 8132, 2380, 10250, 179}, cidrs: "10.244.0.0/16 10.96.0.0/12"},
		"a node":              {version: old, member: 3, ports: []int{10250, 179}, without: []int{6443, 9443, 8132, 2380}, cidrs: "10.244.0.0/16 10.96.0.0/12"},
		"calico":              {version: old, config: "spec: {network: {provider: calico, podCIDR: 10.9.0.0/16}}", udp: []int{4789}, without: []int{179}, cidrs: "10.9.0.0/16 10.96.0.0/12"},
		"a network of theirs": {version: old, config: "spec: {network: {provider: custom}}", without: []int{179}, cidrs: "10.244.0.0/16 10.96.0.0/12"},
		"a database":          {version: old, config: "spec: {storage: {type: kine, kine: {dataSource: 'env:DB'}}}", without: []int{2380}, cidrs: "10.244.0.0/16 10.96.0.0/12"},
		"another port":        {version: old, config: "spec: {api: {k0sApiPort: 9555}}", ports: []int{9555}, without: []int{9443}, cidrs: "10.244.0.0/16 10.96.0.0/12"},
		"from v1.35 on":       {version: newer, member: 3, v2: true, cidrs: "10.244.0.0/16 10.96.0.0/12"},
	} {
		c := cluster(tt.version, tt.config)
		n := k0s.Driver{}.Needs(c, c.Members[tt.member])
		for _, p := range tt.ports {
			if !slices.Contains(n.Ports, p) {
				t.Errorf("%s: %d is not among the ports %d", name, p, n.Ports)
			}
		}
		for _, p := range tt.without {
			if slices.Contains(n.Ports, p) {
				t.Errorf("%s: %d is among the ports %d", name, p, n.Ports)
			}
		}
		if !slices.Equal(n.UDP, tt.udp) || n.CgroupV2 != tt.v2 || !n.DefaultRoute || n.OpenRC || strings.Join(n.CIDRs, " ") != tt.cidrs {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func TestImagesAreMadeBesideTheDirectoryThatK0sWatches(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	steps := k0s.Driver{}.Import(c, c.Image())
	if len(steps) != 1 {
		t.Fatalf("%d steps", len(steps))
	}
	f, ok := steps[0].Do.(runtime.Feed)
	if !ok || path.Dir(f.File) != "/var/lib/k0s/images" || f.Into != "/var/lib/k0s" || path.Ext(f.File) != ".tar" || len(f.Argv) > 0 {
		t.Errorf("%+v", steps[0].Do)
	}
}

// TestNothingIsWrittenWhereK0sOrItsUserRules holds the plan of a cluster, whose
// image has objects in a .yml that k0s would ignore, against the files that are not
// ours: k0s' manifests, which it prunes, the containerd.toml that is the user's once
// it was edited, and programs in /usr/bin.
func TestNothingIsWrittenWhereK0sOrItsUserRules(t *testing.T) {
	c := cluster("v1.34.2+k0s.0", "")
	const object = "manifests/mine.yml"
	files, _ := c.Image().Files.(fstest.MapFS)
	files[object] = &fstest.MapFile{Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: mine}\n")}
	c.Images[0].Kind.Type, c.Images[0].Paths = artifact.TypeRootfs, append(c.Images[0].Paths, object)
	life, err := runtime.New(c, k0s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	applied := false
	for what, make := range map[string]func() (runtime.Plan, error){"create": life.Create, "reset": life.Reset} {
		plan, err := make()
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stepsOf(plan) {
			if says := s.Do.String(); strings.Contains(says, "mine.yml") && strings.Contains(says, "apply") {
				applied = true
			}
			var touched []string
			switch a := s.Do.(type) {
			case runtime.Write:
				touched = []string{a.Path}
			case runtime.Remove:
				touched = a.Paths
			case runtime.Install:
				touched = []string{a.To}
			case runtime.Claim:
				touched = slices.Concat(a.Paths, a.IfAbsent, a.IfEmpty)
			case runtime.Exec:
				touched = a.Argv[1:]
			}
			for _, p := range touched {
				if strings.HasPrefix(p, "/var/lib/k0s/manifests") || p == "/etc/k0s/containerd.toml" || strings.HasPrefix(p, "/usr/bin") {
					t.Errorf("%s: %s: %s", what, s.ID, p)
				}
			}
		}
	}
	if !applied {
		t.Error("the object of the .yml is not applied")
	}
}

// Masters start again one after another, each Ready before the next, the one that
// commands run on last, and nodes
// behind them.
func TestARenewalIsARollingRestart(t *testing.T) {
	life, err := runtime.New(cluster("v1.34.2+k0s.0", ""), k0s.Driver{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.UpdateCert(runtime.Renewal{ID: "1"})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, phase := range plan.Phases {
		restarts := 0
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				switch {
				case s.ID == "certificates: restart":
					restarts++
					order = append(order, "restart "+task.Member.Hostname)
				case strings.HasPrefix(s.ID, "ready "):
					order = append(order, s.ID)
				}
			}
		}
		if restarts > 1 {
			t.Errorf("%d hosts start again at once in %q", restarts, phase.Name)
		}
	}
	inOrder(t, order, "restart host2", "ready host2", "restart host3", "ready host3", "restart host1", "ready host1", "restart host4", "ready host4")
}

func TestABackupIsInADirectoryOfRoots(t *testing.T) {
	_, steps, err := k0s.Driver{}.Backup(cluster("v1.34.2+k0s.0", ""), "/var/lib/sealrt/scratch/b")
	if err != nil {
		t.Fatal(err)
	}
	inOrder(t, commands(steps), "install -d -m 0700 /var/lib/sealrt/scratch/b", "/usr/local/bin/k0s backup")
}
