package runtime

import (
	"errors"
	"fmt"

	"github.com/sealrt/sealrt/runtime/registry/mirrors"
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
	// JoinNodes plans adding nodes, many at once.
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
	UpdateCert(how Renewal) (Plan, error)
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
	// container runtime and checks that they are all there. Before an upgrade
	// all hosts take those of the new image so, beside the old ones.
	Import(c *Cluster, i Image) []Step
	// Init makes the first master.
	Init(c *Cluster, m Member) ([]Step, error)
	// Grant runs on the acting master and captures what joining hosts need.
	Grant(c *Cluster) []Step
	// Forget runs on the acting master, before a member whose joining
	// stopped half way joins again: it takes away what the cluster knows of
	// that member. Its steps say with Step.Mends which step stopped.
	Forget(c *Cluster, m Member) []Step
	// JoinNode makes a prepared host a node.
	JoinNode(c *Cluster, m Member) ([]Step, error)
	// Kubectl is the command, on a master, that runs kubectl with these
	// arguments as the cluster's administrator.
	Kubectl(args ...string) []string
	// Settled runs on the acting master and waits until the cluster's own
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
	// Welcome runs on the acting master before masters join: it readies a
	// cluster that was made for one master.
	Welcome(c *Cluster) []Step
	// JoinMaster makes a prepared host a master.
	JoinMaster(c *Cluster, m Member) ([]Step, error)
	// Voting runs on the acting master and waits until a master that joined
	// is a full member.
	Voting(c *Cluster, m Member) []Step
}

// Revoker is a driver whose grants are taken back when the members that they
// were for have joined.
type Revoker interface {
	// Revoke runs on the acting master and takes back all that Grant made. Its
	// commands may be repeated. A Remove.IfAny, and what serves it, is done where
	// it finds something, though nobody joins.
	Revoke(c *Cluster) []Step
	// JoinedBy is the ID of the step that ends a member's joining: of
	// JoinMaster and JoinNode, and again of Restorer.Rejoin.
	JoinedBy(again bool) string
}

// Locator is a driver whose hosts are told where the masters are. Locate is
// done again on all hosts when masters come or go, and is a part of Prepare;
// it restarts nothing.
type Locator interface {
	Locate(c *Cluster, m Member) []Step
}

// Verifier is a driver that can prove, on a host that is Ready, that the host
// has all that it needs.
type Verifier interface {
	Verify(c *Cluster, m Member) []Step
}

// Leaver is a driver whose masters can leave a cluster that runs.
type Leaver interface {
	// Votes reports whether the masters are members of a store of their own,
	// which lives by its majority.
	Votes(c *Cluster) bool
	// Leave runs on a master that stays, before the member's host is cleaned.
	// A member that is dead does not answer, and is not cleaned.
	Leave(c *Cluster, m Member, dead bool) ([]Step, error)
}

// Stopper is a driver whose members have to stop as soon as the cluster has
// forgotten them, or they would come back.
type Stopper interface {
	Stop(c *Cluster, m Member) []Step
}

// Killer is a driver that can end, in limited time, what runs on a host that is
// stuck.
type Killer interface {
	Kill(c *Cluster, m Member) []Step
}

// Remainer is a driver that knows of what its user may care for when a cluster
// goes.
type Remainer interface {
	// Remains says, a sentence each, what stays when the cluster is removed from
	// its hosts, and what of the user's goes with it. None holds a secret.
	Remains(c *Cluster) []string
}

// Upgrader is a driver that can move a cluster to another version.
type Upgrader interface {
	// CheckUpgrade says why the cluster cannot go to the image.
	CheckUpgrade(c *Cluster, to Image) error
	// Snapshot runs on the acting master before anything changes, and keeps
	// what a rollback needs.
	Snapshot(c *Cluster, to Image) []Step
	// Upgrade moves one host, to which the image was delivered.
	Upgrade(c, next *Cluster, m Member) ([]Step, error)
	// MovedBy is the ID of the step of Upgrade that ends what runs on the
	// host: before it the host has to be empty.
	MovedBy(m Member) string
	// Moved runs on the acting master and waits until the member runs the new
	// version.
	Moved(next *Cluster, m Member) []Step
}

// Discarder is a driver whose hosts keep container images of the image that a
// cluster moves away from until all have moved: a way back from half way needs them.
type Discarder interface {
	// Discard runs on every host in the end, and takes away what is of the cluster
	// as it was alone.
	Discard(c, next *Cluster, m Member) []Step
}

