//go:build e2e

// Package e2e tests sealrt as a user has it: the program itself, real hosts, a
// real registry, a real cluster. It needs root and Debian.
package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// demo is the test bed that e2e/demo.sh makes.
type demo struct {
	dir      string
	registry string
	env      []string
}

// a and b are the two hosts.
const (
	a = "10.87.0.11"
	b = "10.87.0.12"
)

func (d *demo) kubernetes() string { return d.registry + "/kubernetes:v1.34.4" }

// command runs a program to its end and returns its stdout. What it says on
// stderr goes to the test's log.
func (d *demo) command(t *testing.T, argv ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = d.env
	var out, story bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &story
	start := time.Now()
	err := cmd.Run()
	t.Logf("%s (%.1fs)\n%s%s", strings.Join(argv, " "), time.Since(start).Seconds(), &story, &out)
	if err != nil {
		err = fmt.Errorf("%w: %s", err, &story)
	}
	return out.String(), err
}

func (d *demo) must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := d.command(t, argv...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(argv, " "), err)
	}
	return out
}

func (d *demo) sealrt(args ...string) []string {
	return append([]string{filepath.Join(d.dir, "bin", "sealrt")}, args...)
}

func (d *demo) kubectl(args ...string) []string {
	config := filepath.Join(d.dir, "home", ".sealrt", "clusters", "default", "kubeconfig")
	return append([]string{filepath.Join(d.dir, "parts", "image", "bin", "kubectl"), "--kubeconfig", config}, args...)
}

func (d *demo) nodes(args ...string) []string { return append([]string{"testbed/nodes.sh"}, args...) }

// run is the command that made the cluster, with more flags.
func (d *demo) run(more ...string) []string {
	args := []string{"run", "--root", filepath.Join(d.dir, "store2"), d.kubernetes(), d.registry + "/echo:v1",
		"--masters", a, "--nodes", b, "--user", "ops", "--identity", "/var/tmp/nodes-testbed/id_ed25519"}
	for _, setting := range []string{"CGROUP_DRIVER=cgroupfs", "CONTAINERD_RESTRICT_OOM=true", "KUBE_PROXY_MODE=nftables",
		"KUBE_PROXY_CONNTRACK=keep", "KUBELET_DISK_PRESSURE=ignore"} {
		args = append(args, "-e", setting)
	}
	return d.sealrt(append(args, more...)...)
}

// TestMainPath goes the way of the demo, from an empty machine to a Service
// that answers, and looks at each station.
func TestMainPath(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	d := &demo{dir: "/var/tmp/sealrt-demo", registry: "127.0.0.1:5055"}
	d.env = append(os.Environ(), "HOME="+filepath.Join(d.dir, "home"), "NODES_DIR="+d.dir+"/nodes",
		"NODES_CACHE=/var/tmp/nodes-testbed", "NODES_PREFIX=demo", "NODES_NET=10.87.0", "CONTAINERS_REGISTRIES_CONF="+d.dir+"/registries.conf")
	script := func(verb string) error {
		cmd := exec.Command("./demo.sh", verb)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		return cmd.Run()
	}
	// a developer's short way: SEALRT_E2E_STANDING=1 takes the cluster of `make demo` and leaves it
	if os.Getenv("SEALRT_E2E_STANDING") == "" {
		fromNothing(t, d, script)
	}
	for _, station := range []struct {
		name string
		test func(*testing.T, *demo)
	}{
		{"KubeadmMissesNoImage", kubeadmMissesNoImage},
		{"SecondPushSendsNothing", secondPushSendsNothing},
		{"OtherToolsSeeTheSameTree", otherToolsSeeTheSameTree},
		{"SaveAndLoadKeepTheDigest", saveAndLoadKeepTheDigest},
		{"NodesAreReady", nodesAreReady},
		{"SecondRunSendsNothing", secondRunSendsNothing},
		{"WrongInputIsAClearError", wrongInputIsAClearError},
		{"ResetLeavesNothing", resetLeavesNothing},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, d) }) {
			return
		}
	}
}

// fromNothing makes the test bed, and removes it when the test ends.
func fromNothing(t *testing.T, d *demo, script func(verb string) error) {
	if err := script("down"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := script("down"); err != nil {
			t.Errorf("demo.sh down: %v", err)
		}
		for _, left := range []string{d.dir, "/run/netns/demo-hub", "/sys/class/net/demo-host"} {
			if _, err := os.Stat(left); err == nil {
				t.Errorf("demo.sh down left %s", left)
			}
		}
	})
	if err := script("up"); err != nil {
		t.Fatalf("demo.sh up: %v", err)
	}
}

