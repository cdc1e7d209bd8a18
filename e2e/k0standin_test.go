//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The two versions of the stand-in for k0s.
const (
	oldK0s = "v1.34.2+k0s.0"
	newK0s = "v1.35.4+k0s.0"
)

// k0sImage is the name of the cluster image of a version.
func k0sImage(version string) string {
	v, _, _ := strings.Cut(version, "+")
	return "k0standin:" + v
}

// kubelet is what a node says to be of a version.
func kubelet(version string) string { return strings.TrimSuffix(version, ".0") }

// newK0sPlayground makes four hosts and the images. What is on a fresh host is
// looked up before anything is done.
func newK0sPlayground(t *testing.T) *playground {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := bed(t, "k0", "10.93.0")
	p.must(t, p.nodes("up", "4")...)
	p.must(t, "go", "build", "-trimpath", "-o", filepath.Join(p.dir, "bin", "sealrt"), "../cmd/sealrt")
	for _, version := range []string{oldK0s, newK0s} {
		p.buildK0s(t, version)
	}
	p.fresh = p.listing(t, 4)
	if len(p.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(p.fresh))
	}
	return p
}

// buildK0s builds the stand-in and its image in one version. Its container images
// differ from version to version.
func (p *playground) buildK0s(t *testing.T, version string) {
	t.Helper()
	dir := filepath.Join(p.dir, "image-"+version)
	if err := os.CopyFS(dir, os.DirFS("k0standin/image")); err != nil {
		t.Fatal(err)
	}
	p.must(t, "go", "build", "-trimpath", "-ldflags", "-s -w -X main.Version="+version, "-o", filepath.Join(dir, "bin", "k0s"), "./k0standin")
	images := map[name.Tag]v1.Image{}
	for _, n := range []string{"pause:3.10", "coredns:" + strings.ReplaceAll(version, "+", "-"), "envoy-distroless:v1"} {
		tag, err := name.NewTag("docker.io/standin/" + n)
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
	p.must(t, p.sealrt("build", "-t", k0sImage(version), "--build-arg", "K0S_VERSION="+version, dir)...)
}

// TestLifeOfAK0sCluster leads a cluster of stand-ins for k0s through its life.
func TestLifeOfAK0sCluster(t *testing.T) {
	p := newK0sPlayground(t)
	for _, station := range []struct {
		name string
		test func(*testing.T, *playground)
	}{
		{"OneMasterAndNodes", k0sOneMasterAndNodes},
		{"NodesBecomeMasters", k0sNodesBecomeMasters},
		{"BadConfigurationChangesNothing", k0sBadConfiguration},
		{"NodeGoesAndComesAgain", k0sNodeGoesAndComesAgain},
		{"CertificatesAreMadeAnew", k0sCertificates},
		{"FirstMasterGoesAndComesAgain", k0sFirstMaster},
		{"BackupComesBack", k0sBackup},
		{"EverybodyMovesAndGoesBack", k0sMoves},
		{"DeadMasterIsForgottenAndMadeAnew", k0sDeadMaster},
		{"ResetLeavesNothing", k0sReset},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, p) }) {
			for h := 1; h <= 4; h++ {
				_, _ = p.command(t, p.nodes("ssh", fmt.Sprint(h), "journalctl -u 'k0s*' --no-pager -n 30 -o cat; cat /etc/k0s/k0s.yaml")...)
			}
			return
		}
	}
}

// killedAt runs a command and kills it where each of the steps, HOST STEP, begins for
// the first time; then it runs once more, to its end.
func (p *playground) killedAt(t *testing.T, argv []string, steps ...string) {
	t.Helper()
	for _, step := range steps {
		fell := false
		_, err := p.suffer(t, argv, func(line told, client *os.Process) {
			if !fell && line.Host+" "+line.Step == step {
				fell = true
				kill(client)
			}
		})
		if !fell || err == nil {
			t.Fatalf("%s was not killed at %q: %v", argv[1], step, err)
		}
	}
	p.must(t, argv...)
}

