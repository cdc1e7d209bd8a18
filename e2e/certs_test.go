//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certFound is a certificate as `cert check -o json` tells it.
type certFound struct {
	Host, Source, Endpoint, Fingerprint, State string
	Names                                      []string
	CA                                         bool
}

// checked asks for all certificates; one that is not well is an error there, which
// is returned.
func (p *playground) checked(t *testing.T, more ...string) ([]certFound, error) {
	t.Helper()
	out, failed := p.command(t, p.verb(append([]string{"cert", "check", "-o", "json"}, more...)...)...)
	var list []certFound
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return list, failed
}

// printsOf are the fingerprints of what hosts have, by where it is; of CAs where
// these are asked for.
func printsOf(list []certFound, ca bool) map[string]string {
	out := map[string]string{}
	for _, c := range list {
		if c.CA == ca && !strings.Contains(c.Source, "/sealrt/") && c.Endpoint != "image-service" {
			out[c.Host+" "+c.Endpoint+" "+c.Source] = c.Fingerprint
		}
	}
	return out
}

// others are those of a reading that the one before had not.
func others(before, now map[string]string) int {
	n := 0
	for at, print := range now {
		if before[at] != print {
			n++
		}
	}
	return n
}

// is checks the state that is told of a certificate.
func is(t *testing.T, list []certFound, host, source, want string) {
	t.Helper()
	for _, c := range list {
		if c.Host == host && (c.Source == source || c.Endpoint == source) {
			if c.State != want {
				t.Errorf("%s of %s is %q, want %q", source, host, c.State, want)
			}
			return
		}
	}
	t.Errorf("nothing is told of %s of %s", source, host)
}

