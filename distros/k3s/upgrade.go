package k3s

import (
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
)

var _ runtime.Upgrader = Driver{}

// CheckUpgrade refuses to go back, and to leave out a minor version
// (https://docs.k3s.io/upgrades, https://kubernetes.io/releases/version-skew-policy/).
func (d Driver) CheckUpgrade(c *runtime.Cluster, to runtime.Image) error {
	return runtime.CheckMove(d, c, to, like, func(c, next *runtime.Cluster) error { return checkMoves(c, next, "build the image with it") })
}

// Upgrade installs the new program and starts it.
func (d Driver) Upgrade(_, next *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	steps, err := d.Prepare(next, m)
	if err != nil {
		return nil, err
	}
	return d.service(next, m, "", steps...)
}

var _ runtime.Discarder = Driver{}

// Discard removes the old container images, which a host that goes back from half
// way starts with: from its docker, or from where k3s takes them in.
func (Driver) Discard(c, next *runtime.Cluster, _ runtime.Member) []runtime.Step {
	if docker.Chosen(next) {
		return docker.Discard(c, next)
	}
	was := runtime.Feed{File: imagesFile(c, c.Image()), Tarballs: c.Image().In("images")}
	if len(c.Image().Images) == 0 && len(was.Tarballs) == 0 {
		return nil
	}
	return []runtime.Step{{ID: "old images", Do: runtime.Remove{Paths: was.Files()}}}
}

// MovedBy is the step that starts the new program.
func (Driver) MovedBy(m runtime.Member) string { return runtime.ServiceID(unit(m.Role)) }

// Moved waits until the node says the version that it is to have; an image
// whose label does not say all of it cannot be waited for so.
func (d Driver) Moved(next *runtime.Cluster, m runtime.Member) []runtime.Step {
	v := next.Image().Kind.Version
	if !strings.Contains(v, "+") {
		return nil
	}
	return []runtime.Step{runtime.RunsVersion(d, m, v, readyTimeout)}
}