// uploads counts the lines of the registry's log that speak of an upload.
func (d *demo) uploads(t *testing.T) int {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(d.dir, "registry", "log"))
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(`"(POST|PATCH|PUT) /v2/`).FindAll(raw, -1))
}

// kubeadmMissesNoImage compares the image with what a real kubeadm lists.
func kubeadmMissesNoImage(t *testing.T, d *demo) {
	lint := func(version string) []string {
		return d.sealrt("image", "lint", "--offline", "--root", d.dir+"/store", "--build-arg", "KUBERNETES_VERSION="+version, d.dir+"/context")
	}
	if out := d.must(t, lint("v1.34.4")...); !strings.Contains(out, "registry.k8s.io/kube-apiserver:v1.34.4") || strings.Contains(out, "forgotten") {
		t.Errorf("not every image, or one that kubeadm misses: %s", out)
	}
	_, err := d.command(t, lint("v1.34.3")...)
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"} {
		if err == nil || !strings.Contains(err.Error(), "bin/kubeadm config images list --kubernetes-version v1.34.3: registry.k8s.io/"+name+":v1.34.3: the distribution needs it") {
			t.Errorf("%s of another version is not missed: %v", name, err)
		}
	}
}

func secondPushSendsNothing(t *testing.T, d *demo) {
	before := d.uploads(t)
	if before == 0 {
		t.Fatal("the registry's log knows of no upload at all: this test cannot tell")
	}
	d.must(t, d.sealrt("push", "--root", d.dir+"/store", d.kubernetes())...)
	if n := d.uploads(t) - before; n != 0 {
		t.Errorf("the second push made %d uploads", n)
	}
}

// tree lists a directory: type, mode, size and link of each path.
func (d *demo) tree(t *testing.T, dir string) []string {
	t.Helper()
	out := d.must(t, "find", dir, "-mindepth", "1", "-printf", "%P %y %m %U:%G %l ", "(", "-type", "f", "-printf", "%s", "-o", "-true", ")", "-printf", "\n")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	slices.Sort(lines)
	return lines
}

func otherToolsSeeTheSameTree(t *testing.T, d *demo) {
	work := t.TempDir()
	d.must(t, d.sealrt("unpack", "--root", d.dir+"/store2", d.kubernetes(), work+"/ours")...)
	d.must(t, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+d.kubernetes(), "dir:"+work+"/dir")
	raw, err := os.ReadFile(work + "/dir/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Layers []struct{ MediaType, Digest string }
	}
	if err := json.Unmarshal(raw, &manifest); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(work+"/theirs", 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		blob := filepath.Join(work, "dir", strings.TrimPrefix(l.Digest, "sha256:"))
		argv := []string{"tar", "-x", "-p", "--same-owner", "-C", work + "/theirs", "-f", blob}
		if strings.HasSuffix(l.MediaType, "+zstd") {
			argv = append(argv, "--zstd")
		}
		d.must(t, argv...)
	}
	ours, theirs := d.tree(t, work+"/ours"), d.tree(t, work+"/theirs")
	if len(ours) < 50 {
		t.Fatalf("unpack wrote %d paths: this test cannot tell", len(ours))
	}
	for _, line := range slices.Concat(ours, theirs) {
		if slices.Contains(ours, line) != slices.Contains(theirs, line) {
			t.Errorf("only one of sealrt and tar wrote: %s", line)
		}
	}
	d.must(t, "diff", "-r", "--no-dereference", work+"/ours", work+"/theirs")
	craneExport(t, d.kubernetes(), work+"/crane")
	if crane := d.tree(t, work+"/crane"); !slices.Equal(ours, crane) {
		t.Errorf("crane export wrote %d paths, unpack %d, and they differ", len(crane), len(ours))
	}
}

