//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestInstalledByTheImagesScript installs with the script of an image, moves to
// an image that has none, and takes hosts out by the scripts that either left;
// what is the user's stays.
func TestInstalledByTheImagesScript(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	p := newPlayground(t, 3)
	for _, station := range []struct {
		name string
		test func(*testing.T, *playground)
	}{
		{"ScriptMakesTheServiceAndNothingLeaksIn", scriptMakesTheService},
		{"WhatIsChangedIsMadeAgain", whatTheScriptMadeIsMended},
		{"UsersThingsOutliveANode", usersThingsOutliveANode},
		{"BudgetThatKeepsAPodIsNamed", budgetThatKeepsAPod},
		{"OwnScriptsTakeOver", ownScriptsTakeOver},
		{"HostThatIsStuckIsTakenOut", hostThatIsStuck},
		{"ResetLeavesNothing", func(t *testing.T, p *playground) {
			p.must(t, p.verb("reset", "--yes", "-v")...)
			p.asFresh(t, 1, 2)
		}},
	} {
		if !t.Run(station.name, func(t *testing.T) { station.test(t, p) }) {
			p.complain(t)
			return
		}
	}
}

// says checks what a command on a host prints.
func (p *playground) says(t *testing.T, host int, command, want string) {
	t.Helper()
	if got := p.on(t, host, command); got != want {
		t.Errorf("host %d: %s: %q, want %q", host, command, got, want)
	}
}

// scripts lists those that a host of k3s has.
func scripts(unit string) string {
	names := []string{"/usr/local/bin/k3s-killall.sh\n", "/usr/local/bin/" + unit + "-uninstall.sh\n"}
	slices.Sort(names)
	return strings.Join(names, "")
}