// expired is a certificate that has ended, in PEM.
func expired(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().AddDate(-2, 0, 0), NotAfter: time.Now().AddDate(-1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func certificatesAreChecked(t *testing.T, p *playground) {
	table := p.must(t, p.verb("cert", "check")...)
	for _, line := range []string{"API at " + p.ip(2) + ":6443", "kubelet at " + p.ip(4) + ":10250", "etcd at " + p.ip(3) + ":2379", "etcd-peer at " + p.ip(1) + ":2380", "/server/tls/client-ca.crt", "this machine"} {
		if !strings.Contains(table, line) {
			t.Errorf("%q is not in %s", line, table)
		}
	}
	if list, err := p.checked(t); err != nil || len(list) < 3*20 {
		t.Errorf("%d certificates, %v", len(list), err)
	}
	if _, err := p.checked(t, "--warn-days", "400"); err == nil {
		t.Error("what ends within 400 days is well within 400 days")
	}

	// a kubelet that goes on with what it read, beside a certificate that has ended
	own := "/var/lib/rancher/k3s/agent/serving-kubelet.crt"
	old := filepath.Join(p.dir, "old.crt")
	if err := os.WriteFile(old, expired(t), 0o600); err != nil {
		t.Fatal(err)
	}
	p.on(t, 4, "cp -a "+own+" /root/kept.crt")
	p.must(t, p.verb("scp", old, own, "--host", p.ip(4))...)
	list, err := p.checked(t)
	if err == nil || !strings.Contains(err.Error(), "2 certificates not well") {
		t.Errorf("error is %v", err)
	}
	is(t, list, p.ip(4), own, "expired")
	is(t, list, p.ip(4), "kubelet", "stale")
	is(t, list, p.ip(1), "kubelet", "ok")
	p.on(t, 4, "mv /root/kept.crt "+own)
}

// pod starts a process among those of a service, as a pod is, on a host.
const pod = `sleep 100000 <&- >&- 2>&- & echo $! >/sys/fs/cgroup/systemd/system.slice/$UNIT.service/cgroup.procs; echo $! >/root/pod`

func certificatesAreRenewed(t *testing.T, p *playground) {
	p.on(t, 2, strings.Replace(pod, "$UNIT", "k3s", 1))
	p.on(t, 4, strings.Replace(pod, "$UNIT", "k3s-agent", 1))
	before, err := p.checked(t)
	if err != nil {
		t.Fatal(err)
	}
	p.fails(t, "whose CAs cannot be rotated", p.verb("cert", "renew", "--ca", "--yes")...)
	renew := p.verb("cert", "renew", "--yes")
	p.must(t, p.verb("cert", "renew", "--dry-run")...)
	if same, _ := p.checked(t); others(printsOf(before, false), printsOf(same, false)) > 0 {
		t.Error("a dry run renews certificates")
	}
	p.endure(t, renew, []string{p.ip(2) + " rotate certificates", p.ip(3) + " serving new certificates", p.ip(1) + " certificates: start", p.ip(4) + " certificates: restart"}, p.kill)
	now, err := p.checked(t)
	if err != nil {
		t.Error(err)
	}
	was, is := printsOf(before, false), printsOf(now, false)
	if n := others(was, is); n != len(is) || n < 3*15 {
		t.Errorf("%d of %d certificates are others", n, len(is))
	}
	if n := others(printsOf(before, true), printsOf(now, true)); n > 0 {
		t.Errorf("%d CAs are others", n)
	}
	for _, host := range []int{2, 4} {
		p.on(t, host, "test $(cat /proc/$(cat /root/pod)/comm) = sleep") // pods go on
		p.on(t, host, "kill $(cat /root/pod); rm /root/pod")
	}
	p.reaches(t)
}

// reaches checks that the kubeconfig on this machine leads to the cluster.
func (p *playground) reaches(t *testing.T) {
	t.Helper()
	k3s := filepath.Join(p.dir, "image-"+oldVersion, "bin", "k3s")
	if got := p.must(t, k3s, "kubectl", "--kubeconfig", filepath.Join(p.dir, "home", ".sealrt", "clusters", "default", "kubeconfig"), "get", "nodes", "-o", "json"); !strings.Contains(got, "node4") {
		t.Errorf("by the kubeconfig: %s", got)
	}
}

func namesAreAdded(t *testing.T, p *playground) {
	add := p.verb("cert", "add-san", "api.example.com", "203.0.113.7")
	if plan := p.must(t, append(add, "--dry-run")...); !strings.Contains(plan, "restarts because /etc/rancher/k3s/config.yaml changes") {
		t.Errorf("the plan is %s", plan)
	}
	p.must(t, append(add, "--yes")...)
	for host := 1; host <= 3; host++ {
		conn, err := tls.Dial("tcp", net.JoinHostPort(p.ip(host), "6443"), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // what is shown is the question
		if err != nil {
			t.Fatal(err)
		}
		shown := conn.ConnectionState().PeerCertificates[0]
		for _, name := range []string{"api.example.com", "203.0.113.7", p.ip(host)} {
			if err := shown.VerifyHostname(name); err != nil {
				t.Errorf("host %d: %v", host, err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	if file := p.must(t, p.sealrt("gen", "--cluster", "default")...); !strings.Contains(file, "tlsSANs: [api.example.com, 203.0.113.7]") {
		t.Errorf("the Clusterfile is %s", file)
	}
	if left := p.must(t, append(add, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

// newCAsAndTheWayBehindThem rotates the CAs where the version can, and goes back to
// before.
func newCAsAndTheWayBehindThem(t *testing.T, p *playground) {
	before, err := p.checked(t)
	if err != nil {
		t.Fatal(err)
	}
	p.must(t, p.verb("upgrade", image(newVersion), "--yes")...)
	p.on(t, 1, mark("newer"))
	p.fails(t, "runs "+newVersion, p.verb("restore", p.backupFile(), "--yes")...)
	p.endure(t, p.verb("cert", "renew", "--ca", "--yes"), []string{p.ip(1) + " rotate CAs", p.ip(1) + " rotate certificates"}, p.kill)
	p.stands(t, newVersion, everybody)
	now, err := p.checked(t)
	if err != nil {
		t.Error(err)
	}
	was, is := printsOf(before, true), printsOf(now, true)
	if n := others(was, is); n != len(is) || n < 3*5 {
		t.Errorf("%d of %d CAs are others", n, len(is))
	}
	p.reaches(t)
	if got := p.on(t, 1, "ls /var/lib/sealrt/scratch/k3s"); strings.Contains(got, "rotate-ca") {
		t.Errorf("keys are left: %s", got)
	}

	p.must(t, p.verb("rollback", "--yes")...)
	p.stands(t, oldVersion, everybody)
	p.marked(t, 3, "before", "newer")
	back, err := p.checked(t)
	if err != nil {
		t.Error(err)
	}
	if n := others(was, printsOf(back, true)); n > 0 {
		t.Errorf("%d CAs are not those of before", n)
	}
	p.reaches(t)
	p.fails(t, "no upgrade is known", p.verb("rollback", "--yes")...)
}
