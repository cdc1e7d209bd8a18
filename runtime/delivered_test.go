package runtime_test

import (
	"crypto/sha256"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

type hostCall = hosttest.Call

var linuxAMD64 = v1.Platform{OS: "linux", Architecture: "amd64"}

func entries(list ...layer.Entry) []layer.Entry { return list }

// delivered puts sealrt and the trees of a cluster's images on the hosts.
func delivered(bed *bed, c *runtime.Cluster) {
	for _, h := range []*hosttest.Host{bed.a, bed.b} {
		h.WriteFile("/proc/self/mounts", 0o444, nil)
		h.Respond([]string{"sha256sum", runtime.HelperPath}, fmt.Sprintf("%x  %s\n", sha256.Sum256([]byte("program")), runtime.HelperPath), 0)
		for _, i := range c.Images {
			h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check", i.Digest}, i.Digest+"\n", 0)
			h.WriteFile(i.Rootfs()+"/Metadata", 0o644, nil)
		}
	}
}
