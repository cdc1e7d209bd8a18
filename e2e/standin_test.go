//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The two versions of the stand-in.
const (
	oldVersion = "v1.25.3+k3s1"
	newVersion = "v1.26.5+k3s1"
)

// playground is a bed of hosts; the last one never has a cluster.
type playground struct {
	*demo
	net   string // the first three numbers of the hosts' addresses
	fresh []string

	killed int // the process of the client that was killed last
}

// bed is a playground without hosts. NODES_NET, NODES_PREFIX and NODES_DIR of the
// environment, all three together, put it somewhere else, so that a test can run
// twice on one machine.
func bed(t *testing.T, prefix, net string) *playground {
	t.Helper()
	dir := "/var/tmp/nodes-" + prefix
	if n := os.Getenv("NODES_NET"); n != "" {
		dir, prefix, net = os.Getenv("NODES_DIR"), os.Getenv("NODES_PREFIX"), n
	}
	p := &playground{demo: &demo{dir: "/var/tmp/sealrt-e2e-" + prefix}, net: net}
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	p.env = append(os.Environ(), "HOME="+filepath.Join(p.dir, "home"), "SEALRT_ROOT="+filepath.Join(p.dir, "store"), "CGO_ENABLED=0",
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"),
		"NODES_DIR="+dir, "NODES_CACHE=/var/tmp/nodes-testbed", "NODES_PREFIX="+prefix, "NODES_NET="+net)
	p.must(t, p.nodes("down")...)
	t.Cleanup(func() {
		p.must(t, p.nodes("down")...)
		if err := os.RemoveAll(p.dir); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ip is the address of a host.
func (p *playground) ip(n int) string { return fmt.Sprintf("%s.%d", p.net, 10+n) }

// TestLifeOfACluster leads a cluster of stand-ins through its life: it is
// made, grows, shrinks, loses hosts, moves to another version and goes.
func TestLifeOfACluster(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newPlayground(t, 7)
	for _, station := range []struct {
		name string
		test func(*testing.T, *playground)
	}{
		{"ThreeMastersAndTwoNodes", threeMastersAndTwoNodes},
		{"NodeComesGoesAndComesAgain", nodeComesGoesAndComesAgain},
		{"PodsThatMayNotBeDisturbedKeepTheirNode", protectedPods},
		{"GuardOfTheMajority", guardOfTheMajority},
		{"FirstMasterGoesAndComesAgain", firstMasterGoesAndComesAgain},
		{"EverybodyMovesToTheNextVersion", everybodyMoves},
		{"DeadNodeIsForgotten", deadNodeIsForgotten},
		{"DeadMasterIsForgotten", deadMasterIsForgotten},
		{"ResetLeavesNothing", resetOfTheLiving},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, p) }) {
			p.complain(t)
			return
		}
	}
}

// newPlayground makes the hosts and the images.
func newPlayground(t *testing.T, hosts int) *playground {
	t.Helper()
	p := bed(t, "lc", "10.94.0")
	p.must(t, p.nodes("up", fmt.Sprint(hosts))...)
	p.must(t, "go", "build", "-trimpath", "-o", filepath.Join(p.dir, "bin", "sealrt"), "../cmd/sealrt")
	for _, version := range []string{oldVersion, newVersion} {
		p.build(t, version)
	}
	p.fresh = p.listing(t, hosts)
	if len(p.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(p.fresh))
	}
	return p
}

// image is the name of the cluster image of a version.
func image(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return "standin:" + v
}

