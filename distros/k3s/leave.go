package k3s

import (
	_ "embed"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/sealrt/sealrt/runtime"
)

var (
	_ runtime.Stopper = Driver{}
	_ runtime.Killer  = Driver{}
)

// runScript runs a script that the installation left, and keeps it from what is
// the user's.
//
//go:embed hostfiles/run.sh
var runScript string

// scriptLimit is how long a script of k3s may take on a host: it waits for a
// service that stops, and ends the processes of all pods.
const scriptLimit = 4 * time.Minute

// guard is where it lies on a host while that is cleaned.
const guard = kept + "/run.sh"

// theirScript runs a script of the installation on a host that is to be cleaned.
func theirScript(c *runtime.Cluster, name string) []runtime.Step {
	limit := strconv.Itoa(int(scriptLimit.Seconds()))
	return []runtime.Step{
		{ID: "guard", Undoes: runtime.ClaimID, Do: runtime.Write{Path: guard, Data: runScript, Mode: 0o700}},
		{ID: "run " + name, Undoes: runtime.ClaimID, Do: runtime.Exec{
			Argv:    []string{guard, path.Join(binDir, name), limit, stateDir(c), kubeletOf(c)},
			Timeout: scriptLimit + time.Minute, Tell: true, Always: true,
		}},
	}
}

// Stop ends k3s with what it started. Stopping alone would leave the pods
// running: their shims live in the unit's control group.
func (Driver) Stop(_ *runtime.Cluster, m runtime.Member) []runtime.Step {
	u := unit(m.Role)
	started := runtime.ServiceID(u)
	return []runtime.Step{
		{ID: "stop " + u, Undoes: started, Do: runtime.Exec{Argv: []string{"systemctl", "stop", u}, Tolerate: true, Always: true}},
		{ID: "end what " + u + " started", Undoes: started, Do: runtime.Exec{Argv: []string{"systemctl", "kill", "--signal=KILL", u}, Tolerate: true, Always: true}},
		// k3s ends with an error when it is told to, and systemd would know the unit when its file is gone
		{ID: "forget how " + u + " ended", Undoes: started, Do: runtime.Exec{Argv: []string{"systemctl", "reset-failed", u}, Tolerate: true, Always: true}},
	}
}

// ciliumLinks go before anything else: what ends the pods would take the way to
// the host itself away with them (https://docs.k3s.io/installation/uninstall).
func ciliumLinks() runtime.Step {
	return runtime.Step{ID: "links of cilium", Undoes: runtime.ClaimID, Do: runtime.Flush{Links: []string{"cilium_*"}}}
}

// Reset uninstalls k3s with its own script, where that is there, and takes back
// what it put into the kernel. The ledger does the rest.
func (d Driver) Reset(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	return slices.Concat([]runtime.Step{ciliumLinks()}, d.Stop(c, m), withoutDocker(c, m), theirScript(c, uninstaller(m)), []runtime.Step{
		{ID: "flush", Undoes: runtime.ClaimID, Do: flush(c)},
	})
}

// Kill ends what runs on a host that is stuck.
func (Driver) Kill(c *runtime.Cluster, _ runtime.Member) []runtime.Step {
	return append([]runtime.Step{ciliumLinks()}, theirScript(c, killer)...)
}