func k0sOneMasterAndNodes(t *testing.T, p *playground) {
	run := p.verb("run", k0sImage(oldK0s), "-f", p.patient(t), "-v", "--masters", p.ip(1), "--nodes", p.ip(2)+","+p.ip(3)+","+p.ip(4))
	p.must(t, run...)
	p.stands(t, kubelet(oldK0s), "master node1, node node2, node node3, node node4")
	if left := p.must(t, append(run, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	if got := p.on(t, 1, "k0s kubectl get configmap greeting -n kube-system -o 'jsonpath={.data.greeting}'"); got != "hello" {
		t.Errorf("the image's object says %q", got)
	}
	p.must(t, p.verb("cert", "check")...) // at once: kubelets have their certificates
	p.tokensAreGone(t, 1, 2, 3, 4)
	if got := p.on(t, 4, "cat /etc/k0s/containerd.d/sealrt-registry.toml; ls /etc/k0s/containerd.d/certs.d"); !strings.Contains(got, "config_path") || !strings.Contains(got, "_default") {
		t.Errorf("containerd is told %s", got)
	}
}

// tokensAreGone looks for tokens in the cluster, and on hosts.
func (p *playground) tokensAreGone(t *testing.T, master int, hosts ...int) {
	t.Helper()
	got := p.on(t, master, "k0s token list --role controller && k0s token list --role worker && (ls /var/lib/sealrt/scratch/k0s 2>/dev/null || true)")
	if got = strings.ReplaceAll(got, "No k0s join tokens found", ""); strings.TrimSpace(got) != "" {
		t.Errorf("tokens are left: %s", got)
	}
	for _, h := range append(hosts, master) {
		if got := p.on(t, h, "ls /etc/k0s; grep -rh token-file /etc/systemd/system || true"); strings.Contains(got, "token") {
			t.Errorf("a token is left on host %d: %s", h, got)
		}
	}
}

// k0sNodesBecomeMasters has two nodes leave, and come again as masters, with a
// client that is killed on the way.
func k0sNodesBecomeMasters(t *testing.T, p *playground) {
	p.killedAt(t, p.verb("delete", "--nodes", p.ip(2)+","+p.ip(3), "--yes"), p.ip(2)+" k0s reset")
	p.asFreshOfK0s(t, 2, 3)
	p.fails(t, "two masters are worse than one", p.verb("add", "--masters", p.ip(2), "--yes")...)
	add := p.verb("add", "--masters", p.ip(2)+","+p.ip(3), "--yes")
	p.killedAt(t, add, p.ip(2)+" joined: answers", p.ip(3)+" service k0scontroller", p.ip(1)+" invalidate tokens")
	p.stands(t, kubelet(oldK0s), "master node1, node node4, master node2, master node3")
	if got := p.on(t, 3, "k0s etcd member-list"); !strings.Contains(got, "node1") || !strings.Contains(got, "node2") || !strings.Contains(got, "node3") {
		t.Errorf("members: %s", got)
	}
	p.tokensAreGone(t, 1, 2, 3)
	if left := p.must(t, append(add, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.must(t, p.nodes("kill", "1")...) // the node knows the others, by its load balancer
	p.on(t, 2, "sleep 8; k0s kubectl wait --for=condition=Ready node/node4 --timeout=60s")
	p.must(t, p.nodes("start", "1")...)
	p.on(t, 2, "k0s kubectl wait --for=condition=Ready node/node1 --timeout=60s")
}

// k0sBadConfiguration applies a document that k0s refuses.
func k0sBadConfiguration(t *testing.T, p *playground) {
	const is = "sha256sum /etc/k0s/k0s.yaml /usr/local/bin/k0s; systemctl show -p MainPID k0scontroller; ls -R /etc/k0s /etc/systemd/system"
	before := []string{p.on(t, 1, is), p.on(t, 2, is), p.on(t, 3, is)}
	file := filepath.Join(p.dir, "asked")
	asked := func(document string) []string {
		text := fmt.Sprintf(`apiVersion: sealrt.io/v1
kind: Cluster
metadata: {name: default}
spec:
  image: ["%s"]
  timeouts: {connect: 3s, return: 5s}
  hosts:
    - {address: [%s, %s, %s], role: master}
    - {address: [%s], role: node}
`, k0sImage(oldK0s), p.ip(1), p.ip(2), p.ip(3), p.ip(4)) + document
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p.verb("apply", "-f", file, "--yes")
	}
	p.fails(t, `unknown field "spec.nonsense"`, asked("---\napiVersion: k0s.k0sproject.io/v1beta1\nkind: ClusterConfig\nspec: {nonsense: 1}\n")...)
	for h := range before {
		if after := p.on(t, h+1, is); after != before[h] {
			t.Errorf("host %d has\n%s, and had\n%s", h+1, after, before[h])
		}
	}
	p.must(t, asked("")...)
}

// asFreshOfK0s compares hosts with a fresh one, on which no k0s runs either.
func (p *playground) asFreshOfK0s(t *testing.T, hosts ...int) {
	t.Helper()
	p.asFresh(t, hosts...)
	for _, h := range hosts {
		if left, err := p.command(t, p.nodes("ssh", fmt.Sprint(h), "pgrep -x k0s")...); err == nil {
			t.Errorf("host %d still runs k0s: %s", h, left)
		}
	}
}

func k0sNodeGoesAndComesAgain(t *testing.T, p *playground) {
	// or a reset would have nothing to take back
	p.on(t, 4, "ip link show kube-bridge; iptables-save -t nat | grep KUBE-SERVICES; nft list table ip kube-proxy; test -d /run/k0s")
	p.must(t, p.verb("delete", "--nodes", p.ip(4), "--yes")...)
	p.asFreshOfK0s(t, 4)
	p.must(t, p.verb("add", "--nodes", p.ip(4), "--yes")...)
	p.stands(t, kubelet(oldK0s), "master node1, master node2, master node3, node node4")
}

func k0sCertificates(t *testing.T, p *playground) {
	const shows = "k0s kubectl get --raw /version >/dev/null; sha256sum /var/lib/k0s/pki/server.crt"
	before := p.on(t, 2, shows)
	p.must(t, p.verb("cert", "renew", "--yes")...)
	if p.on(t, 2, shows) == before {
		t.Error("the API's certificate is the one of before")
	}
	p.must(t, p.verb("cert", "check")...)
	p.must(t, p.verb("cert", "add-san", "k0s.example.com", "--yes")...)
	p.must(t, p.verb("cert", "check")...)
	for h := 1; h <= 3; h++ {
		if got := p.on(t, h, "grep -c -e k0s.example.com -e EnvoyProxy -e default_pull_policy -e 8133 /etc/k0s/k0s.yaml"); got != "4\n" {
			t.Errorf("host %d is told %s", h, got)
		}
	}
	p.stands(t, kubelet(oldK0s), "master node1, master node2, master node3, node node4")
}

func k0sFirstMaster(t *testing.T, p *playground) {
	p.killedAt(t, p.verb("delete", "--masters", p.ip(1), "--yes"), p.ip(2)+" etcd left node1", p.ip(1)+" stop k0scontroller")
	p.asFreshOfK0s(t, 1)
	if got := p.on(t, 2, "k0s etcd member-list; k0s kubectl get etcdmember; k0s kubectl get controlnode"); strings.Contains(got, "node1") {
		t.Errorf("it is known still: %s", got)
	}
	p.stands(t, kubelet(oldK0s), "master node2, master node3, node node4")
	p.must(t, p.verb("add", "--masters", p.ip(1), "--yes")...)
	p.stands(t, kubelet(oldK0s), "master node2, master node3, node node4, master node1")
}

const k0sMark = `printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n' | k0s kubectl apply -f -`

func k0sMarked(t *testing.T, p *playground, host int, name string) bool {
	t.Helper()
	return strings.Contains(p.on(t, host, "KUBECACHEDIR=/tmp/kubectl k0s kubectl get configmap -o json"), `"name": "`+name+`"`)
}

func k0sBackup(t *testing.T, p *playground) {
	file := filepath.Join(p.dir, "k0s.backup.tar")
	p.on(t, 2, fmt.Sprintf(k0sMark, "before"))
	p.must(t, p.verb("backup", "-o", file)...)
	p.on(t, 2, fmt.Sprintf(k0sMark, "after"))
	p.must(t, p.verb("restore", file, "--yes")...)
	p.stands(t, kubelet(oldK0s), "master node2, master node3, node node4, master node1")
	if !k0sMarked(t, p, 3, "before") || k0sMarked(t, p, 3, "after") {
		t.Error("the data is not that of the backup")
	}
	p.tokensAreGone(t, 2, 1, 3, 4)
}

func k0sMoves(t *testing.T, p *playground) {
	all := "master node2, master node3, node node4, master node1"
	p.on(t, 2, fmt.Sprintf(k0sMark, "older"))
	p.killedAt(t, p.verb("upgrade", k0sImage(newK0s), "--yes"), p.ip(2)+" snapshot", p.ip(3)+" service k0scontroller", p.ip(4)+" service k0sworker")
	p.stands(t, kubelet(newK0s), all)
	if got := p.on(t, 4, "ls /var/lib/k0s/images | wc -l"); got != "1\n" {
		t.Errorf("%s archives of images are left, want the new one", strings.TrimSpace(got))
	}
	if left := p.must(t, p.verb("upgrade", k0sImage(newK0s), "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.fails(t, "cannot go back", p.verb("upgrade", k0sImage(oldK0s), "--yes")...)
	p.on(t, 2, fmt.Sprintf(k0sMark, "newer"))
	p.must(t, p.verb("rollback", "--yes")...)
	p.stands(t, kubelet(oldK0s), all)
	if !k0sMarked(t, p, 3, "older") || k0sMarked(t, p, 3, "newer") {
		t.Error("the data is not that of before the upgrade")
	}
}

func k0sDeadMaster(t *testing.T, p *playground) {
	p.must(t, p.nodes("kill", "3")...)
	p.must(t, p.verb("delete", "--masters", p.ip(3), "--yes", "--force")...)
	if got := p.on(t, 2, "k0s etcd member-list"); strings.Contains(got, "node3") {
		t.Errorf("members: %s", got)
	}
	p.stands(t, kubelet(oldK0s), "master node2, node node4, master node1")
	p.must(t, p.nodes("reset", "3")...) // another machine, of its name
	p.must(t, "ssh-keygen", "-f", filepath.Join(p.dir, "home", ".sealrt", "clusters", "default", "known_hosts"), "-R", p.ip(3))
	p.must(t, p.verb("add", "--masters", p.ip(3), "--yes")...)
	p.stands(t, kubelet(oldK0s), "master node2, node node4, master node1, master node3")
}

func k0sReset(t *testing.T, p *playground) {
	const theirs = "/usr/bin/kubectl"
	p.on(t, 4, "printf x >"+theirs+"; chmod 755 "+theirs)
	p.must(t, p.verb("reset", "--yes")...)
	p.on(t, 4, "test -s "+theirs+" && rm "+theirs)
	p.asFreshOfK0s(t, 1, 2, 3, 4)
}
