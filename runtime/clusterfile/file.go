package clusterfile

// APIVersion and Kind are those of every document of this package.
const (
	APIVersion = "sealrt.io/v1"
	Kind       = "Cluster"
)

// File is the document.
type File struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Spec       Spec     `json:"spec"`
}

// Metadata names the cluster.
type Metadata struct {
	Name string `json:"name"`
	// Revision counts the changes of what is kept of a cluster; the highest
	// one is the cluster as it is. It is sealrt's, not the user's.
	Revision int64 `json:"revision,omitempty"`
}

// Spec is what a cluster is made of.
type Spec struct {
	Image    []string `json:"image"`              // rootfs first, then patches, then apps
	Endpoint string   `json:"endpoint,omitempty"` // an address of the user's in front of the masters, HOST:PORT
	Runtime  string   `json:"runtime,omitempty"`  // containerd or docker; empty: containerd
	SSH      SSH      `json:"ssh,omitzero"`
	Hosts    []Host   `json:"hosts"`
	Network  Network  `json:"network,omitzero"`
	DataDir  DataDir  `json:"dataDir,omitzero"`
	Registry Registry `json:"registry,omitzero"`
	Blobs    Blobs    `json:"blobs,omitzero"`

	Env     map[string]string `json:"env,omitempty"`    // over the images' own ENV
	Config  []Config          `json:"config,omitempty"` // merged into files of the rootfs
	Labels  map[string]string `json:"labels,omitempty"` // of all hosts
	Taints  []string          `json:"taints,omitempty"` // of all hosts, KEY=VALUE:EFFECT
	Proxy   Proxy             `json:"proxy,omitzero"`
	TLSSANs []string          `json:"tlsSANs,omitempty"` // further names of the API
	Hooks   []Hook            `json:"hooks,omitempty"`

	Timeouts Timeouts `json:"timeouts,omitzero"`
	Batch    int      `json:"batch,omitempty"` // nodes that are disturbed at a time; 0: 1
}

// SSH is how hosts are reached, beyond what ~/.ssh/config says.
type SSH struct {
	User      string `json:"user,omitempty"`
	Port      int    `json:"port,omitempty"`
	Identity  string `json:"identity,omitempty"`  // private key file
	Become    string `json:"become,omitempty"`    // sudo or doas
	ProxyJump string `json:"proxyJump,omitempty"` // [user@]host[:port],...
	AcceptNew bool   `json:"acceptNew,omitempty"` // host keys are taken on first use
	// Password and BecomePassword say where the passwords are: "prompt",
	// "env:NAME" or "file:PATH".
	Password       string `json:"password,omitempty"`
	BecomePassword string `json:"becomePassword,omitempty"`
}

// Host is one host, or several that differ in nothing but their address.
type Host struct {
	Address  Strings `json:"address"` // [user@]host[:port], ranges too
	Role     string  `json:"role"`    // master or node
	Hostname string  `json:"hostname,omitempty"`
	NodeIP   string  `json:"nodeIP,omitempty"` // the address that other hosts reach it by
	// OtherNodeIP is the address of the other family, in a dual stack.
	OtherNodeIP string            `json:"otherNodeIP,omitempty"`
	Arch        string            `json:"arch,omitempty"` // as OCI names it; asked of the host where empty
	Init        string            `json:"init,omitempty"` // openrc where that runs the services; systemd where empty
	Labels      map[string]string `json:"labels,omitempty"`
	Taints      []string          `json:"taints,omitempty"`
	Env         map[string]string `json:"env,omitempty"`
	SSH         SSH               `json:"ssh,omitzero"`
}

// Network is the address plan of the cluster. Two networks of a kind, one of
// each family, make it dual stack.
type Network struct {
	PodCIDR     Strings `json:"podCIDR,omitempty"`
	ServiceCIDR Strings `json:"serviceCIDR,omitempty"`
	ClusterDNS  string  `json:"clusterDNS,omitempty"`
	DualStack   bool    `json:"dualStack,omitempty"`
}

// DataDir is where things lie on the hosts; empty ones are the distribution's
// defaults.
type DataDir struct {
	Sealrt     string `json:"sealrt,omitempty"` // empty: /var/lib/sealrt
	Containerd string `json:"containerd,omitempty"`
	Kubelet    string `json:"kubelet,omitempty"`
	Etcd       string `json:"etcd,omitempty"`
}

// Registry is where the hosts' container runtimes get images from.
type Registry struct {
	External string `json:"external,omitempty"` // HOST/PREFIX of the user's; empty: the cluster serves itself
	CAFile   string `json:"caFile,omitempty"`   // of the external one
	Port     int    `json:"port,omitempty"`     // of the service on loopback; 0: 5555
	Script   bool   `json:"script,omitempty"`   // the image's scripts/init-registry.sh runs instead of the service
	Upstream bool   `json:"upstream,omitempty"` // what is not here may be asked of the registries named
}

// Blobs is how blobs travel from host to host.
type Blobs struct {
	Port    int  `json:"port,omitempty"`    // 0: 5556
	PerHost int  `json:"perHost,omitempty"` // blobs that a host serves at a time; 0: 4
	SSHOnly bool `json:"sshOnly,omitempty"` // each host gets its blobs from the client
}

// Config is data that goes into a file of the rootfs.
type Config struct {
	Path     string         `json:"path"`               // in the rootfs
	Strategy string         `json:"strategy,omitempty"` // merge (the default) or replace
	Data     map[string]any `json:"data"`
}

// Proxy is what the hosts' software is told of proxies.
type Proxy struct {
	HTTP    string   `json:"http,omitempty"`
	HTTPS   string   `json:"https,omitempty"`
	NoProxy []string `json:"noProxy,omitempty"` // beside the cluster's own addresses
}

// Hook is a script of the user's, which runs after those of the images.
type Hook struct {
	Phase string `json:"phase"`          // as the images' hooks: preflight, pre-install, ...
	Role  string `json:"role,omitempty"` // master or node; empty: all hosts
	File  string `json:"file"`           // on the client
}

// Timeouts are durations as Go writes them: 10m, 1h30m. Empty ones are the
// defaults.
type Timeouts struct {
	Connect string `json:"connect,omitempty"` // to a host
	Silence string `json:"silence,omitempty"` // of a host that does not answer
	Command string `json:"command,omitempty"` // of the distribution's own, and of hooks
	Ready   string `json:"ready,omitempty"`   // until a host or the cluster is Ready
	Drain   string `json:"drain,omitempty"`   // of a node
	Return  string `json:"return,omitempty"`  // of a host that is lost, until its work is given up
}