// build builds the stand-in and its image in one version. Its container images
// differ from version to version.
func (p *playground) build(t *testing.T, version string) {
	t.Helper()
	dir := filepath.Join(p.dir, "image-"+version)
	if err := os.CopyFS(dir, os.DirFS("standin/image")); err != nil {
		t.Fatal(err)
	}
	if version == newVersion { // which sealrt installs by itself
		if err := os.Remove(filepath.Join(dir, "k3s-install.sh")); err != nil {
			t.Fatal(err)
		}
	}
	p.must(t, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.Version="+version, "-o", filepath.Join(dir, "bin", "k3s"), "./standin")
	images := map[name.Tag]v1.Image{}
	for _, n := range []string{"docker.io/standin/pause:3.6", "docker.io/standin/coredns:" + strings.ReplaceAll(version, "+", "-")} {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		if images[tag], err = random.Image(1000, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := tarball.MultiWriteToFile(filepath.Join(dir, "images.tar"), images); err != nil {
		t.Fatal(err)
	}
	p.must(t, p.sealrt("build", "-t", image(version), "--build-arg", "K3S_VERSION="+version, dir)...)
}

// listing is what there is on a host, without its name and address.
func (p *playground) listing(t *testing.T, host int) []string {
	t.Helper()
	cmd := exec.Command("testbed/nodes.sh", "ssh", fmt.Sprint(host), look)
	cmd.Env = p.env
	raw, err := cmd.Output()
	if err != nil {
		t.Fatalf("list what is on host %d: %v", host, err)
	}
	out := regexp.MustCompile(`node[0-9]\b`).ReplaceAllString(string(raw), "nodeN")
	out = regexp.MustCompile(regexp.QuoteMeta(p.net)+`\.1[0-9]\b`).ReplaceAllString(out, "IP")
	lines := slices.DeleteFunc(strings.Split(out, "\n"), harmless.MatchString)
	slices.Sort(lines)
	return slices.Compact(lines)
}

// asFresh compares hosts with one that never had a cluster.
func (p *playground) asFresh(t *testing.T, hosts ...int) {
	t.Helper()
	for _, host := range hosts {
		got := p.listing(t, host)
		for _, line := range slices.Concat(got, p.fresh) {
			_, here := slices.BinarySearch(got, line)
			if _, there := slices.BinarySearch(p.fresh, line); here != there {
				t.Errorf("host %d: %v, on a fresh host: %v: %s", host, here, there, line)
			}
		}
		if left, err := p.command(t, p.nodes("ssh", fmt.Sprint(host), "ps -e -o comm= | grep -E 'k3s|sealrt'")...); err == nil {
			t.Errorf("host %d still runs: %s", host, left)
		}
	}
}

// complain puts the journals of the hosts into the test's log.
func (p *playground) complain(t *testing.T) {
	for h := 1; h <= 6; h++ {
		_, _ = p.command(t, p.nodes("ssh", fmt.Sprint(h), "journalctl -u 'k3s*' --no-pager -n 30 -o cat; cat /etc/hosts")...)
	}
}

func (p *playground) verb(args ...string) []string {
	return p.sealrt(append(args, "--user", "ops", "--identity", "/var/tmp/nodes-testbed/id_ed25519", "--accept-new-host-key")...)
}

// fails runs a command that has to fail, for a reason.
func (p *playground) fails(t *testing.T, reason string, argv ...string) string {
	t.Helper()
	_, err := p.command(t, argv...)
	if err == nil || !strings.Contains(err.Error(), reason) {
		t.Fatalf("%s: %v, want %q", strings.Join(argv, " "), err, reason)
	}
	return err.Error()
}

// stands checks the roles, versions and readiness of all hosts.
func (p *playground) stands(t *testing.T, version, want string) {
	t.Helper()
	if got := strings.Join(p.hosts(t, version), ", "); got != want {
		t.Errorf("hosts are %s\nwant      %s", got, want)
	}
}

// hosts are those that status lists, all of which have to be Ready with a version.
func (p *playground) hosts(t *testing.T, version string) []string {
	t.Helper()
	var status struct {
		Hosts []struct{ Name, Role, Ready, Version string }
	}
	if err := json.Unmarshal([]byte(p.must(t, p.sealrt("status", "-o", "json")...)), &status); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range status.Hosts {
		got = append(got, h.Role+" "+h.Name)
		if h.Ready != "True" || h.Version != version {
			t.Errorf("%s is %s, Ready %s", h.Name, h.Version, h.Ready)
		}
	}
	return got
}

func (p *playground) on(t *testing.T, host int, command string) string {
	t.Helper()
	return p.must(t, p.nodes("ssh", fmt.Sprint(host), command)...)
}

func threeMastersAndTwoNodes(t *testing.T, p *playground) {
	run := p.verb("run", image(oldVersion), "-f", p.patient(t), "-v", "--masters", p.ip(1)+","+p.ip(2)+","+p.ip(3), "--nodes", p.ip(4)+","+p.ip(5))
	p.must(t, run...)
	p.stands(t, oldVersion, "master node1, master node2, master node3, node node4, node node5")
	if left := p.must(t, append(run, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	if got := p.on(t, 3, "k3s kubectl get configmap greeting -n kube-system -o 'jsonpath={.data.greeting}'"); got != "hello" {
		t.Errorf("the image's object says %q", got)
	}
	if got := p.on(t, 4, "grep -c . /etc/rancher/k3s/config.yaml; stat -c %a /etc/rancher/k3s/config.yaml; grep ExecStart= /etc/systemd/system/k3s-agent.service"); !strings.Contains(got, "600\nExecStart=/usr/local/bin/k3s agent\n") {
		t.Errorf("the agent has %s", got)
	}
}

func nodeComesGoesAndComesAgain(t *testing.T, p *playground) {
	// or a reset would have nothing to take back
	p.on(t, 4, "ip link show cni0; iptables-save -t nat | grep KUBE-SERVICES; nft list table ip kube-proxy; test -s /etc/rancher/node/password; test -d /run/k3s")
	p.must(t, p.nodes("kill", "2")...) // a verb needs the hosts that it changes, and one master
	add := p.verb("add", "--nodes", p.ip(6), "--yes")
	p.must(t, add...)
	p.must(t, p.verb("delete", "--nodes", p.ip(6), "--yes")...)
	p.asFresh(t, 6)
	p.must(t, add...)
	p.must(t, p.nodes("start", "2")...)
	p.on(t, 1, "k3s kubectl wait --for=condition=Ready node/node2 --timeout=60s")
	p.stands(t, oldVersion, "master node1, master node2, master node3, node node4, node node5, node node6")
	if left := p.must(t, append(add, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

// patient writes a Clusterfile that says for how long hosts are waited for: not
// long, since those of this bed answer at once or are dead.
func (p *playground) patient(t *testing.T) string {
	t.Helper()
	name := filepath.Join(p.dir, "Clusterfile")
	text := "apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {timeouts: {connect: 3s, return: 5s}}\n"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// protect makes the stand-in keep pods where they are.
const protect = `printf 'apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: precious}\n' | k3s kubectl apply --server-side -f -`

func protectedPods(t *testing.T, p *playground) {
	p.on(t, 1, protect)
	p.fails(t, "violate the pod's disruption budget: default/precious", p.verb("delete", "--nodes", p.ip(5), "--yes")...)
	p.on(t, 1, "k3s kubectl delete pdb precious; k3s kubectl uncordon node5")
	p.stands(t, oldVersion, "master node1, master node2, master node3, node node4, node node5, node node6")
}

func guardOfTheMajority(t *testing.T, p *playground) {
	p.fails(t, "3 masters of 3 masters would be deleted", p.verb("delete", "--masters", p.ip(1)+","+p.ip(2)+","+p.ip(3), "--yes")...)
	p.must(t, p.nodes("kill", "3")...)
	p.fails(t, "without "+p.ip(1)+" 1 of 2 masters would answer, and a majority of 2 is needed", p.verb("delete", "--masters", p.ip(1), "--yes")...)
	p.must(t, p.nodes("start", "3")...)
	p.on(t, 1, "k3s kubectl wait --for=condition=Ready node/node3 --timeout=60s")
}

func firstMasterGoesAndComesAgain(t *testing.T, p *playground) {
	p.must(t, p.verb("delete", "--masters", p.ip(1), "--yes", "-v")...)
	p.asFresh(t, 1)
	p.stands(t, oldVersion, "master node2, master node3, node node4, node node5, node node6")
	if got := p.on(t, 4, "grep sealrt.internal /etc/hosts"); strings.Contains(got, p.ip(1)) || !strings.Contains(got, p.ip(3)) {
		t.Errorf("a node looks for masters at %s", got)
	}
	p.on(t, 4, "systemctl restart k3s-agent") // it finds its masters without the first one
	p.must(t, p.verb("add", "--masters", p.ip(1), "--yes")...)
	p.stands(t, oldVersion, "master node2, master node3, node node4, node node5, node node6, master node1")
}

func everybodyMoves(t *testing.T, p *playground) {
	up := p.verb("upgrade", image(newVersion), "--yes", "-v")
	p.on(t, 2, protect)
	said := p.fails(t, "violate the pod's disruption budget", up...) // at the first node: the masters have moved
	for _, line := range []string{"master " + p.ip(2) + ": " + newVersion + ", Ready: True", "node " + p.ip(4) + ": " + oldVersion + ", Ready: True"} {
		if !strings.Contains(said, line) {
			t.Errorf("it does not say where things stand: %s", line)
		}
	}
	started := "systemctl show k3s -p ActiveEnterTimestampMonotonic"
	before := p.on(t, 1, started)
	p.on(t, 2, "k3s kubectl delete pdb precious")
	p.must(t, up...)
	if after := p.on(t, 1, started); after != before {
		t.Error("a master that had moved was started again")
	}
	p.stands(t, newVersion, "master node2, master node3, node node4, node node5, node node6, master node1")
	if got := p.on(t, 2, "find /var/lib/sealrt/scratch/k3s/before-*"); !strings.Contains(got, "/token\n") || !strings.Contains(got, "/etcd/sealrt-") {
		t.Errorf("kept for a way back: %s", got)
	}
	if got := p.on(t, 4, "ls /var/lib/rancher/k3s/agent/images | wc -l"); got != "1\n" {
		t.Errorf("%s archives of images are left, want the new one", strings.TrimSpace(got))
	}
	if got := p.on(t, 2, "k3s kubectl get nodes -o json"); strings.Contains(got, "unschedulable") {
		t.Errorf("a node is left without pods: %s", got)
	}
	if left := p.must(t, p.verb("upgrade", image(newVersion), "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.fails(t, "cannot go back to "+oldVersion, p.verb("upgrade", image(oldVersion), "--yes")...)
}

func deadNodeIsForgotten(t *testing.T, p *playground) {
	p.must(t, p.nodes("kill", "6")...)
	p.fails(t, p.ip(6)+" does not answer", p.verb("delete", "--nodes", p.ip(6), "--yes")...)
	if _, err := p.command(t, p.verb("delete", "--nodes", p.ip(6), "--yes", "--force")...); err != nil {
		t.Fatal(err)
	}
	p.stands(t, newVersion, "master node2, master node3, node node4, node node5, master node1")
	p.must(t, p.nodes("reset", "6")...) // another machine of the same name
	p.must(t, p.nodes("ssh", "6", "true")...)
	if err := os.Remove(filepath.Join(p.dir, "home", ".sealrt", "clusters", "default", "known_hosts")); err != nil {
		t.Fatal(err)
	}
	p.must(t, p.verb("add", "--nodes", p.ip(6), "--yes")...)
	p.stands(t, newVersion, "master node2, master node3, node node4, node node5, master node1, node node6")
}

func deadMasterIsForgotten(t *testing.T, p *playground) {
	p.must(t, p.nodes("kill", "3")...)
	p.must(t, p.verb("delete", "--masters", p.ip(3), "--yes", "--force")...)
	p.stands(t, newVersion, "master node2, node node4, node node5, master node1, node node6")
	p.must(t, p.nodes("reset", "3")...)
}

func resetOfTheLiving(t *testing.T, p *playground) {
	p.must(t, p.nodes("cut", "6")...)
	p.fails(t, "nothing was changed", p.verb("reset", "--yes")...)
	p.fails(t, p.ip(6)+" did not answer and was not cleaned", p.verb("reset", "--yes", "--force")...)
	p.asFresh(t, 1, 2, 4, 5)
	p.must(t, p.nodes("heal")...)
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 6)
	if _, err := os.Stat(filepath.Join(p.dir, "home", ".sealrt", "clusters", "default")); !os.IsNotExist(err) {
		t.Errorf("the state of the cluster is there still: %v", err)
	}
}

// TestOneMasterBecomesThree begins with a master on SQLite, which moves to
// another version and then to etcd; a host fails to join on the way.
func TestOneMasterBecomesThree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newPlayground(t, 4)
	p.must(t, p.verb("run", image(oldVersion), "--masters", p.ip(1), "--nodes", p.ip(2))...)
	p.must(t, p.verb("upgrade", image(newVersion), "--yes")...)
	p.stands(t, newVersion, "master node1, node node2")
	if got := p.on(t, 1, "find /var/lib/sealrt/scratch/k3s/before-*"); !strings.Contains(got, "/token\n") || !strings.Contains(got, "/db/state.json\n") {
		t.Errorf("kept for a way back: %s", got)
	}

	add := p.verb("add", "--nodes", p.ip(3), "--yes")
	p.on(t, 3, "mount --bind /etc/hosts /etc/hosts") // it cannot be replaced
	p.fails(t, "host "+p.ip(3)+": endpoint", add...)
	p.must(t, p.verb("delete", "--nodes", p.ip(3), "--yes", "--force", "--dry-run")...)
	p.on(t, 3, "umount /etc/hosts")
	p.must(t, p.verb("delete", "--nodes", p.ip(3), "--yes", "--force")...)
	p.asFresh(t, 3)
	p.stands(t, newVersion, "master node1, node node2")

	p.fails(t, "two masters are worse than one", p.verb("add", "--masters", p.ip(3), "--yes")...)
	p.must(t, p.verb("delete", "--nodes", p.ip(2), "--yes")...)
	p.must(t, p.verb("add", "--masters", p.ip(2)+","+p.ip(3), "--yes")...)
	p.stands(t, newVersion, "master node1, master node2, master node3")
	p.must(t, p.nodes("kill", "1")...) // the others have its data
	if got := p.on(t, 3, "k3s kubectl get configmap greeting -n kube-system -o 'jsonpath={.data.greeting}'"); got != "hello" {
		t.Errorf("the image's object says %q", got)
	}
	p.must(t, p.nodes("start", "1")...)
	p.on(t, 2, "k3s kubectl wait --for=condition=Ready node/node1 --timeout=60s")
	threeBecomeOneAndThreeAgain(t, p)
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1, 2, 3, 4)
}

// threeBecomeOneAndThreeAgain deletes the master that the cluster began with, and
// another one, while the others look after it.
func threeBecomeOneAndThreeAgain(t *testing.T, p *playground) {
	p.must(t, p.verb("add", "--nodes", p.ip(4), "--yes")...)
	p.must(t, p.verb("delete", "--masters", p.ip(1), "--yes")...)
	for _, host := range []int{2, 3, 4} {
		if got := p.on(t, host, "cat /etc/rancher/k3s/config.yaml /etc/rancher/k3s/config.yaml.d/* /etc/hosts | grep -e server: -e sealrt.internal"); strings.Contains(got, p.ip(1)) {
			t.Errorf("host %d looks for masters at %s", host, got)
		}
	}
	p.on(t, 4, "systemctl restart k3s-agent")
	p.on(t, 2, mark("kept"))
	for _, masters := range []string{"master node2, master node3, node node4", "master node2, node node4"} {
		p.must(t, p.verb("cert", "renew", "--yes")...)
		p.must(t, p.verb("cert", "check")...)
		p.must(t, p.verb("backup", "-o", filepath.Join(p.dir, "backup.tar"))...)
		p.on(t, 2, mark("lost"))
		p.must(t, p.verb("restore", filepath.Join(p.dir, "backup.tar"), "--yes")...)
		p.stands(t, newVersion, masters)
		p.marked(t, 2, "kept", "lost")
		if strings.Contains(masters, "node3") {
			p.must(t, p.verb("delete", "--masters", p.ip(3), "--yes")...)
		}
	}
	p.must(t, p.verb("add", "--masters", p.ip(1)+","+p.ip(3), "--yes")...)
	p.stands(t, newVersion, "master node2, node node4, master node1, master node3")
}
