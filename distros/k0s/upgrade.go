package k0s

import (
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

var _ runtime.Upgrader = Driver{}

// CheckUpgrade refuses to go back, and to leave out a minor version: controllers
// go one at a time (docs.k0sproject.io, "Upgrade"). Workers follow in the same
// upgrade, so that none is older than the three versions that are allowed.
func (d Driver) CheckUpgrade(c *runtime.Cluster, to runtime.Image) error {
	return runtime.CheckMove(d, c, to, like, checkMoves)
}

// Snapshot keeps a backup on the host.
func (d Driver) Snapshot(c *runtime.Cluster, to runtime.Image) []runtime.Step {
	if theirs(c) != nil {
		return nil
	}
	return keep("snapshot", to.Before(kept))
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
// way starts with.
func (Driver) Discard(c, _ *runtime.Cluster, _ runtime.Member) []runtime.Step {
	if len(c.Image().Images) == 0 {
		return nil
	}
	return []runtime.Step{{ID: "old images", Do: runtime.Remove{Paths: []string{imagesFile(c.Image())}}}}
}

// MovedBy is the step that starts the new program.
func (Driver) MovedBy(m runtime.Member) string { return runtime.ServiceID(unit(m.Role)) }

// Moved waits until the node says the version that it is to have. k0s' kubelet
// says v1.34.2+k0s, without the number of the build.
func (d Driver) Moved(next *runtime.Cluster, m runtime.Member) []runtime.Step {
	v, _, ok := strings.Cut(next.Image().Kind.Version, "+k0s")
	if !ok {
		return nil
	}
	return []runtime.Step{runtime.RunsVersion(d, m, v+"+k0s", readyTimeout)}
}
