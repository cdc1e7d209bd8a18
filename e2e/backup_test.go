//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Commands that make an object in the cluster, and list those that are there.
const (
	makeMark = "printf 'apiVersion: v1\\nkind: ConfigMap\\nmetadata: {name: %s}\\n' | k3s kubectl apply -f -"
	listMark = "k3s kubectl get configmap -o json"
)

func mark(name string) string { return strings.Replace(makeMark, "%s", name, 1) }

// marked checks which objects are in the cluster, as a host says.
func (p *playground) marked(t *testing.T, host int, there, gone string) {
	t.Helper()
	list := p.on(t, host, listMark)
	if !strings.Contains(list, `"name": "`+there+`"`) || strings.Contains(list, `"name": "`+gone+`"`) {
		t.Errorf("the data has %s\nwant %s and not %s", list, there, gone)
	}
}

// everybody are the hosts of the cluster that comes back.
const everybody = "master node1, master node2, master node3, node node4"

// TestClusterComesBack looks after a cluster of three masters and a node: its
// certificates, its data, and the way behind an upgrade.
func TestClusterComesBack(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newPlayground(t, 4)
	for _, s := range []station{
		{"ItIsMade", threeMastersAndANode},
		{"CertificatesAreChecked", certificatesAreChecked},
		{"CertificatesAreRenewedHostAfterHost", certificatesAreRenewed},
		{"NamesAreAdded", namesAreAdded},
		{"DataComesBack", dataComesBack},
		{"DamagedOrForeignDataIsRefused", foreignDataIsRefused},
		{"DiskOfTheClientIsFull", diskOfTheClientIsFull},
		{"UpgradeThatStoppedHalfWayIsTakenBack", halfAnUpgradeIsTakenBack},
		{"NewCAsAndTheWayBehindThem", newCAsAndTheWayBehindThem},
		{"OnOtherHosts", dataComesToOtherHosts},
	} {
		if !t.Run(s.name, func(t *testing.T) { s.test(t, p) }) {
			p.complain(t)
			return
		}
	}
}

func threeMastersAndANode(t *testing.T, p *playground) {
	p.must(t, p.verb("run", image(oldVersion), "-f", p.patient(t), "--masters", p.ip(1)+","+p.ip(2)+","+p.ip(3), "--nodes", p.ip(4))...)
	p.on(t, 1, mark("before"))
}

// backupFile is where the backup of the cluster is.
func (p *playground) backupFile() string { return filepath.Join(p.dir, "default.backup.tar") }

func dataComesBack(t *testing.T, p *playground) {
	p.must(t, p.verb("backup", "-o", p.backupFile())...)
	if fi, err := os.Stat(p.backupFile()); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", fi, err)
	}
	if held := p.must(t, "tar", "-tf", p.backupFile()); !strings.Contains(held, "\ndata/token\n") || !strings.Contains(held, "\ndata/etcd/sealrt-") { // R24
		t.Errorf("it holds %s", held)
	}
	if got := p.on(t, 1, "ls /var/lib/sealrt/scratch"); strings.Contains(got, "backup") {
		t.Errorf("left on the host: %s", got)
	}
	p.on(t, 1, mark("after"))
	p.endure(t, p.verb("restore", p.backupFile(), "--yes"), []string{
		p.ip(3) + " halt network", p.ip(1) + " restore", p.ip(1) + " service k3s", p.ip(2) + " rejoin", p.ip(4) + " service k3s-agent",
	}, p.kill)
	p.stands(t, oldVersion, everybody)
	p.marked(t, 2, "before", "after")
	p.fails(t, "no upgrade is known", p.verb("rollback", "--yes")...)
}

func foreignDataIsRefused(t *testing.T, p *playground) {
	whole, err := os.ReadFile(p.backupFile())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(p.dir, "damaged")
	for want, raw := range map[string][]byte{
		"it is cut off": whole[:len(whole)*2/3],
		"is damaged":    []byte(strings.Replace(string(whole), "::server:", "::Server:", 1)),
		"is no backup":  []byte("hello"),
	} {
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		p.fails(t, want, p.verb("restore", file, "--yes")...)
	}
	p.fails(t, "not of shop", p.verb("restore", p.backupFile(), "--cluster", "shop", "--yes")...)
}

// diskOfTheClientIsFull finds no room for a backup in the middle of it.
func diskOfTheClientIsFull(t *testing.T, p *playground) {
	full := filepath.Join(p.dir, "full")
	if err := os.Mkdir(full, 0o700); err != nil {
		t.Fatal(err)
	}
	p.must(t, "mount", "-t", "tmpfs", "-o", "size=72k", "none", full)
	defer p.must(t, "umount", full)
	p.fails(t, "no space left on device", p.verb("backup", "-o", filepath.Join(full, "backup.tar"))...)
	if left, err := os.ReadDir(full); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if got := p.on(t, 1, "ls /var/lib/sealrt/scratch"); strings.Contains(got, "backup") {
		t.Errorf("left on the host: %s", got)
	}
}

// halfAnUpgradeIsTakenBack loses a master in the middle of an upgrade.
func halfAnUpgradeIsTakenBack(t *testing.T, p *playground) {
	up := p.verb("upgrade", image(newVersion), "--yes")
	_, err := p.suffer(t, up, func(line told, _ *os.Process) {
		if line.Host == p.ip(3) && line.Step == "service k3s" {
			p.must(t, p.nodes("kill", "3")...)
		}
	})
	if err == nil {
		t.Fatal("the upgrade ended well without a master")
	}
	p.fails(t, "an upgrade needs all hosts", up...)
	p.fails(t, "all hosts have to stop", p.verb("rollback", "--yes")...)
	p.must(t, p.nodes("start", "3")...)
	p.on(t, 1, "k3s --version | grep -F "+oldVersion)
	p.on(t, 2, "k3s --version | grep -F "+newVersion)
	p.must(t, p.verb("rollback", "--yes")...)
	p.stands(t, oldVersion, everybody)
	p.marked(t, 3, "before", "after")
}

func dataComesToOtherHosts(t *testing.T, p *playground) {
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1, 2, 3, 4)
	p.must(t, p.verb("restore", p.backupFile(), "--masters", p.ip(4), "--nodes", p.ip(2), "--yes")...)
	p.stands(t, oldVersion, "master node4, node node2")
	p.marked(t, 4, "before", "after")
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 2, 4)
}
