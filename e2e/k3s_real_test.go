//go:build e2e && k3s

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
)

// release is a k3s release that somebody has at hand.
type release struct {
	version              string // v1.34.1+k3s1
	k3s, install, images string // files; install may be ""
}

// tag is the cluster image of the release.
func (r release) tag() string {
	v, _, _ := strings.Cut(r.version, "+")
	return "k3s:" + v
}

// named returns the release whose files variables of the environment name, with
// their names begun like this.
func named(t *testing.T, prefix string) release {
	t.Helper()
	r := release{k3s: os.Getenv(prefix + "K3S"), install: os.Getenv(prefix + "INSTALL"), images: os.Getenv(prefix + "IMAGES")}
	if r.k3s == "" || r.images == "" {
		t.Fatalf("%[1]sK3S and %[1]sIMAGES are not set: make e2e-k3s K3S=/path/to/k3s INSTALL=/path/to/k3s-install.sh IMAGES=/path/to/images.tar", prefix)
	}
	said, err := exec.CommandContext(t.Context(), r.k3s, "--version").Output()
	if err != nil {
		t.Fatalf("%s --version: %v", r.k3s, err)
	}
	if found := regexp.MustCompile(`version (v\S+)`).FindSubmatch(said); found != nil {
		r.version = string(found[1])
	} else {
		t.Fatalf("%s --version says %q, which is no version of k3s", r.k3s, said)
	}
	return r
}

// real is a bed for clusters of real k3s.
type real struct {
	*playground
	now, next release // next has no version where there is none
}

// TestRealK3s leads clusters of a release of k3s through their life. It needs the
// release, and so it has a tag of its own: make e2e-k3s.
func TestRealK3s(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	r := &real{now: named(t, "")}
	if os.Getenv("NEXT_K3S") != "" {
		r.next = named(t, "NEXT_")
	}
	r.playground = bed(t, "rk", "10.95.0")
	r.must(t, r.nodes("up", "5")...)
	r.must(t, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(r.dir, "bin", "sealrt"), "../cmd/sealrt")
	for _, rel := range []release{r.now, r.next} {
		if rel.version != "" {
			r.build(t, rel)
		}
	}
	r.fresh = r.listing(t, 5)
	if len(r.fresh) < 1000 {
		t.Fatalf("the listing of a fresh host has %d lines: this test cannot tell", len(r.fresh))
	}
	for _, station := range []struct {
		name string
		test func(*testing.T, *real)
	}{
		{"OneMaster", oneRealMaster},
		{"ThreeMastersAndTwoNodes", threeRealMasters},
		{"NodeGoesAndComesAgain", realNodeGoes},
		{"FirstMasterGoesAndComesAgain", realMasterGoes},
		{"Certificates", realCertificates},
		{"BackupAndRestore", realBackup},
		{"UpgradeAndRollback", realUpgrade},
		{"ResetLeavesNothing", realReset},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, r) }) {
			r.complain(t)
			return
		}
	}
}

// build makes the cluster image of a release: first to learn which images the
// release has, then with an app of one of them.
func (r *real) build(t *testing.T, rel release) {
	t.Helper()
	dir := filepath.Join(r.dir, "image-"+rel.version)
	if err := os.CopyFS(dir, os.DirFS("k3s")); err != nil {
		t.Fatal(err)
	}
	add(t, rel.k3s, filepath.Join(dir, "bin", "k3s"), 0o755)
	add(t, rel.images, filepath.Join(dir, "images", filepath.Base(rel.images)), 0o644)
	if rel.install != "" {
		add(t, rel.install, filepath.Join(dir, "k3s-install.sh"), 0o755)
	}
	app := filepath.Join(dir, "manifests", "app.yaml")
	text, err := os.ReadFile(app)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(app); err != nil {
		t.Fatal(err)
	}
	build := r.sealrt("build", "-t", rel.tag(), "--build-arg", "K3S_VERSION="+rel.version, dir)
	r.must(t, build...)
	found := regexp.MustCompile(`(?m)^inside +(\S*mirrored-coredns-coredns:\S+)`).FindStringSubmatch(r.must(t, r.sealrt("inspect", rel.tag())...))
	if found == nil {
		t.Fatalf("%s has no image of CoreDNS, which the test runs", rel.images)
	}
	text = []byte(strings.Replace(string(text), "IMAGE", "docker.io/"+strings.TrimPrefix(found[1], "docker.io/"), 1))
	if err := os.WriteFile(app, text, 0o644); err != nil {
		t.Fatal(err)
	}
	r.must(t, build...)
}