func scriptMakesTheService(t *testing.T, p *playground) {
	for _, h := range []int{1, 2} { // what root has in every session
		p.on(t, h, "cp /etc/environment /root/environment 2>/dev/null; printf 'K3S_URL=https://nowhere\\nHTTP_PROXY=http://nowhere\\n' >>/etc/environment")
	}
	file := filepath.Join(p.dir, "Clusterfile")
	if err := os.WriteFile(file, []byte("apiVersion: sealrt.io/v1\nkind: Cluster\nspec: {env: {K3S_NAMED: \"yes\"}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := p.verb("run", image(oldVersion), "-f", file, "--masters", p.ip(1), "--nodes", p.ip(2))
	p.must(t, run...)
	for _, h := range []int{1, 2} {
		p.on(t, h, "if [ -e /root/environment ]; then mv /root/environment /etc/environment; else rm /etc/environment; fi")
	}
	p.stands(t, oldVersion, "master node1, node node2")
	for h, unit := range map[int]string{1: "k3s", 2: "k3s-agent"} {
		p.says(t, h, "grep Description /etc/systemd/system/"+unit+".service; grep -v '^#' /etc/systemd/system/"+unit+".service.env; stat -c %a /etc/systemd/system/"+unit+".service.env",
			"Description=k3s, by its own script\nK3S_NAMED=\"yes\"\n600\n")
		p.says(t, h, "readlink /usr/local/bin/kubectl /usr/local/bin/crictl /usr/local/bin/ctr; ls /usr/local/bin/*.sh",
			"k3s\nk3s\nk3s\n"+scripts(unit))
	}
	p.says(t, 1, "kubectl get configmap greeting -n kube-system -o 'jsonpath={.data.greeting}'", "hello")
	if left := p.must(t, append(run, "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
}

func whatTheScriptMadeIsMended(t *testing.T, p *playground) {
	p.on(t, 2, "echo >>/etc/systemd/system/k3s-agent.service; rm /usr/local/bin/crictl /usr/local/bin/k3s-killall.sh")
	p.must(t, p.verb("doctor", "--heal")...)
	p.says(t, 2, "systemctl is-enabled k3s-agent; systemctl is-active k3s-agent; tail -n 1 /etc/systemd/system/k3s-agent.service; readlink /usr/local/bin/crictl; test -x /usr/local/bin/k3s-killall.sh; grep -c NAMED /etc/systemd/system/k3s-agent.service.env",
		"enabled\nactive\nExecStart=/usr/local/bin/k3s agent\nk3s\n1\n")
}

func usersThingsOutliveANode(t *testing.T, p *playground) {
	// a program and a link by names of k3s' own, a service called like one of k3s, and a package manager that would take the policy away
	p.on(t, 2, `rm /usr/local/bin/kubectl /usr/local/bin/ctr
		printf '#!/bin/sh\n' >/usr/local/bin/kubectl; chmod 755 /usr/local/bin/kubectl; ln -s /opt/ctr /usr/local/bin/ctr
		printf '#!/bin/sh\ntouch /root/removed\n' >/usr/local/bin/yum; chmod 755 /usr/local/bin/yum
		printf '[Service]\nExecStart=/bin/sleep infinity\n' >/etc/systemd/system/k3s-theirs.service; systemctl daemon-reload; systemctl start k3s-theirs
		mkdir -p /srv/theirs /var/lib/kubelet/theirs; touch /srv/theirs/data; mount --bind /srv/theirs /var/lib/kubelet/theirs`)
	p.on(t, 2, "sed -i '2i touch /root/uninstalled' /usr/local/bin/k3s-agent-uninstall.sh")
	p.must(t, p.verb("delete", "--nodes", p.ip(2), "--yes")...)
	p.says(t, 2, "cat /usr/local/bin/kubectl; readlink /usr/local/bin/ctr; ls /root; ls /srv/theirs; systemctl is-active k3s-theirs", "#!/bin/sh\n/opt/ctr\nuninstalled\ndata\nactive\n")
	p.on(t, 2, "systemctl stop k3s-theirs; rm -r /etc/systemd/system/k3s-theirs.service /root/uninstalled /usr/local/bin/kubectl /usr/local/bin/ctr /usr/local/bin/yum /srv/theirs; systemctl daemon-reload")
	p.asFresh(t, 2)
	p.must(t, p.verb("add", "--nodes", p.ip(2), "--yes")...)
	p.stands(t, oldVersion, "master node1, node node2")
}

func budgetThatKeepsAPod(t *testing.T, p *playground) {
	p.on(t, 1, `printf 'apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: precious, namespace: default}\nspec: {selector: {matchLabels: {app: web}}}\nstatus: {disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1}\n' | k3s kubectl apply --server-side -f -
		printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: web-1, namespace: default, labels: {app: web}}\nspec: {nodeName: node2}\n' | k3s kubectl apply --server-side -f -`)
	said := p.fails(t, "default/precious keeps web-1", p.verb("delete", "--nodes", p.ip(2), "--yes")...)
	if !strings.Contains(said, "--force") {
		t.Errorf("it does not say how to go on: %s", said)
	}
	p.on(t, 1, "k3s kubectl delete pdb precious; k3s kubectl delete pod web-1; k3s kubectl uncordon node2")
}

func ownScriptsTakeOver(t *testing.T, p *playground) {
	p.must(t, p.verb("upgrade", image(newVersion), "--yes")...)
	p.stands(t, newVersion, "master node1, node node2")
	for h, unit := range map[int]string{1: "k3s", 2: "k3s-agent"} {
		p.says(t, h, "grep Description /etc/systemd/system/"+unit+".service; grep -v '^#' /etc/systemd/system/"+unit+".service.env; systemctl is-enabled "+unit+"; grep -l 'Written by sealrt' /usr/local/bin/*.sh",
			"Description=Lightweight Kubernetes\nK3S_NAMED=\"yes\"\nenabled\n"+scripts(unit))
	}
	p.on(t, 2, "k3s-killall.sh && ! systemctl is-active k3s-agent && ! ip link show cni0 2>/dev/null && ! iptables-save | grep KUBE- && systemctl start k3s-agent")
}

func hostThatIsStuck(t *testing.T, p *playground) {
	p.on(t, 2, "printf '#!/bin/sh\\necho it is stuck\\nexit 3\\n' >/usr/local/bin/k3s-agent-uninstall.sh")
	p.fails(t, "it is stuck", p.verb("delete", "--nodes", p.ip(2), "--yes")...)
	p.must(t, p.verb("delete", "--nodes", p.ip(2), "--yes", "--force")...)
	p.asFresh(t, 2)
	p.must(t, p.verb("add", "--nodes", p.ip(2), "--yes")...)
}

// TestHostsThatOpenRCRuns leads a cluster through its life on hosts that have
// Debian's OpenRC and seem to have been booted by it. With NODES_EXTRA_PKGS the
// image of the hosts is another one than that of the other tests.
func TestHostsThatOpenRCRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: hosts are made of namespaces")
	}
	t.Setenv("NODES_EXTRA_PKGS", "openrc")
	p := newPlayground(t, 3)
	for h := 1; h <= 3; h++ {
		p.on(t, h, "mv /run/systemd/system /run/systemd/away; cd /run; for dir in daemons exclusive failed inactive options scheduled started starting stopping tmp; do mkdir -p openrc/$dir; done; echo default >openrc/softlevel; rc-service cgroups start")
	}
	p.fresh = p.listing(t, 3)
	p.must(t, p.verb("run", image(newVersion), "--masters", p.ip(1), "--nodes", p.ip(2))...)
	p.stands(t, newVersion, "master node1, node node2")
	for h, unit := range map[int]string{1: "k3s", 2: "k3s-agent"} {
		p.on(t, h, "rc-service "+unit+" status && rc-service sealrt-registry status && test -L /etc/runlevels/default/"+unit+" && test -f /etc/rancher/k3s/"+unit+".env && test -s /var/log/"+unit+".log")
	}
	if left := p.must(t, append(p.verb("run", image(newVersion), "--masters", p.ip(1), "--nodes", p.ip(2)), "--dry-run")...); left != "" {
		t.Errorf("left to do: %s", left)
	}
	p.on(t, 2, "rc-service k3s-agent stop; rc-update delete k3s-agent default")
	p.must(t, p.verb("doctor", "--heal")...)
	p.on(t, 2, "rc-service k3s-agent status && test -L /etc/runlevels/default/k3s-agent")
	p.must(t, p.verb("delete", "--nodes", p.ip(2), "--yes")...)
	p.asFresh(t, 2)
	p.must(t, p.verb("add", "--nodes", p.ip(2), "--yes")...)
	p.must(t, p.verb("cert", "renew", "--yes")...)
	p.stands(t, newVersion, "master node1, node node2")
	p.must(t, p.verb("reset", "--yes")...)
	p.asFresh(t, 1, 2)
}
