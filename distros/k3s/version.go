package k3s

import (
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/release"
)

// like is what versions of k3s are like.
const like = "v1.25.3+k3s1"

func releaseOf(c *runtime.Cluster) (release.Release, error) { return c.Image().Release(like) }

// releases are the first of each line that has something, oldest line first:
// k3s brings to older lines what it adds. Later lines have it from their
// beginning, earlier ones never get it.
type releases []release.Release

// has reports whether a version has what came with these releases.
func (r releases) has(v release.Release) bool {
	for _, first := range r {
		if v.SameLine(first) {
			return v.Compare(first) >= 0
		}
	}
	return len(r) == 0 || v.Compare(r[len(r)-1]) > 0
}

// String names the releases.
func (r releases) String() string {
	var all []string
	for _, v := range r {
		all = append(all, v.String())
	}
	return strings.Join(all, ", ")
}

// line is the patch release of a line of version 1.
func line(minor, patch uint64) release.Release { return release.Of(minor, patch) }
