package runtime

import (
	"fmt"

	"github.com/sealrt/sealrt/runtime/release"
)

// Release is the version of the distribution in the image. The error of one that
// cannot be read shows what it is like.
func (i Image) Release(like string) (release.Release, error) {
	return release.Parse(i.Kind.Version, like)
}

// CheckMove refuses what no driver can do: a cluster moves to another image of
// its distribution, which goes neither back nor leaves out a minor version, and
// which the driver can make a cluster of. Further is asked about the cluster as it
// is and as it would be.
func CheckMove(d Driver, c *Cluster, to Image, like string, further func(c, next *Cluster) error) error {
	if to.Kind.Distro != d.Name() {
		return fmt.Errorf("it holds the distribution %q, the cluster runs %s", to.Kind.Distro, d.Name())
	}
	is, err := c.Image().Release(like)
	if err != nil {
		return err
	}
	will, err := to.Release(like)
	if err != nil {
		return err
	}
	if err := release.CheckPath(is, will); err != nil {
		return err
	}
	next := *c
	next.Images = []Image{to}
	if err := d.Check(&next); err != nil {
		return err
	}
	return further(c, &next)
}
