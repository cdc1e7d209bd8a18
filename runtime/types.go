package runtime

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime/host"
)

// Where sealrt keeps its own things on a host.
const (
	Home       = "/var/lib/sealrt"
	HelperPath = Home + "/bin/sealrt"
	// Scratch is for what a driver keeps while the cluster stands.
	Scratch    = Home + "/scratch"
	storeDir   = Home + "/store"
	rootfsDir  = Home + "/rootfs"
	ledgerPath = Home + "/ledger.jsonl"
)

// ours is what a reset removes below Home, the ledger last. Home itself may be
// the store of the user of that host too, and goes only when it is empty.
var ours = [...]string{Home + "/bin", Scratch, storeDir, rootfsDir, ledgerPath} //nolint:gochecknoglobals // a table that nothing changes

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
	Address  string `json:"address"`            // as the user wrote it: [user@]host[:port]
	Role     Role   `json:"role"`               // master or node
	Hostname string `json:"hostname,omitempty"` // what the host calls itself; its name in the cluster
	NodeIP   string `json:"nodeIP,omitempty"`   // the address that other members reach it by
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
	Files  fs.FS         // etc/, manifests/ and other small files; never binaries
	Images []string      // names of the container images inside
	Paths  []string      // all files of its tree but those of the container images
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

// Network is the address plan of the cluster.
type Network struct {
	PodCIDR     string `json:"podCIDR,omitempty"`
	ServiceCIDR string `json:"serviceCIDR,omitempty"`
}

// Cluster is what a driver is asked about: the images, the hosts and the
// settings. Its fields are read, never changed, by drivers.
type Cluster struct {
	Name    string
	Images  []Image // the rootfs image first, then app images
	Members []Member
	Network Network
	Env     map[string]string // -e K=V, over the images' own ENV
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

// environment is the images' ENV with the user's settings over it.
func (c *Cluster) environment() map[string]string {
	env := map[string]string{}
	for _, kv := range c.Image().Env {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	for k, v := range c.Env {
		env[k] = v
	}
	return env
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
