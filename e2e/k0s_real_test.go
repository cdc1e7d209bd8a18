//go:build e2e && k0s

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// k0sRelease is a k0s release that somebody has at hand.
type k0sRelease struct {
	version            string // v1.34.2+k0s.0
	k0s, images, files string // files and a folder; the last two may be ""
}

// tag is the cluster image of the release.
func (r k0sRelease) tag() string {
	v, _, _ := strings.Cut(r.version, "+")
	return "k0s:" + v
}

// namedK0s returns the release whose files variables of the environment name, with
// their names begun like this.
func namedK0s(t *testing.T, prefix string) k0sRelease {
	t.Helper()
	r := k0sRelease{k0s: os.Getenv(prefix + "K0S"), images: os.Getenv(prefix + "IMAGES"), files: os.Getenv(prefix + "FILES")}
	if r.k0s == "" || r.images == "" && r.files == "" {
		t.Fatalf("%[1]sK0S and %[1]sIMAGES are not set: make e2e-k0s K0S=/path/to/k0s IMAGES=/path/to/k0s-airgap-bundle", prefix)
	}
	said, err := exec.CommandContext(t.Context(), r.k0s, "version").Output()
	if err != nil {
		t.Fatalf("%s version: %v", r.k0s, err)
	}
	r.version = strings.TrimSpace(string(said))
	if !regexp.MustCompile(`^v\d+\.\d+\.\d+\+k0s`).MatchString(r.version) {
		t.Fatalf("%s version says %q, which is no version of k0s", r.k0s, said)
	}
	return r
}

// realK0s is a bed for clusters of real k0s.
type realK0s struct {
	*playground
	now, next   k0sRelease // next has no version where there is none
	clusterfile string
}

// TestRealK0s leads clusters of a release of k0s through their life. It needs the
// release, and so it has a tag of its own: make e2e-k0s.
func TestRealK0s(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	r := &realK0s{now: namedK0s(t, "")}
	if os.Getenv("NEXT_K0S") != "" {
		r.next = namedK0s(t, "NEXT_")
	}
	r.playground = bed(t, "rk0", "10.106.0")
	r.must(t, r.nodes("up", "5")...)
	r.must(t, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(r.dir, "bin", "sealrt"), "../cmd/sealrt")
	r.clusterfile = r.patient(t)
	for _, rel := range []k0sRelease{r.now, r.next} {
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
		test func(*testing.T, *realK0s)
	}{
		{"OneMaster", oneRealK0s},
		{"ThreeMastersAndTwoNodes", threeRealK0s},
		{"NodeGoesAndComesAgain", realK0sNode},
		{"FirstMasterGoesAndComesAgain", realK0sMaster},
		{"DeadMasterIsForgottenAndComesAgain", realK0sDead},
		{"Certificates", realK0sCertificates},
		{"BackupAndRestore", realK0sBackup},
		{"UpgradeAndRollback", realK0sUpgrade},
		{"ResetLeavesNothing", realK0sReset},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, r) }) {
			for h := 1; h <= 5; h++ {
				_, _ = r.command(t, r.nodes("ssh", fmt.Sprint(h), "journalctl -u 'k0s*' --no-pager -n 40 -o cat | cut -c 1-400")...)
			}
			return
		}
	}
}

// build makes the cluster image of a release: first to learn which images the
// release has, then with an app of one of them. Without Envoy among them nodes
// reach masters by a load balancer, which is this test then.
func (r *realK0s) build(t *testing.T, rel k0sRelease) {
	t.Helper()
	dir := filepath.Join(r.dir, "image-"+rel.version)
	if err := os.CopyFS(dir, os.DirFS("k0s")); err != nil {
		t.Fatal(err)
	}
	add(t, rel.k0s, filepath.Join(dir, "bin", "k0s"), 0o755)
	if rel.images != "" {
		add(t, rel.images, filepath.Join(dir, "images", filepath.Base(rel.images)), 0o644)
	}
	if rel.files != "" {
		r.must(t, "cp", "-a", rel.files+"/.", dir)
	}
	build := r.sealrt("build", "-t", rel.tag(), "--build-arg", "K0S_VERSION="+rel.version, dir)
	r.must(t, build...)
	inside := r.must(t, r.sealrt("inspect", rel.tag())...)
	found := regexp.MustCompile(`(?m)^inside +(\S*coredns\S*:\S+)`).FindStringSubmatch(inside)
	if found == nil {
		t.Fatalf("%s has no image of CoreDNS, which the test runs", rel.tag())
	}
	text, err := os.ReadFile("k3s/manifests/app.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text = []byte(strings.Replace(string(text), "IMAGE", found[1], 1))
	if err := os.MkdirAll(filepath.Join(dir, "manifests"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "manifests", "app.yaml"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	r.must(t, build...)
	if rel == r.now && !strings.Contains(inside, "envoy-distroless") {
		r.endpoint(t)
	}
}

// endpoint puts a load balancer before the masters, and into the Clusterfile.
func (r *realK0s) endpoint(t *testing.T) {
	t.Helper()
	at := r.net + ".1"
	balance(t, at, []string{r.ip(1), r.ip(2), r.ip(3)}, 6443, 8132, 9443)
	text, err := os.ReadFile(r.clusterfile)
	if err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(string(text), "spec: {", "spec: {endpoint: \""+at+":6443\", ", 1)
	if err := os.WriteFile(r.clusterfile, []byte(with), 0o600); err != nil {
		t.Fatal(err)
	}
}

// on runs a command on a host. kubectl keeps what it learnt where no listing looks.
func (r *realK0s) on(t *testing.T, host int, command string) string {
	t.Helper()
	return r.playground.on(t, host, "export KUBECACHEDIR=/tmp/kubectl; "+command)
}

// answers checks that the app runs on every host, with an image that no registry
// was asked for, and that every host reaches its Service.
func (r *realK0s) answers(t *testing.T, acting int, hosts ...int) {
	t.Helper()
	r.on(t, acting, "k0s kubectl rollout status daemonset/app --timeout=180s; k0s kubectl get pods -A -o wide")
	if ready := r.on(t, acting, "k0s kubectl get daemonset app -o 'jsonpath={.status.numberReady}'"); ready != fmt.Sprint(len(hosts)) {
		// as when this machine's disk is nearly full: kubelets say so in events
		r.on(t, acting, "k0s kubectl get events -A --field-selector type=Warning --sort-by=.lastTimestamp | tail -n 20")
		t.Fatalf("the app runs on %s hosts, want %d", ready, len(hosts))
	}
	at := r.on(t, acting, "k0s kubectl get service app -o 'jsonpath={.spec.clusterIP}'")
	for _, h := range hosts {
		// the rules of the Service come to a host a moment later
		if got := r.on(t, h, "curl -sS -m 5 --retry 10 --retry-all-errors http://"+at+":8080/health"); got != "OK" {
			t.Errorf("on host %d the Service says %q", h, got)
		}
	}
}

// votes checks which masters are members of etcd.
func (r *realK0s) votes(t *testing.T, acting int, masters ...int) {
	t.Helper()
	got := r.on(t, acting, "k0s etcd member-list 2>/dev/null")
	for h := 1; h <= 5; h++ {
		want := false
		for _, m := range masters {
			want = want || m == h
		}
		if is := strings.Contains(got, r.ip(h)+":2380"); is != want {
			t.Errorf("host %d is a member: %v, want %v: %s", h, is, want, got)
		}
	}
}

// nothingLeft checks that a command has nothing left to do.
func (r *realK0s) nothingLeft(t *testing.T, argv ...string) {
	t.Helper()
	if left := r.must(t, append(argv, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}
