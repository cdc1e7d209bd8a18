//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// onDocker is the name of the cluster image of a version that brings docker.
func onDocker(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return "ondocker:" + v
}

// recipeOfK3s has the scripts, the unit and the daemon.json.
const recipeOfK3s = "../distros/k3s/image"

// dockerPrograms are those of Debian's packages docker.io, containerd, runc and
// tini, as the archives of docker's authors call them.
func dockerPrograms() map[string]string {
	return map[string]string{
		"dockerd": "/usr/sbin/dockerd", "docker": "/usr/bin/docker", "docker-proxy": "/usr/sbin/docker-proxy", "docker-init": "/usr/bin/tini-static",
		"containerd": "/usr/bin/containerd", "containerd-shim-runc-v2": "/usr/bin/containerd-shim-runc-v2", "runc": "/usr/sbin/runc",
	}
}

// askDocker asks the docker that was installed on a host.
const askDocker = "/usr/local/bin/docker "

// TestDocker leads a cluster of stand-ins through its life on hosts whose
// container runtime is a real docker, installed from the cluster image by the
// scripts of the recipe.
func TestDocker(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newOnDocker(t)
	for _, s := range []station{
		{"DockerFromBeforeStaysAsItIs", dockerFromBefore},
		{"ImageWithoutDockerIsRefused", imageWithoutDocker},
		{"DockerIsInstalledAndHasAllImages", dockerIsInstalled},
		{"DockerPullsFromTheImageService", dockerPulls},
		{"AnUpgradeReplacesImagesAndNothingElse", dockerUpgrade},
		{"ResetLeavesNothingOfDocker", dockerReset},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.test(t, p) }) {
			p.complain(t)
			return
		}
	}
}

// newOnDocker makes two hosts and the images.
func newOnDocker(t *testing.T) *playground {
	t.Helper()
	p := bed(t, "dk", "10.96.0")
	p.must(t, p.nodes("up", "2")...)
	p.must(t, "go", "build", "-trimpath", "-o", p.sealrt()[0], "../cmd/sealrt")
	archive := p.dockerArchive(t)
	for _, version := range []string{oldVersion, newVersion} {
		p.build(t, version)
		p.withDocker(t, version, archive)
	}
	p.fresh = p.listing(t, 2)
	if len(p.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(p.fresh))
	}
	return p
}

// dockerArchive makes an archive of docker in the form of those at
// https://download.docker.com/linux/static/stable/.
func (p *playground) dockerArchive(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(p.dir, "archive", "docker")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, from := range dockerPrograms() {
		if _, err := os.Stat(from); err != nil {
			t.Fatalf("%v: install the packages docker.io, containerd, runc and tini on this machine", err)
		}
		p.must(t, "cp", "-L", from, filepath.Join(dir, name))
	}
	file := filepath.Join(p.dir, "docker.tar.gz")
	p.must(t, "tar", "-C", filepath.Dir(dir), "--use-compress-program=gzip -1", "-cf", file, "docker")
	return file
}

// withDocker builds the image of a version with the archive and what the recipe
// has for docker, and a library that docker needs.
func (p *playground) withDocker(t *testing.T, version, archive string) {
	t.Helper()
	dir := filepath.Join(p.dir, "ondocker-"+version)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(p.dir, "image-"+version))); err != nil {
		t.Fatal(err)
	}
	p.must(t, "cp", "-r", recipeOfK3s+"/scripts", dir)
	p.must(t, "cp", recipeOfK3s+"/etc/daemon.json", recipeOfK3s+"/etc/docker.service", dir+"/etc")
	p.must(t, "mkdir", "-p", dir+"/cri", dir+"/lib")
	p.must(t, "ln", archive, dir+"/cri/docker.tar.gz")
	writeScript(t, dir+"/lib/install_notes.sh", "#!/bin/sh\nset -e\ncp lib/notes /usr/local/lib/docker-notes\necho \"$SEALRT_HOST $SEALRT_ROLE $SEALRT_PHASE\" >>/usr/local/lib/docker-notes\n")
	writeScript(t, dir+"/lib/uninstall_notes.sh", "#!/bin/sh\nrm -f /usr/local/lib/docker-notes\n")
	writeScript(t, dir+"/lib/notes", "notes\n")
	p.must(t, p.sealrt("build", "-t", onDocker(version), "--build-arg", "K3S_VERSION="+version, dir)...)
}

