package k0s_test

import (
	"flag"
	"os"
	"testing"

	"github.com/sealrt/sealrt/distros/distrotest"
	"github.com/sealrt/sealrt/distros/k0s"
)

var _ = flag.Bool("update", false, "write golden files anew")

func TestDriver(t *testing.T) {
	distrotest.Run(t, distrotest.Suite{
		Driver:   k0s.Driver{},
		Recipe:   os.DirFS("image"),
		Version:  "v1.34.2+k0s.0",
		Next:     "v1.35.4+k0s.0",
		Images:   []string{"quay.io/k0sproject/pause:3.10.1", "quay.io/k0sproject/coredns:1.13.1", "quay.io/k0sproject/envoy-distroless:v1.34.3"},
		Binaries: []string{"bin/k0s"},
		Trees:    []string{"/var/lib/k0s/pki", "/etc/k0s/containerd.d", "/run/k0s", "/etc/cni/net.d", "/opt/cni/bin"},
		Units:    map[string][]string{"k0scontroller": {"/usr/local/bin/k0s", "install", "controller"}, "k0sworker": {"/usr/local/bin/k0s", "install", "worker"}},
		Listed:   []string{"/usr/local/bin/k0s", "ctr", "images", "ls"},
	})
}