// on runs a command on a host. kubectl keeps what it learnt where no listing looks.
func (r *real) on(t *testing.T, host int, command string) string {
	t.Helper()
	return r.playground.on(t, host, "export KUBECACHEDIR=/tmp/kubectl; "+command)
}

// marked reports whether an object is in the cluster, as a host says.
func (r *real) marked(t *testing.T, host int, name string) bool {
	t.Helper()
	return strings.Contains(r.on(t, host, listMark), `"name": "`+name+`"`)
}

// answers checks that the app runs on every host, with an image that no registry
// was asked for, and that every host reaches its Service.
func (r *real) answers(t *testing.T, acting int, hosts ...int) {
	t.Helper()
	r.on(t, acting, "k3s kubectl rollout status daemonset/app --timeout=180s; k3s kubectl get pods -A -o wide")
	if ready := r.on(t, acting, "k3s kubectl get daemonset app -o 'jsonpath={.status.numberReady}'"); ready != fmt.Sprint(len(hosts)) {
		// as when this machine's disk is nearly full: kubelets say so in events
		r.on(t, acting, "k3s kubectl get events -A --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 20")
		t.Fatalf("the app runs on %s hosts, want %d", ready, len(hosts))
	}
	at := r.on(t, acting, "k3s kubectl get service app -o 'jsonpath={.spec.clusterIP}'")
	for _, h := range hosts {
		// the rules of the Service come to a host a moment later
		if got := r.on(t, h, "curl -sS -m 5 --retry 10 --retry-all-errors http://"+at+":8080/health"); got != "OK" {
			t.Errorf("on host %d the Service says %q", h, got)
		}
	}
}

// whole checks that all five hosts are in the cluster, Ready and of a version.
func (r *real) whole(t *testing.T, version string) {
	t.Helper()
	var status struct {
		Hosts []struct{ Name, Role, Ready, Version string }
	}
	if err := json.Unmarshal([]byte(r.must(t, r.sealrt("status", "-o", "json")...)), &status); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range status.Hosts {
		got = append(got, fmt.Sprint(h.Name, " ", h.Role, " ", h.Ready, " ", h.Version))
	}
	slices.Sort(got)
	var want []string
	for h := 1; h <= 5; h++ {
		role := "master"
		if h > 3 {
			role = "node"
		}
		want = append(want, fmt.Sprintf("node%d %s True %s", h, role, version))
	}
	if !slices.Equal(got, want) {
		t.Errorf("hosts are %q, want %q", got, want)
	}
}

// votes checks that each of the masters is a member of etcd that votes.
func (r *real) votes(t *testing.T, acting int, want string) {
	t.Helper()
	const voters = `k3s kubectl get nodes -o 'jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="EtcdIsVoter")].status} {end}'`
	if got := strings.TrimSpace(r.on(t, acting, voters)); got != want {
		t.Errorf("votes are %s, want %s", got, want)
	}
}

