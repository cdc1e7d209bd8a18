package runtime

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/registry"
)

// Where sealrt keeps its own things on a host.
const (
	Home       = "/var/lib/sealrt"
	HelperPath = Home + "/bin/sealrt"
	// Scratch is for what a driver keeps while the cluster stands.
	Scratch = Home + "/scratch"
	// StoreDir is for what a host keeps of images (package depot).
	StoreDir  = Home + "/store"
	rootfsDir = Home + "/rootfs"
	stateDir  = Home + "/state" // of masters; package state has it
	// renderedDir has what templates of images became, hooksDir the user's
	// hooks, and hookLogs all that hooks and commands of apps said.
	renderedDir = Home + "/rendered"
	hooksDir    = Home + "/hooks"
	hookLogs    = Home + "/log/hooks"
	// LedgerPath is the record of what was done to the host.
	LedgerPath = Home + "/ledger.jsonl"
)

// ours is what a reset removes below Home, the ledger last. Home itself may be
// the store of the user of that host too, and goes only when it is empty.
var ours = [...]string{Home + "/bin", Scratch, StoreDir, rootfsDir, renderedDir, hooksDir, Home + "/log", stateDir, LedgerPath} //nolint:gochecknoglobals // a table that nothing changes

// Role says what a host is for.
type Role string

// The two roles of a host: a master runs the control plane, a node the
// workloads.
const (
	Master Role = "master"
	Node   Role = "node"
)

// Member is one host of a cluster.
type Member struct {
	Address  string            `json:"address"`               // as the user wrote it: [user@]host[:port]
	Role     Role              `json:"role"`                  // master or node
	Hostname string            `json:"hostname,omitempty"`    // what the host calls itself; its name in the cluster
	NodeIP   string            `json:"nodeIP,omitempty"`      // the address that other members reach it by
	OtherIP  string            `json:"otherNodeIP,omitempty"` // that of the other family, in a dual stack
	Arch     string            `json:"arch,omitempty"`        // as OCI names it; "" until the host was asked
	Init     string            `json:"init,omitempty"`        // OpenRC where that runs the services; "": systemd
	Labels   map[string]string `json:"labels,omitempty"`      // with those of the cluster
	Taints   []string          `json:"taints,omitempty"`      // with those of the cluster
	Env      map[string]string `json:"env,omitempty"`         // of this host alone
	SSH      clusterfile.SSH   `json:"ssh,omitzero"`          // with what the cluster says
}

// Name is what the story and errors call the member: the host part of its
// address.
func (m Member) Name() string {
	if a, err := host.ParseAddresses(m.Address); err == nil && len(a) == 1 {
		return a[0].Host
	}
	return m.Address
}

// Image is a cluster image as a plan needs it: resolved, with the few small
// files of its tree that a driver renders on the client.
type Image struct {
	Ref    artifact.Reference
	Digest string        // of the manifest for the hosts' platform, sha256:...
	Kind   artifact.Kind // type, distribution, version
	Env    []string      // config.Env, K=V
	Cmd    []string      // config.Entrypoint and config.Cmd: what an app image runs
	Size   int64         // bytes of all its blobs
	Peak   int64         // bytes that it takes at most on a host while it gets there; 0: not known
	Files  fs.FS         // etc/, manifests/ and other small files; never binaries
	Images []string      // names of the container images inside
	Paths  []string      // all files of its tree but those of the container images

	Labels   map[string]string    // config.Labels
	Programs []string             // those of Paths that are executable
	Patches  []artifact.Reference // that were laid over it, in order
	Settings map[string]string    // of an app alone, over all other variables
	// Config has the files that a driver reads settings from (see Configured), by
	// their paths: for what is asked of a cluster whose image is not at hand. Files
	// counts where it is there; nil, of a rootfs image: they are not known.
	Config map[string]string
	// Service is what was set of the image service by the rootfs image that the
	// cluster was made of; nil: no cluster was made yet.
	Service *registry.Config

	Brings  []Object // to the cluster, as it is told now; nil: not known
	Brought []Object // that are in the cluster, it or the one before it brought them
}

