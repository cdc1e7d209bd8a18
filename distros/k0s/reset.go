package k0s

import (
	"github.com/sealrt/sealrt/runtime"
)

// Reset stops k0s and has it take back what it made: pods with their mounts, its
// directories, its unit and its users. It does not touch /etc/k0s and its own
// program, which the ledger knows, and nothing here removes a program that the
// ledger does not know: kubelet and kubectl of the host's stay. Behind it goes
// what lives on: the shims of pods, and what was put into the kernel
// (docs.k0sproject.io, "Uninstall/Reset", advises to reboot for that).
func (Driver) Reset(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	u := unit(m.Role)
	end := func(id, undoes string, argv ...string) runtime.Step {
		return runtime.Step{ID: id, Undoes: undoes, Do: runtime.Exec{Argv: argv, Tolerate: true, Always: true, Timeout: readyTimeout}}
	}
	reset := []string{program, "reset"}
	if m.Role == runtime.Master {
		reset = append(reset, "--config="+configFile) // which says what its users are called
	}
	if dir := c.DataDir.Kubelet; dir != "" {
		reset = append(reset, "--kubelet-root-dir="+dir)
	}
	return []runtime.Step{
		end("stop "+u, runtime.ServiceID(u), "systemctl", "stop", u),
		end("k0s reset", runtime.ProgramsID, reset...),
		end("end what "+u+" started", runtime.ServiceID(u), "systemctl", "kill", "--signal=KILL", u),
		{ID: "flush", Undoes: runtime.ClaimID, Do: flush(c)},
	}
}

// flush takes out of the kernel of a host what k0s put there.
func flush(c *runtime.Cluster) runtime.Flush {
	t, _ := ofControllers(c) // what cannot be read now must not keep a host from being cleaned
	pods, _ := t.cidrs()
	return runtime.Flush{
		Links:    []string{"kube-bridge", "kube-dummy-if", "vxlan.calico", "cali*", "cni[0-9]*", "tun-*", "dummyvip*", "kube-ipvs0"},
		Tables:   []string{"kube-proxy", "cni-*", "calico"},
		Chains:   []string{"KUBE-", "CNI-", "cali-"},
		Networks: pods,
		Cgroups:  []string{"kubepods", "kubepods.slice"},
	}
}
