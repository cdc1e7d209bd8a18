package docker_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
)

// cluster is one of two hosts, whose image has a daemon.json.
func cluster(t *testing.T, files map[string]string) *runtime.Cluster {
	t.Helper()
	ref, err := artifact.ParseReference("registry.example.com/k:v1")
	if err != nil {
		t.Fatal(err)
	}
	tree := fstest.MapFS{}
	i := runtime.Image{Ref: ref, Digest: "sha256:aa", Files: tree, Kind: artifact.Kind{Type: artifact.TypeRootfs}}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
		i.Paths = append(i.Paths, name)
		if strings.HasSuffix(name, ".sh") {
			i.Programs = append(i.Programs, name)
		}
	}
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{i}, Members: []runtime.Member{
		{Address: "10.0.0.1", Role: runtime.Master, Arch: "amd64"}, {Address: "10.0.0.2", Role: runtime.Node, Arch: "arm64"},
	}}
	c.Runtime = docker.Name
	return c
}

func TestDaemonIsToldTheMirrorAndTheUsersSettings(t *testing.T) {
	const own = `{"live-restore": true, "registry-mirrors": ["https://mine.example.com"], "max-concurrent-downloads": 12345678901234567890}`
	for name, tt := range map[string]struct {
		image  string
		change func(c *runtime.Cluster)
		want   string
	}{
		"nothing of the image's": {want: "{\n  \"registry-mirrors\": [\n    \"http://127.0.0.1:5555\"\n  ]\n}\n"},
		"before the image's":     {image: own, want: "{\n  \"live-restore\": true,\n  \"max-concurrent-downloads\": 12345678901234567890,\n  \"registry-mirrors\": [\n    \"http://127.0.0.1:5555\",\n    \"https://mine.example.com\"\n  ]\n}\n"},
		"the image's script":     {image: `{"a": 1}`, change: func(c *runtime.Cluster) { c.Registry.Script = true }, want: `{"a": 1}`},
		"a registry of the user's": {
			image: "{}",
			change: func(c *runtime.Cluster) {
				c.Registry.External, c.Images[0].Images = "hub.example.com", []string{"docker.io/library/a:1"}
			},
			want: "{\n  \"registry-mirrors\": [\n    \"https://hub.example.com\"\n  ]\n}\n",
		},
		"another place": {
			image:  `{"data-root": "/of/the/image"}`,
			change: func(c *runtime.Cluster) { c.DataDir.Containerd, c.Registry.Script = "/srv/docker", true },
			want:   "{\n  \"data-root\": \"/srv/docker\"\n}\n",
		},
		"nothing at all": {change: func(c *runtime.Cluster) { c.Registry.Script = true }, want: "{}\n"},
	} {
		files := map[string]string{}
		if tt.image != "" {
			files["etc/daemon.json"] = tt.image
		}
		c := cluster(t, files)
		if tt.change != nil {
			tt.change(c)
		}
		f, err := docker.Daemon(c, c.Members[0])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tt.want, f.Data); diff != "" || f.Path != "/etc/docker/daemon.json" {
			t.Errorf("%s: %s %s", name, f.Path, diff)
		}
	}
	c := cluster(t, nil)
	c.Registry.External, c.Images[0].Images = "hub.example.com/mirror", []string{"docker.io/library/a:1"}
	if _, err := docker.Daemon(c, c.Members[0]); err == nil || !strings.Contains(err.Error(), "a registry without a prefix") {
		t.Errorf("a prefix that docker cannot ask below: %v", err)
	}
}

func TestDataIsInOnePlaceOfItsOwn(t *testing.T) {
	whole := map[string]string{"cri/docker.tar.gz": "", "scripts/docker.sh": "", "scripts/uninstall-docker.sh": "", "etc/docker.service": ""}
	for text, want := range map[string]string{
		"": docker.DefaultData, `{"data-root": "/srv/docker"}`: "/srv/docker",
		`{"data-root": "/srv"}`: "not of docker alone", `{"data-root": "srv"}`: "absolute path", `{"data-root": "/srv/a/.."}`: "absolute path",
		`{"data-root": 1}`: "etc/daemon.json", `{`: "etc/daemon.json",
	} {
		c := cluster(t, whole)
		if text != "" {
			c.Images[0].Files.(fstest.MapFS)["etc/daemon.json"] = &fstest.MapFile{Data: []byte(text)}
		}
		err := docker.Check(c)
		if good := strings.HasPrefix(want, "/"); good && (err != nil || docker.Data(c) != want) || !good && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %s, want %s", text, err, docker.Data(c), want)
		}
	}
	c := cluster(t, whole)
	c.Images[0].Files.(fstest.MapFS)["etc/daemon.json.tmpl"] = &fstest.MapFile{Data: []byte(`{"data-root": "/srv/{{.Host.Arch}}"}`)}
	if err := docker.Check(c); err == nil || !strings.Contains(err.Error(), "/srv/amd64 on 10.0.0.1 and /srv/arm64 on 10.0.0.2") {
		t.Errorf("two places: %v", err)
	}
}

func TestLibrariesAreInstalledInOrderAndRemovedInReverse(t *testing.T) {
	c := cluster(t, map[string]string{
		"lib/install_a.sh": "", "lib/install_b.sh": "", "lib/uninstall_b.sh": "", "lib/uninstall_a.sh": "", "lib/uninstall_c.sh": "", "lib/b.tar.gz": "", "lib/install_b.txt": "",
	})
	steps, err := docker.Install(c, c.Members[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"claim docker", "docker configuration", "docker unit", "lib/install_a.sh", "lib/install_b.sh", "docker programs", "service docker", "docker answers",
	}, ids(steps)); diff != "" {
		t.Error(diff)
	}
	removed := docker.Remove(c, c.Members[0])
	if diff := cmp.Diff([]string{"uninstall docker", "lib/uninstall_b.sh", "lib/uninstall_a.sh", "flush docker"}, ids(removed)); diff != "" {
		t.Error(diff)
	}
	known := ids(steps)
	for _, s := range removed { // or a docker from before would be removed
		if !strings.Contains(strings.Join(known, "\n"), s.Undoes) || s.Undoes == "" {
			t.Errorf("%s takes back %q", s.ID, s.Undoes)
		}
	}
}

func ids(steps []runtime.Step) []string {
	var out []string
	for _, s := range steps {
		out = append(out, s.ID)
	}
	return out
}
