package k3s_test

import (
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/distros/distrotest"
	"github.com/sealrt/sealrt/distros/k3s"
	"github.com/sealrt/sealrt/runtime"
)

// dockerFiles are what an image has for docker.
func dockerFiles() []string {
	return []string{"cri/docker.tar.gz", "etc/daemon.json", "etc/docker.service", "scripts/docker.sh", "scripts/uninstall-docker.sh"}
}

func TestDriverWithDocker(t *testing.T) {
	distrotest.Run(t, distrotest.Suite{
		Driver:   k3s.Driver{},
		Recipe:   os.DirFS("image"),
		Version:  "v1.25.3+k3s1",
		Next:     "v1.26.1+k3s1",
		Images:   []string{"docker.io/rancher/mirrored-pause:3.6", "docker.io/library/busybox:1.36", "quay.io/own/app:v1"},
		Binaries: append(dockerFiles(), "bin/k3s", "lib/install_libseccomp.sh", "lib/install_other.sh", "lib/uninstall_libseccomp.sh"),
		Trees:    []string{"/etc/rancher/node", "/var/lib/rancher/k3s", "/var/lib/docker/overlay2", "/etc/docker", "/run/docker", "/opt/containerd"},
		Listed:   []string{"/usr/local/bin/docker", "--host", "unix:///run/docker.sock", "image", "ls"},
		Copied:   []string{"cp", "-a", "/var/lib/rancher/k3s/server/token"},
		Known:    []string{"rancher/mirrored-pause:3.6", "busybox:1.36", "quay.io/own/app:v1", "other:1"},
		Runtime:  "docker",
	})
}

// onDocker is a cluster whose hosts run on docker.
func onDocker(version, config string) *runtime.Cluster {
	c := cluster(version, config)
	c.Runtime = "docker"
	i := &c.Images[0]
	i.Paths = append(i.Paths, dockerFiles()...)
	i.Programs = append(i.Programs, "scripts/docker.sh", "scripts/uninstall-docker.sh")
	files, _ := i.Files.(fstest.MapFS)
	files["etc/daemon.json"] = &fstest.MapFile{Data: []byte(`{"live-restore": true, "registry-mirrors": ["https://mine.example.com"]}`)}
	files["etc/docker.service"] = &fstest.MapFile{Data: []byte("[Service]\n")}
	return c
}

func TestK3sIsToldOfDocker(t *testing.T) {
	c := onDocker("v1.25.3+k3s1", "kubelet-arg: [max-pods=50]\n")
	for _, m := range c.Members {
		steps, err := k3s.Driver{}.Prepare(c, m)
		text := files(t, steps, err)["/etc/rancher/k3s/config.yaml"]
		if !strings.Contains(text, "docker: true\n") || !strings.Contains(text, "- max-pods=50\n- image-gc-high-threshold=100\n") {
			t.Errorf("%s is told %s", m.Name(), text)
		}
	}
	steps, err := k3s.Driver{}.Mirror(c, c.Members[0], runtime.Mirror{Endpoint: "http://127.0.0.1:5555", Others: true})
	if len(steps) > 0 || err != nil {
		t.Errorf("k3s is told where docker pulls from: %v, %v", steps, err)
	}
}

func TestWhatDockerCannotHaveIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		version, config string
		change          func(c *runtime.Cluster)
		want            string
	}{
		"as it should be":      {},
		"no cri-dockerd":       {version: "v1.23.9+k3s1", want: "k3s v1.23.9+k3s1 has no cri-dockerd: it came with v1.24.0"},
		"the first with it":    {version: "v1.24.0+k3s1"},
		"another endpoint":     {config: "container-runtime-endpoint: /run/x.sock", want: "container-runtime-endpoint: leave it away"},
		"the embedded mirror":  {version: "v1.30.1+k3s1", config: "embedded-registry: true", want: "embedded-registry"},
		"docker switched off":  {change: func(c *runtime.Cluster) { c.Images[0].Files.(fstest.MapFS)["etc/k3s.yaml"].Data = nil }},
		"no archive":           {change: func(c *runtime.Cluster) { without(c, "cri/docker.tar.gz") }, want: "the image lacks cri/docker.tar.gz (docker's archive of static programs): put them into the image"},
		"no scripts":           {change: func(c *runtime.Cluster) { without(c, "scripts/docker.sh"); without(c, "scripts/uninstall-docker.sh") }, want: "lacks scripts/docker.sh (the script that installs it), scripts/uninstall-docker.sh"},
		"no unit":              {change: func(c *runtime.Cluster) { without(c, "etc/docker.service") }, want: "lacks etc/docker.service"},
		"a script not to run":  {change: func(c *runtime.Cluster) { c.Images[0].Programs = nil }, want: "scripts/docker.sh is not executable"},
		"a library not to run": {change: func(c *runtime.Cluster) { c.Images[0].Paths = append(c.Images[0].Paths, "lib/install_x.sh") }, want: "lib/install_x.sh is not executable"},
		"data of all":          {change: func(c *runtime.Cluster) { c.DataDir.Containerd = "/var/lib" }, want: "data-root /var/lib is not of docker alone"},
		"data of its own":      {change: func(c *runtime.Cluster) { c.DataDir.Containerd = "/srv/docker" }},
		"data on containerd":   {change: func(c *runtime.Cluster) { c.Runtime, c.DataDir.Containerd = "", "/srv/docker" }, want: "dataDir.containerd is /srv/docker: k3s keeps that below"},
		"docker behind the back of the Clusterfile": {
			config: "docker: true", change: func(c *runtime.Cluster) { c.Runtime = "containerd" }, want: "write runtime: docker in the Clusterfile",
		},
	} {
		if tt.version == "" {
			tt.version = "v1.25.3+k3s1"
		}
		c := onDocker(tt.version, tt.config)
		if tt.change != nil {
			tt.change(c)
		}
		err := k3s.Driver{}.Check(c)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// without takes a file out of the image.
func without(c *runtime.Cluster, file string) {
	var left []string
	for _, p := range c.Images[0].Paths {
		if p != file {
			left = append(left, p)
		}
	}
	c.Images[0].Paths = left
}

func TestADockerFromBeforeIsInTheWayOfDockerAlone(t *testing.T) {
	c := onDocker("v1.25.3+k3s1", "")
	c.DataDir.Containerd = "/srv/docker"
	n := k3s.Driver{}.Needs(c, c.Members[0])
	for _, name := range []string{"docker", "containerd"} {
		if !strings.Contains(strings.Join(n.Conflicts, " "), name) {
			t.Errorf("%s may be there: %v", name, n.Conflicts)
		}
	}
	if last := n.Disks[len(n.Disks)-1]; last.Path != "/srv/docker" {
		t.Errorf("room is asked for at %s", last.Path)
	}
	c.Runtime, c.DataDir.Containerd = "containerd", ""
	if n := (k3s.Driver{}).Needs(c, c.Members[0]); strings.Contains(strings.Join(n.Conflicts, " "), "docker") {
		t.Errorf("docker may not be beside k3s with containerd: %v", n.Conflicts)
	}
}

func TestImagesThatOnlyTheOldVersionHasAreRemovedFromDocker(t *testing.T) {
	c, next := onDocker("v1.25.3+k3s1", ""), onDocker("v1.26.1+k3s1", "")
	c.Images[0].Images = []string{"docker.io/rancher/pause:3.6", "docker.io/library/coredns:1", "quay.io/a/app:1", "docker.io/library/tool:1"}
	next.Images[0].Digest = "sha256:bb"
	next.Images[0].Images = []string{"docker.io/rancher/pause:3.6", "docker.io/library/coredns:2"}
	next.Images = append(next.Images, runtime.Image{Digest: "sha256:cc", Images: []string{"quay.io/a/app:1"}})
	steps := k3s.Driver{}.Discard(c, next, next.Members[0])
	if len(steps) != 2 {
		t.Fatal(steps)
	}
	exec, _ := steps[0].Do.(runtime.Exec)
	want := []string{"/usr/local/bin/docker", "--host", "unix:///run/docker.sock", "image", "rm", "--force", "coredns:1", "tool:1"}
	if diff := cmp.Diff(want, exec.Argv); diff != "" {
		t.Error(diff)
	}
	if steps := (k3s.Driver{}).Discard(cluster("v1.25.3+k3s1", ""), cluster("v1.26.1+k3s1", ""), next.Members[0]); steps != nil {
		t.Errorf("without docker: %v", steps)
	}
}