// In returns the names of the files right in a directory of the image's tree.
func (i Image) In(dir string) []string {
	var names []string
	for _, p := range i.Paths {
		if path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	slices.Sort(names)
	return names
}

// Rootfs is the directory on every host that holds the image's tree.
func (i Image) Rootfs() string {
	return path.Join(rootfsDir, short(i.Digest))
}

// Boots reports whether a cluster can be made of the image, as rootfs images
// can.
func (i Image) Boots() bool { return i.Kind.Type == artifact.TypeRootfs }

// Cluster is what a driver is asked about: the images, the hosts and the
// settings. Its fields are read, never changed, by drivers.
//
// Members are the hosts of the specification one by one, and Images its images;
// Hosts and Image of the specification itself are what the user wrote.
type Cluster struct {
	clusterfile.Spec
	Name    string
	Images  []Image // the rootfs image with its patches first, then app images
	Members []Member
	// Beside are apps of the cluster that a plan does nothing about: what hosts
	// have of them stays.
	Beside []Image
	// Scripts has the content of the user's hooks, by Hook.File.
	Scripts map[string]string
	// ReadFile reads a file of the client that the specification names; nil:
	// os.ReadFile.
	ReadFile func(name string) ([]byte, error)
	// Acting is the address of the master on which commands about the whole
	// cluster run: one that answers. Empty: the first master.
	Acting string
	// Voted says that the masters have had a store of their own, in which they
	// vote: one that is left alone goes on with it.
	Voted bool
	// Down are the addresses of the hosts that do not answer.
	Down map[string]bool

	service *imageService                                // see PrepareImageService
	reveal  func(what, reference string) (string, error) // see RevealWith
	hidden  []string                                     // values that reveal has put in
	written *Cluster                                     // what it was before reveal put them in; nil: it is as it was written
	// Others are documents of the distribution's own, which the driver merges
	// into what it writes; what they say wins.
	Others []clusterfile.Other
}

// Image returns the rootfs image, the one that the cluster is made of.
func (c *Cluster) Image() Image { return c.Images[0] }

// Masters returns the members whose role is master, in the order given; the
// first one is where the cluster begins.
func (c *Cluster) Masters() []Member { return c.withRole(Master) }

// Nodes returns the members whose role is node.
func (c *Cluster) Nodes() []Member { return c.withRole(Node) }

func (c *Cluster) withRole(r Role) []Member {
	var out []Member
	for _, m := range c.Members {
		if m.Role == r {
			out = append(out, m)
		}
	}
	return out
}

// EndpointHost is the stable name under which the hosts reach the cluster's
// API, whichever master answers. It lies in .internal, the top-level domain
// reserved for private use (ICANN resolution 2024.07.29.06), and is written
// into the hosts' /etc/hosts.
func (c *Cluster) EndpointHost() string { return "api." + c.Name + ".sealrt.internal" }

// Getenv returns a setting of the cluster: what the user gave with -e, or the
// rootfs image's own ENV, or "".
func (c *Cluster) Getenv(name string) string { return c.environment()[name] }

// environment is the rootfs image's ENV with the user's settings over it.
func (c *Cluster) environment() map[string]string { return over(pairs(c.Image().Env), c.Env) }

// environmentOf is what an image's templates, hooks and commands have for their
// environment on a host: the ENV of the rootfs image, that of the image, the
// cluster's settings, the host's and those of the image alone, each over what is
// before it.
func (c *Cluster) environmentOf(i Image, m Member) map[string]string {
	env := map[string]string{}
	for _, more := range []map[string]string{pairs(c.Image().Env), pairs(i.Env), c.Env, m.Env, i.Settings} {
		maps.Copy(env, more)
	}
	return env
}

// pairs reads variables, K=V.
func pairs(env []string) map[string]string {
	out := map[string]string{}
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		out[k] = v
	}
	return out
}

// validate refuses a cluster that no driver could make.
func (c *Cluster) validate() error {
	if len(c.Images) == 0 {
		return fmt.Errorf("cluster %s: no image given", c.Name)
	}
	if len(c.Masters()) == 0 {
		return fmt.Errorf("cluster %s: no master given: pass --masters HOST", c.Name)
	}
	seen := map[string]string{}
	for _, m := range c.Members {
		if m.Hostname == "" {
			continue
		}
		if other, ok := seen[m.Hostname]; ok {
			return fmt.Errorf("hosts %s and %s are both called %q: give them different host names (hostnamectl set-hostname)", other, m.Name(), m.Hostname)
		}
		seen[m.Hostname] = m.Name()
	}
	return nil
}
