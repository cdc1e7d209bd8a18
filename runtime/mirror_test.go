package runtime_test

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/registry"
)

// secrets are those of a cluster, in memory.
type secrets map[string][]byte

func (s secrets) Read(name string) ([]byte, error) {
	b, ok := s[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

func (s secrets) Write(name string, data []byte) error { s[name] = data; return nil }

// mirrored is a cluster of two masters and a node.
func mirrored(t *testing.T, files fstest.MapFS) *runtime.Cluster {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/k8s:v1")
	if err != nil {
		t.Fatal(err)
	}
	image := runtime.Image{Ref: ref, Digest: "sha256:" + strings.Repeat("a", 64), Files: files,
		Images: []string{"registry.k8s.io/pause:3.10", "docker.io/library/nginx:1", "registry.k8s.io/etcd:3"}}
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{image}}
	for i, role := range []runtime.Role{runtime.Master, runtime.Master, runtime.Node} {
		ip := fmt.Sprintf("10.0.0.%d", i+1)
		c.Members = append(c.Members, runtime.Member{Address: ip, NodeIP: ip, Role: role, Hostname: fmt.Sprintf("host%d", i+1)})
	}
	return c
}

func prepare(t *testing.T, c *runtime.Cluster, s secrets) {
	t.Helper()
	if err := c.PrepareImageService(s, time.Now(), false); err != nil {
		t.Fatal(err)
	}
}

func stepsOf(t *testing.T, c *runtime.Cluster, n int) map[string]runtime.Step {
	t.Helper()
	steps, err := runtime.ImageService(c, c.Members[n])
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]runtime.Step{}
	for _, s := range steps {
		byID[s.ID] = s
	}
	return byID
}

