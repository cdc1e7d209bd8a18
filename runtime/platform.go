package runtime

import (
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/runtime/host"
)

// architectures are those that clusters run on: what uname(1) says of the
// machine, and what OCI calls it.
var architectures = map[string]string{ //nolint:gochecknoglobals // a table that nothing changes
	"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "riscv64": "riscv64", "s390x": "s390x", "ppc64le": "ppc64le",
}

// Arch returns what OCI calls a machine of uname(1), and "" for one that
// clusters do not run on.
func Arch(machine string) string { return architectures[machine] }

// HostPlatform asks the host what it is, in OCI's words.
func HostPlatform(ctx context.Context, h host.Host) (v1.Platform, error) {
	out, err := host.Output(ctx, h, "uname", "-sm")
	if err != nil {
		return v1.Platform{}, err
	}
	sys, machine, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	arch := Arch(machine)
	if arch == "" || sys != "Linux" {
		return v1.Platform{}, fmt.Errorf("the host is %s on %s: %s", sys, machine, RunsOn)
	}
	return v1.Platform{OS: "linux", Architecture: arch}, nil
}

// RunsOn says what hosts have to be.
const RunsOn = "sealrt runs clusters on Linux hosts (amd64, arm64, arm, riscv64, s390x, ppc64le)"
