package k0s

import (
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/release"
)

// like is what versions of k0s are like.
const like = "v1.34.2+k0s.0"

func releaseOf(c *runtime.Cluster) (release.Release, error) { return c.Image().Release(like) }
