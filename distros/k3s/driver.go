// Package k3s knows the facts of a k3s cluster: which files, services and
// commands make a host a server (a master) or an agent (a node) of it.
//
// All settings go to /etc/rancher/k3s/config.yaml and config.yaml.d; the
// command of the service is `server` or `agent` and nothing else.
//
// Sources: https://docs.k3s.io/installation/configuration,
// https://docs.k3s.io/datastore/ha-embedded, https://docs.k3s.io/cli/token,
// https://docs.k3s.io/installation/airgap, and the units that k3s' own
// install.sh writes.
package k3s

import (
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// Driver is the k3s distribution.
type Driver struct{}

var _ runtime.Driver = Driver{}

// Paths and names of k3s.
const (
	program    = "/usr/local/bin/k3s"
	configDir  = "/etc/rancher/k3s"
	configFile = configDir + "/config.yaml"
	// registriesFile is read when k3s starts too.
	registriesFile = mirrors.RegistriesFile
	roleFile       = configDir + "/config.yaml.d/10-sealrt.yaml"
	kubeconfig     = configDir + "/k3s.yaml"
	dataDir        = "/var/lib/rancher/k3s" // unless data-dir says another
	kubeletDir     = "/var/lib/kubelet"
	kept           = runtime.Scratch + "/k3s" // snapshots and tokens of upgrades
	apiPort        = 6443
)

// IDs of steps that others name.
const (
	founded = "cluster-init"
	joined  = "k3s server to join"
)

// The passwords that hosts join with: one for masters, which is the password
// of the cluster's own secrets too, and another for nodes, which no node can
// become a master with.
const (
	serverToken runtime.Captured = "k3s server token"
	agentToken  runtime.Captured = "k3s agent token"
)

// readyTimeout is how long the slow parts may take before they are given up.
const readyTimeout = 10 * time.Minute

// Name is "k3s".
func (Driver) Name() string { return "k3s" }

// Kubeconfig is where k3s puts the administrator's kubeconfig.
func (Driver) Kubeconfig() string { return kubeconfig }

var _ runtime.Keeper = Driver{}

// Secrets names the tokens that a cluster is made with.
func (Driver) Secrets() []runtime.Captured { return []runtime.Captured{serverToken, agentToken} }

// Kubectl is the kubectl that k3s holds.
func (Driver) Kubectl(args ...string) []string {
	return append([]string{program, "kubectl", "--kubeconfig", kubeconfig, "--cache-dir", runtime.Scratch + "/kubectl"}, args...)
}

// trees are the directories that k3s fills. Some things look for pods below
// the kubelet's own directory wherever its data is.
func trees(c *runtime.Cluster) []string {
	all := []string{
		"/etc/rancher", "/var/lib/rancher", "/run/k3s", "/run/flannel", kubeletDir, "/var/lib/cni",
		"/var/log/pods", "/var/log/containers", "/usr/libexec/kubernetes",
	}
	if dir := c.DataDir.Kubelet; dir != "" && dir != kubeletDir {
		all = append(all, dir)
	}
	if dir := stateDir(c); dir != dataDir {
		all = append(all, dir)
	}
	return all
}

// beside are paths that k3s makes where they are not there yet. Its containerd
// keeps sockets of shims and the state of runc where any containerd does, whatever
// its own directory is.
func beside() []string {
	return []string{"/usr/lib/modules", "/run/xtables.lock", "/run/containerd", "/run/containerd/runc/k8s.io", "/run/nri"}
}

// Prepare installs the program, its configuration and its unit.
func (d Driver) Prepare(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	config, err := configuration(c, m)
	if err != nil {
		return nil, err
	}
	steps := []runtime.Step{
		{ID: runtime.ClaimID, Do: runtime.Claim{Paths: trees(c), IfAbsent: append(beside(), sideEffects(c, m)...), IfEmpty: []string{"/run/netns"}, Parameters: runtime.NodeParameters()}},
		runtime.Programs(c.Image(), path.Dir(program)),
		configStep(config),
	}
	files, err := datastoreSteps(c, m)
	steps = slices.Concat(steps, serviceSteps(c, m), files, d.Locate(c, m))
	if err != nil || !docker.Chosen(c) {
		return steps, err
	}
	runs, err := docker.Install(c, m)
	return slices.Concat(steps, runs, []runtime.Step{afterDocker(m)}), err
}

// configStep tells k3s its settings.
func configStep(config string) runtime.Step {
	return runtime.Step{ID: "configuration", Do: runtime.Write{Path: configFile, Data: config, Mode: 0o600, Secret: true}}
}

var _ runtime.Locator = Driver{}

// Locate makes the stable name of the API the addresses of the masters: of
// all others, for a master, which would otherwise join itself.
func (Driver) Locate(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	if c.Endpoint != "" {
		return nil
	}
	var text string
	for _, o := range c.Masters() {
		if o.Address != m.Address {
			text += o.NodeIP + " " + c.EndpointHost() + "\n"
		}
	}
	if text == "" {
		text = "127.0.0.1 " + c.EndpointHost() + "\n"
	}
	return []runtime.Step{{ID: "endpoint", Do: runtime.Block{Path: "/etc/hosts", Name: c.Name, Text: text}}}
}

// Init makes the first master: on SQLite where it is to be the only one, on
// etcd where others are to join.
func (d Driver) Init(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	var steps []runtime.Step
	if d.Votes(c) {
		steps = found()
	}
	return d.service(c, m, "", steps...)
}

// founding is what the role file says on the server that began.
const founding = "cluster-init: true\n"

// joining is what it says on those that joined.
func joining(c *runtime.Cluster) string { return "server: " + endpoint(c) + "\n" }

// found turns a server into the first member of an etcd cluster, unless it
// joined one. A server that runs on SQLite moves its data when it starts again.
func found() []runtime.Step {
	return []runtime.Step{
		{ID: founded, Unless: joined, Do: runtime.Write{Path: roleFile, Data: founding, Mode: 0o600}},
		{ID: "start on etcd", With: founded, Do: runtime.Exec{Argv: []string{"systemctl", "try-restart", unit(runtime.Master)}, Timeout: readyTimeout}},
	}
}

// service runs k3s, behind other steps, with what it reads when it starts, the new
// program included; also whenever the step is done that it serves.
// Labels and taints are no reason to start it again: it gives its node those only
// when the node is new.
func (d Driver) service(c *runtime.Cluster, m runtime.Member, serves string, before ...runtime.Step) ([]runtime.Step, error) {
	config, err := configuration(c, m, "node-label", "node-taint")
	if err != nil {
		return nil, err
	}
	registries, err := mirrored(c, m)
	if err != nil {
		return nil, err
	}
	files, err := datastoreSteps(c, m)
	if err != nil {
		return nil, err
	}
	reads := []string{config, unitText(c, m), envFile(c, m), registries, c.Image().Digest}
	for _, f := range files {
		reads = append(reads, fmt.Sprint(f.Do.(runtime.Write).Data))
	}
	step := runtime.ServiceStep(unit(m.Role), true, reads...)
	step.Reads = []string{configFile, registriesFile, envPath(m), unitPath(m), program}
	step.With, step.Disturbs.API = serves, m.Role == runtime.Master
	return append(before, step), nil
}

// Grant does nothing: the tokens are known before any host is.
func (Driver) Grant(*runtime.Cluster) []runtime.Step { return nil }

// Forget does nothing: a host whose join stopped half way keeps its password
// (/etc/rancher/node/password), and its node is its own when it tries again.
func (Driver) Forget(*runtime.Cluster, runtime.Member) []runtime.Step { return nil }

// Welcome moves a single server to etcd.
func (d Driver) Welcome(c *runtime.Cluster) []runtime.Step {
	if !d.Votes(c) {
		return nil
	}
	return found()
}

var _ runtime.MasterJoiner = Driver{}

// JoinMaster makes a prepared host a further server.
func (d Driver) JoinMaster(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	var steps []runtime.Step
	if d.Votes(c) { // servers that share a datastore find each other there
		steps = append(steps, runtime.Step{ID: joined, Unless: founded, Do: runtime.Write{Path: roleFile, Data: joining(c), Mode: 0o600}})
	}
	return d.service(c, m, "", steps...)
}

// Voting waits until the etcd member of a server is no learner any more, which
// k3s tells by a condition of its node.
func (d Driver) Voting(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	return runtime.Voting(d, c, m, "condition=EtcdIsVoter", "node/"+m.Hostname, readyTimeout)
}

// JoinNode makes a prepared host an agent.
func (d Driver) JoinNode(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return d.service(c, m, "")
}

var _ runtime.Verifier = Driver{}

// Verify demands every container image of the list: k3s takes them in before
// its kubelet is Ready.
func (Driver) Verify(c *runtime.Cluster, _ runtime.Member) []runtime.Step {
	if docker.Chosen(c) {
		return docker.Present(c.Images)
	}
	return runtime.AllPresent(c.Images, runtime.Present{Argv: []string{program, "ctr", "images", "ls", "-q"}, Patience: runtime.ImportPause})
}

// Settled waits for the cluster's own DNS, unless it is disabled.
func (d Driver) Settled(c *runtime.Cluster) []runtime.Step {
	if disabled, err := disabled(c); err != nil || slices.Contains(disabled, "coredns") {
		return nil
	}
	return []runtime.Step{runtime.RolledOut(d, "deployment/coredns", readyTimeout)}
}

var _ runtime.Leaver = Driver{}

// Votes reports whether the servers keep an etcd of their own: where there are
// several, unless the configuration names another store. A server that was one
// of several stays on etcd, where its vote is the only one.
func (Driver) Votes(c *runtime.Cluster) bool {
	s, err := ofServers(c)
	return err == nil && s[datastore] == nil && (c.Voted || len(c.Masters()) > 1)
}

// Leave takes the node of a server away, upon which the other servers remove
// its etcd member; the node is gone when they have
// (https://docs.k3s.io/datastore/ha-embedded). The server itself is stopped at
// once, by what cleans its host, or it would come back.
func (d Driver) Leave(_ *runtime.Cluster, m runtime.Member, _ bool) ([]runtime.Step, error) {
	if m.Hostname == "" {
		return nil, nil
	}
	return []runtime.Step{{ID: "delete node " + m.Hostname, Do: runtime.Exec{
		Argv: d.Kubectl("delete", "node", m.Hostname, "--ignore-not-found"), Timeout: readyTimeout, Always: true, Retry: true,
	}}}, nil
}

// flush takes out of the kernel of a host what k3s put there.
func flush(c *runtime.Cluster) runtime.Flush {
	s, _ := ofServers(c) // what cannot be read now must not keep a host from being cleaned
	return runtime.Flush{
		Links:    []string{"cni[0-9]*", "flannel.*", "flannel-v6.*", "flannel-wg*", "cali*", "cilium_*", "kube-ipvs0"},
		Netns:    []string{"cni-*"},
		Tables:   []string{"kube-proxy", "cni-*", "flannel-*"},
		Chains:   []string{"KUBE-", "CNI-", "FLANNEL-", "cali-"},
		Comments: []string{"KUBE-ROUTER rule"}, // of its network policies
		Networks: list(s.text("cluster-cidr", podCIDR)),
		Cgroups:  []string{"kubepods", "kubepods.slice"},
	}
}