// craneExport does what `crane export IMAGE - | tar -x` does, by crane's own
// library.
func craneExport(t *testing.T, image, dir string) {
	t.Helper()
	ref, err := name.ParseReference(image, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	tree := mutate.Extract(img)
	defer tree.Close()
	tar := exec.Command("tar", "-x", "-p", "--same-owner", "-C", dir, "-f", "-")
	tar.Stdin, tar.Stderr = tree, os.Stderr
	if err := tar.Run(); err != nil {
		t.Fatalf("crane export: %v", err)
	}
}

func saveAndLoadKeepTheDigest(t *testing.T, d *demo) {
	work := t.TempDir()
	d.must(t, d.sealrt("save", "--root", d.dir+"/store", d.kubernetes(), "-o", work+"/image.tar")...)
	d.must(t, d.sealrt("load", "--root", work+"/store", work+"/image.tar")...)
	digest := func(root string) string {
		var images []struct{ Ref, Digest string }
		if err := json.Unmarshal([]byte(d.must(t, d.sealrt("images", "--root", root, "-o", "json")...)), &images); err != nil {
			t.Fatal(err)
		}
		for _, i := range images {
			if i.Ref == d.kubernetes() {
				return i.Digest
			}
		}
		return ""
	}
	if one, two := digest(d.dir+"/store"), digest(work+"/store"); one != two || one == "" {
		t.Errorf("digest was %q, is %q", one, two)
	}
	theirs := strings.TrimSpace(d.must(t, "skopeo", "inspect", "--format", "{{.Digest}}", "oci-archive:"+work+"/image.tar"))
	if theirs != digest(work+"/store") {
		t.Errorf("skopeo reads %q", theirs)
	}
}

func nodesAreReady(t *testing.T, d *demo) {
	ready := d.must(t, d.kubectl("get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status} {end}`)...)
	if ready != "node1=True node2=True " {
		t.Errorf("nodes are %q", ready)
	}
	if n := d.must(t, d.kubectl("-n", "kube-system", "get", "deployment", "coredns", "-o", "jsonpath={.status.readyReplicas}")...); n != "2" {
		t.Errorf("%q replicas of CoreDNS are ready", n)
	}
	endpoint := d.must(t, d.kubectl("-n", "kube-system", "get", "configmap", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")...)
	if !strings.Contains(endpoint, "controlPlaneEndpoint: api.default.sealrt.internal:6443") {
		t.Errorf("masters could not be added later: %s", endpoint)
	}
	d.must(t, d.sealrt("status")...)
	if out := d.must(t, d.sealrt("exec", "--", "hostname")...); !strings.Contains(out, a+"  node1\n") || !strings.Contains(out, b+"  node2\n") {
		t.Errorf("exec says %q", out)
	}
	// every pod got its image from the cluster image: the hosts have no way to a registry
	if out := d.must(t, d.kubectl("get", "events", "-A", "--field-selector", "reason=Pulling", "-o", "name")...); out != "" {
		t.Errorf("images were pulled: %s", out)
	}
}

func secondRunSendsNothing(t *testing.T, d *demo) {
	if plan := d.must(t, d.run("--dry-run")...); plan != "" {
		t.Errorf("on a cluster that stands a dry run plans:\n%s", plan)
	}
	received := func() string {
		return d.must(t, d.nodes("ssh", "2", "cat /sys/class/net/eth0/statistics/rx_bytes")...)
	}
	var before, after int64
	fmt.Sscan(received(), &before)
	path := strings.TrimSpace(d.must(t, d.run()...))
	fmt.Sscan(received(), &after)
	if after-before > 4<<20 {
		t.Errorf("the second run sent %d bytes to a node", after-before)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig %q: %v", path, err)
	}
}

func wrongInputIsAClearError(t *testing.T, d *demo) {
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"a host that is not there":  {d.sealrt("run", "--root", d.dir+"/store2", d.kubernetes(), "--masters", "10.87.0.99", "--cluster", "x"), "10.87.0.99"},
		"a key that nobody knows":   {d.sealrt("run", "--root", d.dir+"/store2", d.kubernetes(), "--masters", a, "--cluster", "stranger"), "accept-new-host-key"},
		"a host of another cluster": {d.sealrt("run", "--root", d.dir+"/store2", d.kubernetes(), "--masters", a, "--cluster", "x", "--accept-new-host-key", "--user", "ops", "--identity", "/var/tmp/nodes-testbed/id_ed25519"), `"default"`},
		"a registry that is down":   {d.sealrt("pull", "--root", d.dir+"/store2", "--retry", "1", "127.0.0.1:9/x:v1"), "127.0.0.1:9"},
		"an app without a cluster":  {d.sealrt("run", "--root", d.dir+"/store2", d.registry+"/echo:v1", "--masters", a, "--cluster", "x", "--accept-new-host-key", "--user", "ops", "--identity", "/var/tmp/nodes-testbed/id_ed25519"), "no cluster can be made of"},
	} {
		if _, err := d.command(t, c.argv...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error is %v, want %q in it", name, err, c.want)
		}
	}
}

// look is a listing of everything on a host that a cluster could leave behind:
// paths with kinds, modes, owners and links, digests and extended attributes of
// files that are a host's own, units, links, addresses, routes, rules, kernel
// settings, mounts.
const look = `
find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var \) -prune -o -printf '%p %y %m %U:%G %l\n'
for d in /var /opt /srv /root /home /mnt; do find $d -xdev \( -path /var/log/journal -o -path '/var/tmp/systemd-*' \) -prune -o -printf '%p %y %m %U:%G %l\n'; done
find /run -xdev \( -path /run/systemd -o -path /run/user -o -path /run/log -o -path /run/sudo \) -prune -o -printf 'in %p %y %m %U:%G %l\n'
cd / && find etc usr/local opt srv root home var/spool var/lib -xdev -path var/lib/systemd -prune -o -type f ! -name 'ssh_host_*' ! -name machine-id ! -name hostname -exec sha256sum {} +
tar --xattrs '--xattrs-include=*' -cf - etc usr/local opt | tar --xattrs -tvvf - | grep -B 1 '^  x:' | sed 's/^[^ ]* *[^ ]* *[0-9]* *[^ ]* *[^ ]* //'
systemctl list-unit-files --no-legend | sed 's/  */ /g'
systemctl list-units --plain --no-legend --state=active,failed --type=service,socket,mount | sed 's/  */ /g; s/ [A-Z].*//' | grep -v '^systemd-\|^user\|^session\|^run-user-'
ip -o link | sed 's/^[0-9]*: //; s/[@:].*//'
ip -o addr | sed 's/^[0-9]*: //; s/inet6 fe80.*//; s/ brd.*//; s/ scope.*//'
ip rule; ip route show table all | grep -v fe80; ip -6 route show table all | grep -v fe80
nft list tables
for t in iptables ip6tables; do $t-save | sed 's/ \[.*//' | grep -v '^[#*]\|^COMMIT\|^:[A-Z]* ACCEPT'; done
sysctl -a 2>/dev/null
cut -d' ' -f2,3 /proc/mounts
find /sys/fs/cgroup -name 'kubepods*'
cat /etc/hosts`

// harmless is what a reset host may have beside a fresh one: the empty tables
// that any call of iptables makes, sudo's note that it was used, the copies that
// tools for users keep of what was before, and what the kernel counts.
var harmless = regexp.MustCompile(`^table ip6? (filter|mangle|nat)$|\.sudo_as_admin_successful|^/run/|(^|/)session-| etc/(passwd|group|shadow|gshadow)-$|` +
	`^fs\.(dentry-state|file-nr|inode-nr|inode-state|quota\.|aio-nr|epoll)|^kernel\.(random\.|ns_last_pid|hostname|pty\.nr|pid_max|sched_domain)|^net\.netfilter\.nf_conntrack_count|^net\.ipv4\.tcp_fastopen_key`)

func resetLeavesNothing(t *testing.T, d *demo) {
	d.must(t, d.nodes("up", "3")...) // the third one has never seen a cluster
	d.must(t, d.sealrt("reset", "--yes")...)
	listing := func(host string) []string {
		out := d.must(t, d.nodes("ssh", host, look)...)
		out = regexp.MustCompile(`node[0-9]\b`).ReplaceAllString(out, "nodeN")
		out = regexp.MustCompile(`10\.87\.0\.1[0-9]\b`).ReplaceAllString(out, "IP")
		lines := strings.Split(out, "\n")
		lines = slices.DeleteFunc(lines, harmless.MatchString)
		slices.Sort(lines)
		return slices.Compact(lines)
	}
	fresh := listing("3")
	if len(fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(fresh))
	}
	for _, host := range []string{"1", "2"} {
		got := listing(host)
		for _, line := range got {
			if _, found := slices.BinarySearch(fresh, line); !found {
				t.Errorf("host %s has after reset: %s", host, line)
			}
		}
		for _, line := range fresh {
			if _, found := slices.BinarySearch(got, line); !found {
				t.Errorf("host %s lacks after reset: %s", host, line)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(d.dir, "home", ".sealrt", "clusters", "default")); err == nil {
		t.Error("reset left the cluster's state on the client")
	}
}
