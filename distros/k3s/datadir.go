package k3s

import (
	"fmt"
	"path"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// stateDir is where k3s keeps its data and that of its containerd and etcd:
// data-dir of the settings (https://docs.k3s.io/cli/server, "Data").
func stateDir(c *runtime.Cluster) string {
	s, err := ofServers(c)
	if err != nil {
		return dataDir // Check says so before any host is asked
	}
	return s.text("data-dir", dataDir)
}

// checkStateDir refuses a data-dir that k3s could not keep to, or that a reset
// could not take back.
func checkStateDir(s settings) error {
	dir := s.text("data-dir", dataDir)
	switch {
	case dir == dataDir:
		return nil
	case !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" || strings.ContainsAny(dir, " ,\n"):
		return fmt.Errorf("data-dir %q: write an absolute path of a directory of its own", dir)
	case s.on("selinux"):
		return fmt.Errorf("data-dir %s and selinux: the policy of k3s knows %s only: leave one of them away, or mount a disk there", dir, dataDir)
	}
	for _, taken := range []string{"/etc", "/usr", "/bin", "/sbin", "/lib", "/boot", "/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/var/lib", "/home", "/root", "/srv", "/opt", "/mnt", kubeletDir, runtime.Home} {
		if dir == taken {
			return fmt.Errorf("data-dir %s is not of k3s alone, and a reset would remove it: write a directory below it, such as %s/k3s", dir, dir)
		}
	}
	return nil
}
