package k3s

import (
	"io/fs"

	"github.com/sealrt/sealrt/runtime"
)

// openrcScript is the service on a host that OpenRC runs, as far as it is what
// k3s' install.sh writes there: its log is /var/log/k3s.log.
func openrcScript(m runtime.Member) string {
	before := []string{"modprobe br_netfilter 2>/dev/null", "modprobe overlay 2>/dev/null", "return 0"}
	return runtime.OpenRCService(unit(m.Role), "Lightweight Kubernetes", program+" "+command(m), before, envPath(m))
}

// openrcSideEffects are what a service there leaves beside its script.
func openrcSideEffects(unit string) []string {
	return []string{"/var/log/" + unit + ".log", "/etc/logrotate.d/" + unit, "/etc/runlevels/default/" + unit, "/run/" + unit + ".pid"}
}

// unitMode is that of the unit: OpenRC runs its scripts.
func unitMode(m runtime.Member) fs.FileMode {
	if m.Init == runtime.OpenRC {
		return 0o755
	}
	return 0o644
}