// nothingLeft checks that a command has nothing left to do.
func (r *real) nothingLeft(t *testing.T, argv ...string) {
	t.Helper()
	if left := r.must(t, append(argv, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

func oneRealMaster(t *testing.T, r *real) {
	run := r.verb("run", r.now.tag(), "--masters", r.ip(1))
	r.must(t, run...)
	r.stands(t, r.now.version, "master node1")
	r.answers(t, 1, 1)
	r.on(t, 1, "test -s /var/lib/rancher/k3s/server/db/state.db; test ! -e /var/lib/rancher/k3s/server/db/etcd/member")
	if got := r.on(t, 1, "k3s ctr images ls | grep mirrored-"); strings.Count(got, "io.cri-containerd.pinned=pinned") != strings.Count(got, "\n") {
		t.Errorf("images of the release are not pinned: %s", got)
	}
	r.must(t, r.verb("cert", "check")...)
	r.nothingLeft(t, run...)
	r.must(t, r.verb("reset", "--yes")...)
	r.asFresh(t, 1)
}

func threeRealMasters(t *testing.T, r *real) {
	run := r.verb("run", r.now.tag(), "-v", "--masters", r.ip(1)+","+r.ip(2)+","+r.ip(3), "--nodes", r.ip(4)+","+r.ip(5))
	r.must(t, run...)
	r.whole(t, r.now.version)
	r.votes(t, 3, "node1=True node2=True node3=True node4= node5=")
	r.answers(t, 1, 1, 2, 3, 4, 5)
	r.nothingLeft(t, run...)
	master, agent := r.on(t, 1, "cat /var/lib/rancher/k3s/server/token"), r.on(t, 4, "sed -n 's/^token: //p' /etc/rancher/k3s/config.yaml")
	if agent = strings.TrimSpace(agent); agent == "" || strings.Contains(master, agent) || !strings.Contains(r.on(t, 1, "cat /var/lib/rancher/k3s/server/agent-token"), agent) {
		t.Error("a node has another token than that of nodes")
	}
}

func realNodeGoes(t *testing.T, r *real) {
	r.must(t, r.verb("delete", "--nodes", r.ip(5), "--yes")...)
	r.asFresh(t, 5)
	r.must(t, r.verb("add", "--nodes", r.ip(5), "--yes")...)
	r.whole(t, r.now.version)
	r.answers(t, 1, 1, 2, 3, 4, 5)
}

func realMasterGoes(t *testing.T, r *real) {
	r.must(t, r.verb("delete", "--masters", r.ip(1), "--yes", "-v")...)
	r.asFresh(t, 1)
	r.votes(t, 2, "node2=True node3=True node4= node5=")
	r.on(t, 4, "systemctl restart k3s-agent") // it finds its masters without the first one
	r.must(t, r.verb("add", "--masters", r.ip(1), "--yes")...)
	r.whole(t, r.now.version)
	r.votes(t, 1, "node1=True node2=True node3=True node4= node5=")
	r.answers(t, 1, 1, 2, 3, 4, 5)
}

func realCertificates(t *testing.T, r *real) {
	r.must(t, r.verb("cert", "check")...)
	serial := "openssl x509 -noout -serial -in /var/lib/rancher/k3s/server/tls/serving-kube-apiserver.crt; openssl x509 -noout -serial -in /var/lib/rancher/k3s/agent/client-kubelet.crt"
	before := r.on(t, 1, serial)
	r.must(t, r.verb("cert", "renew", "--yes")...)
	for _, line := range strings.Split(strings.TrimSpace(r.on(t, 1, serial)), "\n") {
		if strings.Contains(before, line) {
			t.Errorf("a certificate is as it was: %s", line)
		}
	}
	r.must(t, r.verb("cert", "check")...)
	r.must(t, r.verb("cert", "add-san", "api.example.com", "203.0.113.7", "--yes")...)
	for h := 1; h <= 3; h++ {
		shown := r.on(t, 4, "openssl s_client -connect "+r.ip(h)+":6443 </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName")
		if !strings.Contains(shown, "DNS:api.example.com") || !strings.Contains(shown, "IP Address:203.0.113.7") {
			t.Errorf("host %d shows %s", h, shown)
		}
	}
	r.must(t, r.verb("cert", "check")...)
	r.must(t, r.verb("cert", "renew", "--ca", "--yes")...)
	r.must(t, r.verb("cert", "check")...)
	r.whole(t, r.now.version)
	r.answers(t, 1, 1, 2, 3, 4, 5)
}

func realBackup(t *testing.T, r *real) {
	file := filepath.Join(r.dir, "backup.tar")
	r.on(t, 1, mark("before"))
	r.must(t, r.verb("backup", "-o", file)...)
	r.on(t, 1, mark("after"))
	r.must(t, r.verb("restore", file, "--yes")...)
	r.whole(t, r.now.version)
	if !r.marked(t, 3, "before") || r.marked(t, 3, "after") {
		t.Error("the data is not that of the backup")
	}
	r.votes(t, 1, "node1=True node2=True node3=True node4= node5=")
	r.answers(t, 1, 1, 2, 3, 4, 5)
}

func realUpgrade(t *testing.T, r *real) {
	if r.next.version == "" {
		t.Skip("NEXT_K3S and NEXT_IMAGES name no release to go to")
	}
	r.on(t, 1, mark("older"))
	up := r.verb("upgrade", r.next.tag(), "--yes", "-v")
	r.must(t, up...)
	r.whole(t, r.next.version)
	r.answers(t, 2, 1, 2, 3, 4, 5)
	r.nothingLeft(t, up...)
	r.on(t, 1, mark("newer"))
	r.must(t, r.verb("rollback", "--yes")...)
	r.whole(t, r.now.version)
	if !r.marked(t, 3, "older") || r.marked(t, 3, "newer") {
		t.Error("the data is not that of before the upgrade")
	}
	r.votes(t, 1, "node1=True node2=True node3=True node4= node5=")
	r.answers(t, 1, 1, 2, 3, 4, 5)
}

func realReset(t *testing.T, r *real) {
	r.must(t, r.verb("reset", "--yes")...)
	r.asFresh(t, 1, 2, 3, 4, 5)
}