func writeScript(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// onDockerFile is a Clusterfile for docker, its data on a file system of choice.
func (p *playground) onDockerFile(t *testing.T) string {
	t.Helper()
	name := filepath.Join(p.dir, "docker.yaml")
	text := "apiVersion: sealrt.io/v1\nkind: Cluster\nspec:\n  runtime: docker\n  dataDir: {containerd: /srv/docker}\n" +
		"  config:\n  - {path: etc/daemon.json, data: {max-concurrent-downloads: 5}}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (p *playground) runOnDocker(t *testing.T, ref string, host int, more ...string) []string {
	t.Helper()
	return p.verb(append([]string{"run", ref, "-f", p.onDockerFile(t), "--masters", p.ip(host)}, more...)...)
}

// dockerFromBefore has a docker on host 2 that is somebody else's, with an image.
func dockerFromBefore(t *testing.T, p *playground) {
	send := exec.Command("sh", "-c", "tar -C "+p.dir+" -cf - docker.tar.gz -C \"$PWD/"+recipeOfK3s+"\" scripts | testbed/nodes.sh ssh 2 "+
		"'mkdir -p i/cri && tar -C i -xf - && mv i/docker.tar.gz i/cri && tar -C /usr/bin --strip-components=1 -xzf i/cri/docker.tar.gz'")
	send.Env = p.env
	if out, err := send.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.on(t, 2, "systemd-run --quiet --unit=docker --property=Type=notify /usr/bin/dockerd; tar -cf - /etc/hostname | docker import - theirs:1")
	state := "sha256sum /usr/bin/docker* /usr/bin/containerd* /usr/bin/runc; ls /usr/local/bin /etc/docker; pidof dockerd; docker image ls --no-trunc -q; docker info --format '{{.DockerRootDir}} {{.RegistryConfig.Mirrors}}'; ls -d /var/lib/sealrt 2>&1 || true"
	before := p.on(t, 2, state)
	said := p.fails(t, "docker is there already", p.runOnDocker(t, onDocker(oldVersion), 2)...)
	for _, want := range []string{"/usr/bin/dockerd", "the unit docker runs", "remove it, or use another host, or take containerd as the runtime"} {
		if !strings.Contains(said, want) {
			t.Errorf("not said: %q", want)
		}
	}
	p.on(t, 2, "cd /root/i && ! scripts/docker.sh && scripts/uninstall-docker.sh") // nor do the scripts themselves
	if after := p.on(t, 2, state); after != before {
		t.Errorf("the docker from before is now\n%s\nwas\n%s", after, before)
	}
}

// imageWithoutDocker: before anything changes, the error says what to put there.
func imageWithoutDocker(t *testing.T, p *playground) {
	file := filepath.Join(p.dir, "plain.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {runtime: docker}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	said := p.fails(t, "lacks cri/docker.tar.gz", p.verb("run", image(oldVersion), "-f", file, "--masters", p.ip(1))...)
	if !strings.Contains(said, "scripts/docker.sh") || !strings.Contains(said, "put them into the image") {
		t.Errorf("it says %s", said)
	}
	p.on(t, 1, "test ! -e /var/lib/sealrt")
}

// images returns the names that the docker of host 1 knows.
func (p *playground) images(t *testing.T) []string {
	t.Helper()
	names := strings.Fields(p.on(t, 1, askDocker+"image ls --format '{{.Repository}}:{{.Tag}}'"))
	slices.Sort(names)
	return names
}

func dockerIsInstalled(t *testing.T, p *playground) {
	run := p.runOnDocker(t, onDocker(oldVersion), 1, "-v")
	p.must(t, run...)
	p.stands(t, oldVersion, "master node1")
	if left := p.must(t, append(run, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	if got := strings.Join(p.images(t), " "); got != "standin/coredns:v1.25.3-k3s1 standin/pause:3.6" {
		t.Errorf("docker has %s", got)
	}
	got := p.on(t, 1, askDocker+"info --format '{{.DockerRootDir}} {{.LiveRestoreEnabled}} {{.RegistryConfig.Mirrors}}'; grep max-concurrent /etc/docker/daemon.json; grep docker /etc/rancher/k3s/config.yaml")
	for _, want := range []string{"/srv/docker true [http://127.0.0.1:5555/]", `"max-concurrent-downloads": 5`, "docker: true"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
	// containerd of k3s has nothing, and no second copy of the images lies about
	p.on(t, 1, "test ! -e /var/lib/rancher/k3s/agent/images; ! k3s ctr images ls -q; systemctl is-enabled docker; test -x /usr/local/bin/dockerd; test ! -e /var/lib/docker")
	if got := p.on(t, 1, "cat /usr/local/lib/docker-notes"); !strings.HasPrefix(got, "notes\n"+p.ip(1)+" master install") {
		t.Errorf("the library's script wrote %q", got)
	}
	// what a user makes with this docker: the reset has to find it
	p.on(t, 1, askDocker+"network create own; mkdir -p t/bin t/lib64 t/lib/x86_64-linux-gnu; cp /usr/bin/sleep t/bin; cp -L /lib64/ld-linux-x86-64.so.2 t/lib64; cp -L /lib/x86_64-linux-gnu/libc.so.6 t/lib/x86_64-linux-gnu; "+
		"tar -C t -cf - . | "+askDocker+"import - own:1; rm -r t; "+
		askDocker+"run --detach --network own --name one own:1 /bin/sleep 1000; "+askDocker+"run --detach --publish 8080:80 --name two own:1 /bin/sleep 1000")
	p.on(t, 1, "ip link show docker0; ip -o link | grep ' br-'; iptables-save | grep DOCKER-USER; grep -q /srv/docker/overlay2 /proc/mounts")
}

// dockerPulls takes an image of docker.io away and pulls it again: there is no
// other way to docker.io from a host.
func dockerPulls(t *testing.T, p *playground) {
	p.on(t, 1, askDocker+"image rm standin/pause:3.6; "+askDocker+"pull --quiet docker.io/standin/pause:3.6")
	if got := p.images(t); !slices.Contains(got, "standin/pause:3.6") {
		t.Errorf("docker has %s", got)
	}
}

func dockerUpgrade(t *testing.T, p *playground) {
	running := "pidof dockerd; " + askDocker + "ps --format '{{.Names}} {{.Status}}' | sed 's/ [0-9].*//' | sort; cat /usr/local/lib/docker-notes | wc -l"
	before := p.on(t, 1, running)
	p.must(t, p.verb("upgrade", onDocker(newVersion), "--yes", "-v")...)
	p.stands(t, newVersion, "master node1")
	if got := strings.Join(p.images(t), " "); got != "own:1 standin/coredns:"+strings.ReplaceAll(newVersion, "+", "-")+" standin/pause:3.6" {
		t.Errorf("docker has %s", got)
	}
	if after := p.on(t, 1, running); after != before {
		t.Errorf("the same docker runs, and was restarted or ran other containers:\n%s\nbefore\n%s", after, before)
	}
}

func dockerReset(t *testing.T, p *playground) {
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1)
	if left, err := p.command(t, p.nodes("ssh", "1", "ps -e -o comm= | grep -E 'docker|containerd|runc|sleep'")...); err == nil {
		t.Errorf("still runs: %s", left)
	}
	p.on(t, 1, "test ! -e /srv/docker -a ! -e /etc/docker -a ! -e /run/docker -a ! -e /opt/containerd -a ! -e /usr/local/lib/docker-notes; ! iptables-save | grep -i docker; ! getent group docker")
}
