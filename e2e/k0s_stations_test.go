//go:build e2e && k0s

package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func oneRealK0s(t *testing.T, r *realK0s) {
	run := r.verb("run", r.now.tag(), "-f", r.clusterfile, "--masters", r.ip(1))
	r.must(t, run...)
	r.stands(t, kubelet(r.now.version), "master node1")
	r.answers(t, 1, 1)
	r.must(t, r.verb("cert", "check")...)
	r.nothingLeft(t, run...)
	r.must(t, r.verb("reset", "--yes")...)
	r.asFreshOfK0s(t, 1)
}

// five checks a cluster of all hosts, in whatever order they came. Host 2 is a
// master in all stations.
func (r *realK0s) five(t *testing.T, version string) {
	t.Helper()
	hosts := r.hosts(t, kubelet(version))
	slices.Sort(hosts)
	if got, want := strings.Join(hosts, ", "), "master node1, master node2, master node3, node node4, node node5"; got != want {
		t.Errorf("hosts are %s\nwant      %s", got, want)
	}
	r.votes(t, 2, 1, 2, 3)
	r.answers(t, 2, 1, 2, 3, 4, 5)
}

func threeRealK0s(t *testing.T, r *realK0s) {
	run := r.verb("run", r.now.tag(), "-v", "-f", r.clusterfile, "--masters", r.ip(1)+","+r.ip(2)+","+r.ip(3), "--nodes", r.ip(4)+","+r.ip(5))
	r.must(t, run...)
	r.five(t, r.now.version)
	r.nothingLeft(t, run...)
	r.tokensAreGone(t, 1, 2, 3, 4, 5)
}

func realK0sNode(t *testing.T, r *realK0s) {
	r.must(t, r.verb("delete", "--nodes", r.ip(5), "--yes")...)
	r.asFreshOfK0s(t, 5)
	r.must(t, r.verb("add", "--nodes", r.ip(5), "--yes")...)
	r.five(t, r.now.version)
}

func realK0sMaster(t *testing.T, r *realK0s) {
	r.must(t, r.verb("delete", "--masters", r.ip(1), "--yes", "-v")...)
	r.asFreshOfK0s(t, 1)
	r.votes(t, 2, 2, 3)
	r.on(t, 4, "systemctl restart k0sworker") // it finds its masters without the first one
	r.must(t, r.verb("add", "--masters", r.ip(1), "--yes")...)
	r.five(t, r.now.version)
	r.tokensAreGone(t, 2, 1, 3, 4, 5)
}

func realK0sDead(t *testing.T, r *realK0s) {
	r.must(t, r.nodes("kill", "3")...)
	r.must(t, r.verb("delete", "--masters", r.ip(3), "--yes", "--force", "-v")...)
	r.votes(t, 2, 1, 2)
	r.must(t, r.nodes("reset", "3")...)
	r.must(t, "sed", "-i", "/^"+r.ip(3)+" /d", filepath.Join(r.dir, "home", ".sealrt", "clusters", "default", "known_hosts"))
	r.must(t, r.verb("add", "--masters", r.ip(3), "--yes")...)
	r.five(t, r.now.version)
}

func realK0sCertificates(t *testing.T, r *realK0s) {
	r.must(t, r.verb("cert", "check")...)
	serial := "openssl x509 -noout -serial -in /var/lib/k0s/pki/server.crt; openssl x509 -noout -serial -in /var/lib/k0s/kubelet/pki/kubelet-server-current.pem"
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
	r.five(t, r.now.version)
}

func realK0sBackup(t *testing.T, r *realK0s) {
	file := filepath.Join(r.dir, "backup.tar")
	r.on(t, 2, fmt.Sprintf(k0sMark, "before"))
	r.must(t, r.verb("backup", "-o", file)...)
	r.on(t, 2, fmt.Sprintf(k0sMark, "after"))
	r.must(t, r.verb("restore", file, "--yes", "-v")...)
	r.five(t, r.now.version)
	if !k0sMarked(t, r.playground, 3, "before") || k0sMarked(t, r.playground, 3, "after") {
		t.Error("the data is not that of the backup")
	}
	r.tokensAreGone(t, 2, 1, 3, 4, 5)
}

func realK0sUpgrade(t *testing.T, r *realK0s) {
	if r.next.version == "" {
		t.Skip("NEXT_K0S and NEXT_IMAGES name no release to go to")
	}
	r.on(t, 2, fmt.Sprintf(k0sMark, "older"))
	up := r.verb("upgrade", r.next.tag(), "--yes", "-v")
	r.must(t, up...)
	r.five(t, r.next.version)
	r.nothingLeft(t, up...)
	r.on(t, 2, fmt.Sprintf(k0sMark, "newer"))
	r.must(t, r.verb("rollback", "--yes", "-v")...)
	r.five(t, r.now.version)
	if !k0sMarked(t, r.playground, 3, "older") || k0sMarked(t, r.playground, 3, "newer") {
		t.Error("the data is not that of before the upgrade")
	}
}

func realK0sReset(t *testing.T, r *realK0s) {
	r.must(t, r.verb("reset", "--yes")...)
	r.asFreshOfK0s(t, 1, 2, 3, 4, 5)
}