// Certifier is a driver that says where its certificates are.
type Certifier interface {
	Certificates(c *Cluster, m Member) Certificates
}

// Renewer is a driver that can renew the certificates of a cluster.
type Renewer interface {
	Certifier
	// Renew gives one host new certificates and runs its services with them.
	// Its commands are marked with the renewal, so that they run once for it.
	Renew(c *Cluster, m Member, how Renewal) ([]Step, error)
}

// CARotator is a driver that can give a cluster new CAs.
type CARotator interface {
	// RotateCA runs on one master, before all members are renewed. The error
	// says why this version cannot.
	RotateCA(c *Cluster, how Renewal) ([]Step, error)
}

// Namer is a driver that can give the certificate of the API further names.
type Namer interface {
	Certifier
	// AddNames has a master show a certificate for all of Cluster.TLSSANs.
	AddNames(c *Cluster, m Member) ([]Step, error)
}

// Configured is a driver that reads settings from files of the image, which
// count as long as the cluster stands. ConfigFiles returns their paths in the
// image's tree; a template has [TemplateSuffix] behind its own.
type Configured interface {
	ConfigFiles() []string
}

// ChangeChecker is a driver that knows what a cluster which stands cannot change.
type ChangeChecker interface {
	// CheckChange says why a cluster that is like was cannot become like is. Both
	// are of the same image or of two, and as they were written: references are
	// not looked up.
	CheckChange(was, is *Cluster) error
}

// Keeper is a driver that wants secrets made for a cluster, such as the
// passwords that hosts join with. Plans hold their names only; what they stand
// for is kept in the cluster's state and reaches the hosts with the engine.
type Keeper interface {
	Secrets() []Captured
}

// Mirrorer is a driver that points the container runtime of a host at the
// image service.
type Mirrorer interface {
	Mirror(c *Cluster, m Member, to Mirror) ([]Step, error)
}

// Mirror is where a host's container runtime gets images from.
type Mirror = mirrors.Mirror

// Needs is what a host must have before a driver installs on it. The zero value
// needs nothing.
type Needs struct {
	Ports    []int    // TCP ports that the software listens on for other hosts
	UDP      []int    // UDP ports likewise
	Loopback []int    // TCP ports that it listens on and that no other host has to reach
	CIDRs    []string // of pods and services: a firewall has to let them through

	CPUs          int   // 0: any number will do
	Memory        int64 // bytes without which it does not work
	MemoryAdvised int64 // bytes without which it works badly
	Disks         []Disk

	CgroupV2     bool     // cgroup v1 will not do
	SwapOff      bool     // it does not start where swap is on
	DefaultRoute bool     // it does not start without one
	Modules      []string // of the kernel, loaded or built in
	Sysctls      []string // KEY=VALUE; what the image's etc/sysctl.d sets need not be so before
	NoSELinux    string   // why SELinux may not enforce; "": it may
	OpenRC       bool     // OpenRC may run the services of the host
	SELinux      string   // policy module that has to be there where SELinux enforces
	Conflicts    []string // software that cannot be on the same host: docker, containerd, kubelet, k3s, rke2, k0s, microk8s
}

// Disk is room that something needs on the file system that holds a path.
type Disk struct {
	Path   string // need not exist
	Need   int64  // bytes
	Inodes int64
}

// Runtime is [Interface] for one cluster, made of a driver's descriptions.
type Runtime struct {
	cluster *Cluster
	driver  Driver
	force   bool
}

var _ Interface = (*Runtime)(nil)

// New returns the life cycle of the cluster under the driver's distribution.
// It refuses a cluster that cannot be made, naming the cause.
func New(c *Cluster, d Driver) (*Runtime, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c, err := c.revealed()
	if err != nil {
		return nil, err
	}
	if err := c.configure(); err != nil {
		return nil, err
	}
	if err := d.Check(c); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return &Runtime{cluster: c, driver: d}, nil
}

// Forced returns a life cycle that goes on where a host does not answer or
// something resists, and leaves behind there what it cannot reach.
func (r *Runtime) Forced() *Runtime {
	return &Runtime{cluster: r.cluster, driver: r.driver, force: true}
}

func (r *Runtime) unsupported(what string) error {
	return fmt.Errorf("%s: %s: %w by this version of sealrt", r.driver.Name(), what, ErrUnsupported)
}