func TestImageServiceSteps(t *testing.T) {
	c, s := mirrored(t, fstest.MapFS{}), secrets{}
	prepare(t, c, s)
	if len(s) > 0 {
		t.Errorf("a dry run keeps %v", s)
	}
	if err := c.KeepImageService(s); err != nil {
		t.Fatal(err)
	}
	first, node := stepsOf(t, c, 0), stepsOf(t, c, 2)
	settings := func(steps map[string]runtime.Step) string {
		return steps["image service: settings"].Do.(runtime.Write).Data
	}
	if text := settings(first); !strings.Contains(text, `"listen": "10.0.0.1:5557"`) || !strings.Contains(text, `"port": 5555`) {
		t.Error(text)
	}
	if text := settings(node); strings.Contains(text, "listen") {
		t.Error(text)
	}
	if text := node["image service: masters"].Do.(runtime.Write).Data; !strings.Contains(text, "\n10.0.0.1:5557\n10.0.0.2:5557\n") {
		t.Error(text)
	}
	key := node["image service: key"].Do.(runtime.Write)
	if !key.Secret || key.Mode != 0o600 || strings.Contains(key.String(), "PRIVATE") {
		t.Error(key)
	}

	// the same plan again, from what was kept
	again := mirrored(t, fstest.MapFS{})
	prepare(t, again, s)
	if diff := cmp.Diff(node, stepsOf(t, again, 2)); diff != "" {
		t.Error(diff)
	}
	// a master that comes restarts nothing elsewhere, and no certificate changes
	more := mirrored(t, fstest.MapFS{})
	more.Members = append(more.Members, runtime.Member{Address: "10.0.0.4", NodeIP: "10.0.0.4", Role: runtime.Master, Hostname: "host4"})
	prepare(t, more, s)
	var changed []string
	for id, step := range stepsOf(t, more, 2) {
		if cmp.Diff(step, node[id]) != "" {
			changed = append(changed, id)
		}
	}
	if diff := cmp.Diff([]string{"image service: masters"}, changed); diff != "" {
		t.Error(diff)
	}
	// a renewal restarts nothing
	if err := c.PrepareImageService(s, time.Now(), true); err != nil {
		t.Fatal(err)
	}
	changed = nil
	for id, step := range stepsOf(t, c, 2) {
		if cmp.Diff(step, node[id]) != "" {
			changed = append(changed, id)
		}
	}
	slices.Sort(changed)
	if diff := cmp.Diff([]string{"image service: certificate", "image service: key"}, changed); diff != "" {
		t.Error(diff)
	}
	c.Down = map[string]bool{"10.0.0.1": true}
	life, err := runtime.New(c, mirrorer{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.RenewImageService()
	if err != nil || len(plan.Phases) != 1 || len(plan.Phases[0].Tasks) != 2 || len(plan.Phases[0].Tasks[1].Steps) != 3 {
		t.Error(plan, err)
	}
}

func TestImageServiceSettingsOfTheImage(t *testing.T) {
	file := func(text string) fstest.MapFS {
		return fstest.MapFS{"etc/registry_config.yml": {Data: []byte(text)}}
	}
	c := mirrored(t, file("port: 6000\nmasterPort: 6001\nupstream: true\n"))
	prepare(t, c, secrets{})
	if text := stepsOf(t, c, 0)["image service: settings"].Do.(runtime.Write).Data; !strings.Contains(text, "10.0.0.1:6001") || !strings.Contains(text, `"port": 6000`) {
		t.Error(text)
	}
	if ports, err := c.ImageServicePorts(c.Members[0]); err != nil || !slices.Equal(ports, []int{6000, 6001}) {
		t.Error(ports, err)
	}
	m, err := c.Mirror()
	if err != nil || m.Endpoint != "http://127.0.0.1:6000" || !m.Upstream || !slices.Equal(m.Registries, []string{"docker.io", "registry.k8s.io"}) {
		t.Error(m, err)
	}
	c.Registry.Port = 7000
	if m, err := c.Mirror(); err != nil || m.Endpoint != "http://127.0.0.1:7000" {
		t.Error(m, err)
	}
	for text, want := range map[string]string{"port: 1\nprot: 2\n": "line 2", "port: many": "line 1", "masterPort: 70000": "70000"} {
		c := mirrored(t, file(text))
		prepare(t, c, secrets{})
		if _, err := runtime.ImageService(c, c.Members[0]); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "etc/registry_config.yml") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestARegistryOfTheUsers(t *testing.T) {
	c := mirrored(t, fstest.MapFS{})
	ca := t.TempDir() + "/ca.crt"
	if err := os.WriteFile(ca, []byte("PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Registry = clusterfile.Registry{External: "harbor.example.com/k8s", CAFile: ca}
	prepare(t, c, secrets{})
	steps := stepsOf(t, c, 2)
	if len(steps) != 1 || steps["registry CA "+runtime.Home+"/registry-ca.crt"].Do.(runtime.Write).Data != "PEM" {
		t.Error(steps)
	}
	m, err := c.Mirror()
	if err != nil || m.Endpoint != "https://harbor.example.com/k8s" || m.CAFile == "" || m.Others {
		t.Error(m, err)
	}
	c.Registry.External = "not a registry"
	if _, err := c.Mirror(); err == nil {
		t.Error("a bad name is taken")
	}
}

func TestARegistryByScript(t *testing.T) {
	c := mirrored(t, fstest.MapFS{})
	c.Registry.Script = true
	prepare(t, c, secrets{})
	if _, err := runtime.ImageService(c, c.Members[0]); err == nil || !strings.Contains(err.Error(), "scripts/init-registry.sh") {
		t.Error(err)
	}
	c.Images[0].Paths = []string{"scripts/init-registry.sh"}
	steps := stepsOf(t, c, 0)
	if argv := steps["registry script"].Do.(runtime.Exec).Argv; len(steps) != 1 || !strings.HasSuffix(argv[len(argv)-1], "/scripts/init-registry.sh") {
		t.Error(steps)
	}
}

// TestResetTakesTheImageServiceBack runs the steps on a host in memory.
func TestResetTakesTheImageServiceBack(t *testing.T) {
	c := mirrored(t, fstest.MapFS{})
	prepare(t, c, secrets{})
	m := c.Members[0]
	h := hosttest.New(m.Address)
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	h.Respond([]string{"find", "/sys/fs/cgroup"}, "", 0)
	before := h.Files()
	steps, err := runtime.ImageService(c, m)
	if err != nil {
		t.Fatal(err)
	}
	run := func(steps ...runtime.Step) {
		t.Helper()
		e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{m.Address: h}, Helper: func(string, string) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("program")), nil
		}}
		plan := runtime.Plan{Phases: []runtime.Phase{{Name: "test", Tasks: []runtime.Task{{Member: m, Steps: steps}}}}}
		if err := e.Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	run(append([]runtime.Step{{ID: "sealrt", Do: runtime.Helper{}}}, steps...)...)
	if !slices.Contains(h.Files(), runtime.ServiceSettings) || !slices.Contains(h.Files(), "/etc/systemd/system/sealrt-registry.service") {
		t.Error(h.Files())
	}
	h.WriteFile(runtime.Home+"/registry/images/blobs/x", 0o600, nil)
	run(runtime.Step{ID: "undo", Do: runtime.Undo{}})
	left := slices.DeleteFunc(h.Files(), func(p string) bool { return p == runtime.Home })
	if diff := cmp.Diff(before, left); diff != "" {
		t.Error(diff)
	}
}

var _ registry.Secrets = secrets{}

// mirrorer is a driver that needs nothing but what it is asked here.
type mirrorer struct{ runtime.Driver }

func (mirrorer) Check(*runtime.Cluster) error { return nil }

func TestMembersAreToldOfMasters(t *testing.T) {
	c := mirrored(t, fstest.MapFS{})
	prepare(t, c, secrets{})
	life, err := runtime.New(c, mirrorer{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.TellMasters(c.Members[1:])
	if err != nil || len(plan.Phases) != 1 || len(plan.Phases[0].Tasks) != 2 {
		t.Fatal(plan, err)
	}
	for _, task := range plan.Phases[0].Tasks {
		if len(task.Steps) != 1 || cmp.Diff(task.Steps[0], stepsOf(t, c, 2)["image service: masters"]) != "" {
			t.Error(task)
		}
	}
	c.Registry.External = "registry.lan"
	if plan, err := life.TellMasters(c.Members); err != nil || len(plan.Phases) > 0 {
		t.Error(plan, err)
	}
}

func TestMembersAreToldOfMastersWithoutTheImageAtHand(t *testing.T) {
	c := mirrored(t, fstest.MapFS{"etc/registry_config.yml": {Data: []byte("masterPort: 6001\n")}})
	service, err := c.ImageConfig()
	if err != nil {
		t.Fatal(err)
	}
	later := mirrored(t, nil) // as the state keeps it
	later.Images[0].Files, later.Images[0].Service = nil, &service
	prepare(t, later, secrets{})
	life, err := runtime.New(later, mirrorer{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.TellMasters(later.Members[2:])
	if err != nil || len(plan.Phases) != 1 {
		t.Fatal(plan, err)
	}
	if text := plan.Phases[0].Tasks[0].Steps[0].Do.(runtime.Write).Data; !strings.Contains(text, "10.0.0.2:6001") {
		t.Errorf("a node looks for masters at %s", text)
	}
}

func TestAConfigDocumentSetsTheService(t *testing.T) {
	c := mirrored(t, fstest.MapFS{"etc/registry_config.yml": {Data: []byte("masterPort: 6001\n")}})
	c.Config = []clusterfile.Config{{Path: "etc/registry_config.yml", Strategy: "merge", Data: map[string]any{"masterPort": 6002}}}
	if got, err := c.ServiceConfig(); err != nil || got.MasterPort != 6002 {
		t.Error(got, err)
	}
}

func TestAnotherImageMovesNobodyToOtherPorts(t *testing.T) {
	c := mirrored(t, fstest.MapFS{"etc/registry_config.yml": {Data: []byte("port: 6100\nmasterPort: 6101\nupstream: true\n")}})
	c.Images[0].Service = &registry.Config{MasterPort: 6001} // the cluster was made with
	got, err := c.ServiceConfig()
	if diff := cmp.Diff(registry.Config{Port: registry.DefaultPort, MasterPort: 6001, Upstream: true}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	c.Registry.Port = 7000
	if got, err := c.ServiceConfig(); err != nil || got.Port != 7000 {
		t.Error(got, err)
	}
}
