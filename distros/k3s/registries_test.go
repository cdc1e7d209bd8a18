package k3s_test

import (
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

const registriesFile = "/etc/rancher/k3s/registries.yaml"

// endpoints returns the endpoints of each registry on a host.
func endpoints(t *testing.T, c *runtime.Cluster) map[string][]string {
	t.Helper()
	to, err := c.Mirror()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := k3s.Driver{}.Mirror(c, c.Members[3], to)
	var doc struct {
		Mirrors map[string]struct{ Endpoint []string }
	}
	if err := yaml.Unmarshal([]byte(files(t, steps, err)[registriesFile]), &doc); err != nil {
		t.Fatal(err)
	}
	for _, s := range steps {
		if w, ok := s.Do.(runtime.Write); ok && (!w.Secret || w.Mode != 0o600) {
			t.Errorf("%s may hold passwords, and is %v", w.Path, w)
		}
	}
	out := map[string][]string{}
	for name, m := range doc.Mirrors {
		out[name] = m.Endpoint
	}
	return out
}

func TestRegistriesByVersion(t *testing.T) {
	const here = "http://127.0.0.1:5555"
	for _, tt := range []struct {
		version  string
		upstream bool
		all      bool // registries that nobody named
		only     any  // nobody else is asked
	}{
		{version: "v1.25.16+k3s4"},
		{version: "v1.26.12+k3s1"}, {version: "v1.26.13+k3s1", all: true, only: true},
		{version: "v1.27.9+k3s1"}, {version: "v1.27.10+k3s1", all: true, only: true},
		{version: "v1.28.5+k3s1"}, {version: "v1.28.6+k3s1", all: true, only: true},
		{version: "v1.29.0+k3s1"}, {version: "v1.29.1+k3s1", all: true, only: true},
		{version: "v1.30.0+k3s1", all: true, only: true}, {version: "v2.0.0", all: true, only: true},
		{version: "v1.30.0+k3s1", upstream: true, all: true},
	} {
		c := cluster(tt.version, "")
		c.Images[0].Images = []string{"docker.io/rancher/pause:3.6", "quay.io/a/b:1"}
		c.Registry.Upstream = tt.upstream
		want := map[string][]string{"docker.io": {here}, "quay.io": {here}}
		if tt.all {
			want = map[string][]string{"*": {here}}
		}
		if diff := cmp.Diff(want, endpoints(t, c)); diff != "" {
			t.Errorf("%s: %s", tt.version, diff)
		}
		for _, m := range c.Members {
			if got := prepared(t, c, m)["disable-default-registry-endpoint"]; got != tt.only {
				t.Errorf("%s, upstream %v: %s is told %v", tt.version, tt.upstream, m.Name(), got)
			}
		}
	}
}

func TestRegistriesOfTheImageComeAfterTheMirror(t *testing.T) {
	const here = "http://127.0.0.1:5555"
	c := cluster("v1.30.0+k3s1", "disable-default-registry-endpoint: false")
	tree, _ := c.Images[0].Files.(fstest.MapFS)
	tree["etc/registries.yaml.tmpl"] = &fstest.MapFile{Data: []byte("mirrors: {docker.io: {endpoint: ['https://{{ .Host.Hostname }}']}}\n")}
	if diff := cmp.Diff(map[string][]string{"*": {here}, "docker.io": {here, "https://host4"}}, endpoints(t, c)); diff != "" {
		t.Error(diff)
	}
	if got := prepared(t, c, c.Members[0])["disable-default-registry-endpoint"]; got != false {
		t.Errorf("the image says that registries are asked, and k3s is told %v", got)
	}
	tree["etc/registries.yaml.tmpl"].Data = []byte("mirrors: []")
	to, err := c.Mirror()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (k3s.Driver{}).Mirror(c, c.Members[0], to); err == nil || !strings.Contains(err.Error(), "etc/registries.yaml") {
		t.Errorf("what is no map is taken: %v", err)
	}
}

// started returns the step that runs k3s on a node.
func started(t *testing.T, c *runtime.Cluster) (revision string, reads []string) {
	t.Helper()
	steps, err := k3s.Driver{}.JoinNode(c, c.Members[3])
	if err != nil {
		t.Fatal(err)
	}
	service, ok := steps[0].Do.(runtime.Service)
	if !ok {
		t.Fatalf("%v", steps)
	}
	return service.Revision, steps[0].Reads
}

func TestRegistriesThatChangeRestartK3s(t *testing.T) {
	c := cluster("v1.25.3+k3s1", "")
	c.Images[0].Images = []string{"docker.io/a/b:1"}
	before, reads := started(t, c)
	if !slices.Contains(reads, registriesFile) {
		t.Errorf("the step reads %q", reads)
	}
	if again, _ := started(t, c); again != before {
		t.Error("nothing changed, and it restarts")
	}
	app := runtime.Image{Digest: "sha256:bb", Images: []string{"ghcr.io/app:1"}}
	c.Images = append(c.Images, app)
	if after, _ := started(t, c); after == before {
		t.Error("another registry, and it does not restart")
	}

	c = cluster("v1.30.3+k3s1", "")
	before, _ = started(t, c)
	c.Images = append(c.Images, app)
	if after, _ := started(t, c); after != before {
		t.Error("all registries are mirrored already, and it restarts for another")
	}
	c.Registry.Port = 5000
	if after, _ := started(t, c); after == before {
		t.Error("the image service moved, and it does not restart")
	}
}

// secrets are kept in memory.
type secrets map[string][]byte

func (s secrets) Read(name string) ([]byte, error) {
	if raw, ok := s[name]; ok {
		return raw, nil
	}
	return nil, fs.ErrNotExist
}

func (s secrets) Write(name string, data []byte) error {
	s[name] = data
	return nil
}

func TestUpgradesWriteRegistriesBeforeK3sStarts(t *testing.T) {
	for _, script := range []bool{false, true} {
		c := cluster("v1.28.5+k3s1", "")
		c.Registry.Script = script
		to := cluster("v1.28.6+k3s1", "").Images[0]
		to.Digest, to.Paths = "sha256:bb", append(to.Paths, "scripts/init-registry.sh")
		if err := c.PrepareImageService(secrets{}, time.Now(), false); err != nil {
			t.Fatal(err)
		}
		life, err := runtime.New(c, k3s.Driver{})
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
					if task.Member.Address == c.Members[3].Address && (s.ID == "file "+registriesFile || s.ID == "service sealrt-registry" || s.ID == "registry script" || s.ID == "service k3s-agent") {
						order = append(order, s.ID)
					}
				}
			}
		}
		want := []string{"service sealrt-registry", "file " + registriesFile, "service k3s-agent"}
		if script {
			want = []string{"registry script", "service k3s-agent"}
		}
		if diff := cmp.Diff(want, order); diff != "" {
			t.Errorf("script %v: %s", script, diff)
		}
		next := cluster("v1.28.6+k3s1", "")
		next.Registry.Script = script
		if got := prepared(t, next, next.Members[3])["disable-default-registry-endpoint"]; got != nil && script {
			t.Errorf("the image has its own way, and k3s is told %v", got)
		}
	}
}
