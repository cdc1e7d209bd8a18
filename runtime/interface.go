package runtime

import (
	"errors"
	"fmt"
)

// Interface is the life cycle that every distribution offers. Each method
// returns the plan of what is to be done; an [Engine] carries it out or prints
// it. A distribution whose driver cannot do something says so with
// [ErrUnsupported].
type Interface interface {
	// Init plans the first master.
	Init() (Plan, error)
	// JoinMasters plans adding masters, one after another.
	JoinMasters(masters []Member) (Plan, error)
	// JoinNodes plans adding nodes, all at once.
	JoinNodes(nodes []Member) (Plan, error)
	// DeleteMasters plans taking masters out of the cluster.
	DeleteMasters(masters []Member) (Plan, error)
	// DeleteNodes plans taking nodes out of the cluster.
	DeleteNodes(nodes []Member) (Plan, error)
	// Upgrade plans the move of all members to another image.
	Upgrade(to Image) (Plan, error)
	// Reset plans removing the cluster from its hosts: nodes first, masters
	// after them.
	Reset() (Plan, error)
	// UpdateCert plans renewing the certificates.
	UpdateCert(sans []string) (Plan, error)
}

// ErrUnsupported is wrapped by every answer to something that a
// distribution's driver cannot do.
var ErrUnsupported = errors.New("not supported")

// Driver is what sealrt knows about one distribution, as facts: the steps that
// make something true on a host. A driver does no I/O and keeps no state; the
// order of hosts, repetition and undoing are not its business.
type Driver interface {
	// Name is the distribution's name, as in the label io.sealrt.distro.
	Name() string
	// Check says why this cluster cannot be made, before any host is asked.
	Check(c *Cluster) error
	// Needs says what must be free on a host before it joins.
	Needs(c *Cluster, m Member) Needs
	// Prepare brings a host to where it can begin or join a cluster:
	// binaries, configuration, services.
	Prepare(c *Cluster, m Member) ([]Step, error)
	// Import hands the container images inside an image to the host's
	// container runtime and checks that they are all there.
	Import(c *Cluster, i Image) []Step
	// Init makes the first master.
	Init(c *Cluster, m Member) ([]Step, error)
	// Grant runs on the first master and captures what joining hosts need.
	Grant(c *Cluster) []Step
	// Forget runs on the first master, before a member whose joining
	// stopped half way joins again: it takes away what the cluster knows of
	// that member. Its steps say with Step.Mends which step stopped.
	Forget(c *Cluster, m Member) []Step
	// JoinNode makes a prepared host a node.
	JoinNode(c *Cluster, m Member) ([]Step, error)
	// Kubectl is the command, on a master, that runs kubectl with these
	// arguments as the cluster's administrator.
	Kubectl(args ...string) []string
	// Settled runs on the first master and waits until the cluster's own
	// services answer.
	Settled(c *Cluster) []Step
	// Reset stops and removes the distribution's software from a host, as
	// far as the ledger cannot know it.
	Reset(c *Cluster, m Member) []Step
	// Kubeconfig is the path, on a master, of the administrator's
	// kubeconfig.
	Kubeconfig() string
}

// MasterJoiner is a driver that can add masters to a cluster that runs.
type MasterJoiner interface {
	JoinMaster(c *Cluster, m Member) ([]Step, error)
}

// Needs is what a host must have free before a driver installs on it.
type Needs struct {
	Ports []int // TCP ports that the software will listen on
}

// Runtime is [Interface] for one cluster, made of a driver's descriptions.
type Runtime struct {
	cluster *Cluster
	driver  Driver
}

var _ Interface = (*Runtime)(nil)

// New returns the life cycle of the cluster under the driver's distribution.
// It refuses a cluster that cannot be made, naming the cause.
func New(c *Cluster, d Driver) (*Runtime, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	if err := d.Check(c); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return &Runtime{cluster: c, driver: d}, nil
}

func (r *Runtime) unsupported(what string) error {
	return fmt.Errorf("%s: %s: %w by this version of sealrt", r.driver.Name(), what, ErrUnsupported)
}
