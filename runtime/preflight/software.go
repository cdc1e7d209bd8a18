package preflight

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// software is something that is not sealrt's and that a distribution may not
// bear beside it. It is never stopped or altered.
type software struct {
	name  string
	units []string // of systemd
	paths []string // sockets and data
	bins  []string // programs
}

// installed are the kinds that are looked for on every host.
func installed() []software {
	return []software{
		{"docker", []string{"docker"}, []string{"/run/docker.sock"}, []string{"dockerd"}},
		{"containerd", []string{"containerd"}, []string{"/run/containerd/containerd.sock"}, []string{"containerd"}},
		{"k3s", []string{"k3s", "k3s-agent"}, []string{"/run/k3s/containerd/containerd.sock", "/var/lib/rancher/k3s/server", "/var/lib/rancher/k3s/agent"}, []string{"k3s"}},
		{"rke2", []string{"rke2-server", "rke2-agent"}, []string{"/var/lib/rancher/rke2"}, []string{"rke2"}},
		{"k0s", []string{"k0scontroller", "k0sworker"}, []string{"/var/lib/k0s"}, []string{"k0s"}},
		{"kubelet", []string{"kubelet"}, []string{"/var/lib/kubelet/config.yaml", "/etc/kubernetes/kubelet.conf"}, []string{"kubelet"}},
		{"microk8s", []string{"snap.microk8s.daemon-kubelite"}, []string{"/var/snap/microk8s"}, nil},
	}
}

// Units that are asked about beside those of the software.
const (
	unitFirewalld  = "firewalld"
	unitCloudSetup = "nm-cloud-setup.timer"
)

func units() []string {
	all := []string{unitFirewalld, unitCloudSetup}
	for _, s := range installed() {
		all = append(all, s.units...)
	}
	return all
}

// programs returns where a program of the path may lie.
func programs(names []string) []string {
	var all []string
	for _, dir := range []string{"/usr/local/bin", "/usr/local/sbin", "/usr/bin", "/usr/sbin", "/opt/bin", "/snap/bin"} {
		for _, n := range names {
			all = append(all, path.Join(dir, n))
		}
	}
	return all
}

func softwarePaths() []string {
	var all []string
	for _, s := range installed() {
		all = append(all, slices.Concat(s.paths, programs(s.bins))...)
	}
	return all
}

// traces says what of the software is on the host: units that run, and files.
func (w software) traces(f Facts) (runs bool, all []string) {
	for _, u := range w.units {
		if f.Units[u] {
			runs = true
			all = append(all, "the unit "+u+" runs")
		}
	}
	for _, p := range slices.Concat(w.paths, programs(w.bins)) {
		if f.Paths[p] {
			all = append(all, p)
		}
	}
	return runs, all
}

func foreignSoftware(s *subject) []Finding {
	var found []Finding
	for _, w := range installed() {
		runs, traces := w.traces(s.facts)
		if len(traces) == 0 {
			continue
		}
		cause := fmt.Sprintf("%s is there already (%s)", w.name, strings.Join(traces, ", "))
		switch {
		case slices.Contains(s.needs.Conflicts, w.name):
			do := "sealrt does not touch what it did not install: remove it, or use another host"
			if s.c.Runtime == "docker" && (w.name == "docker" || w.name == "containerd") {
				do += ", or take containerd as the runtime"
			}
			found = append(found, s.bad(do, "%s, and %s cannot be beside it", cause, s.driver)...)
		case runs:
			found = append(found, s.warn("both share the host's memory, ports and firewall", "%s", cause)...)
		}
	}
	return found
}

// policyFiles show that an SELinux policy module is there.
func policyFiles(module string) []string {
	if module == "" {
		return nil
	}
	return []string{
		"/var/lib/selinux/targeted/active/modules/200/" + module,
		"/usr/share/selinux/packages/" + module + ".pp", "/usr/share/selinux/packages/" + module + ".pp.bz2",
		"/usr/share/selinux/packages/targeted/" + module + ".pp.bz2",
	}
}

func selinux(s *subject) []Finding {
	if s.facts.SELinux && s.needs.NoSELinux != "" {
		return s.bad("leave that away, or set SELinux to permissive (setenforce 0, and SELINUX=permissive in /etc/selinux/config)", "SELinux enforces, and %s", s.needs.NoSELinux)
	}
	if !s.facts.SELinux || s.needs.SELinux == "" ||
		slices.ContainsFunc(policyFiles(s.needs.SELinux), func(p string) bool { return s.facts.Paths[p] }) {
		return nil
	}
	return s.bad(fmt.Sprintf("install the package %s-selinux, or set SELinux to permissive (setenforce 0, and SELINUX=permissive in /etc/selinux/config)", s.needs.SELinux),
		"SELinux enforces, and its policy module %q is not there", s.needs.SELinux)
}
