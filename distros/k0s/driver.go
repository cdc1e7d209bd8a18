// Package k0s knows the facts of a k0s cluster: which files, services and
// commands make a host a controller (a master) or a worker (a node) of it.
//
// A master is a controller that runs pods too, as masters of the other
// distributions are: `--enable-worker --no-taints`. What a cluster is to be is
// in /etc/k0s/k0s.yaml; the arguments of the service say what a host is.
//
// Sources: https://docs.k0sproject.io/stable/k0s-multi-node,
// https://docs.k0sproject.io/stable/configuration,
// https://docs.k0sproject.io/stable/airgap-install,
// https://docs.k0sproject.io/stable/nllb and
// https://docs.k0sproject.io/stable/remove_controller.
package k0s

import (
	"path"
	"slices"
	"time"

	"github.com/sealrt/sealrt/runtime"
)

// Driver is the k0s distribution.
type Driver struct{}

var _ runtime.Driver = Driver{}

// Paths and names of k0s (docs.k0sproject.io, "FHS").
const (
	program    = "/usr/local/bin/k0s"
	configDir  = "/etc/k0s"
	configFile = configDir + "/k0s.yaml"
	tokenFile  = configDir + "/join-token" // while a host joins
	dataDir    = "/var/lib/k0s"
	pkiDir     = dataDir + "/pki"
	kubeconfig = pkiDir + "/admin.conf"
	imagesDir  = dataDir + "/images"
	kubeletDir = dataDir + "/kubelet" // unless dataDir.kubelet says another
	kept       = runtime.Scratch + "/k0s"
)

// IDs of steps that others name.
const (
	joined   = "joined"
	rejoined = "joined again"
)

// readyTimeout is how long the slow parts may take before they are given up.
const readyTimeout = 10 * time.Minute

// Name is "k0s".
func (Driver) Name() string { return "k0s" }

// Kubeconfig is where k0s puts the administrator's kubeconfig.
func (Driver) Kubeconfig() string { return kubeconfig }

// Kubectl is the kubectl that k0s holds.
func (Driver) Kubectl(args ...string) []string {
	return append([]string{program, "kubectl", "--kubeconfig", kubeconfig, "--cache-dir", runtime.Scratch + "/kubectl"}, args...)
}

// unit is the service of a role, as `k0s install` calls it.
func unit(r runtime.Role) string {
	return runtime.ByRole(r, "k0scontroller", "k0sworker")
}

// unitPath is where `k0s install` puts the unit of a role.
func unitPath(r runtime.Role) string { return "/etc/systemd/system/" + unit(r) + ".service" }

// claims are the places that k0s fills. The kubelet makes its sockets for
// devices below /var/lib/kubelet wherever its data is, and containerd its
// folder in /opt, and that of its shims in /run.
func claims(c *runtime.Cluster, m runtime.Member) runtime.Claim {
	a := runtime.Claim{
		Paths: []string{
			configDir, dataDir, "/run/k0s", unitPath(m.Role), "/usr/libexec/k0s", "/etc/cni", "/opt/cni", "/var/lib/cni",
			"/var/log/pods", "/var/log/containers",
		},
		IfAbsent:   []string{"/usr/lib/modules", "/run/xtables.lock", "/opt/containerd", "/run/containerd", "/var/lib/kubelet"},
		IfEmpty:    []string{"/run/netns"},
		Parameters: runtime.NodeParameters(),
	}
	if dir := c.DataDir.Kubelet; dir != "" {
		a.Paths = append(a.Paths, dir)
	}
	return a
}

// Prepare puts the program and its configuration in place. A controller that
// starts without a token founds a cluster of its own, so that the service is
// made where the cluster is begun or joined.
func (Driver) Prepare(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	steps := []runtime.Step{
		{ID: runtime.ClaimID, Do: claims(c, m)},
		runtime.Programs(c.Image(), path.Dir(program)),
		{ID: "unit", Do: unitWrite(c, m)},
	}
	settings, err := dropIns(c, m)
	if steps = append(steps, settings...); m.Role == runtime.Node || err != nil {
		return steps, err
	}
	read, config, err := configSteps(c, m, path.Join(c.Image().Rootfs(), "bin", path.Base(program)))
	return slices.Concat(read, steps, config), err
}

// configSteps tell a controller what the cluster is, when a k0s has read it:
// what k0s refuses changes nothing on a host, and one that runs keeps what it has
// and can start again with it.
func configSteps(c *runtime.Cluster, m runtime.Member, k0s string) (read, write []runtime.Step, err error) {
	config, err := configuration(c, m)
	if err != nil {
		return nil, nil, err
	}
	const told = "configuration"
	validate := runtime.Exec{Argv: []string{k0s, "config", "validate", "--config", "-"}, Stdin: config}
	return []runtime.Step{{ID: "validate the configuration", With: told, Again: true, Do: validate}},
		[]runtime.Step{{ID: told, Do: runtime.Write{Path: configFile, Data: config, Mode: 0o600, Secret: true}}}, nil
}

// Init makes the first controller.
func (d Driver) Init(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return d.service(c, m, "", installStep(m, ""))
}

var _ runtime.MasterJoiner = Driver{}

// JoinMaster makes a prepared host a further controller.
func (d Driver) JoinMaster(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return d.join(c, m)
}

// JoinNode makes a prepared host a worker.
func (d Driver) JoinNode(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	return d.join(c, m)
}

// Welcome does nothing: a controller on etcd takes others as it is.
func (Driver) Welcome(*runtime.Cluster) []runtime.Step { return nil }

// Voting waits until a controller says that its etcd is a member, which it says
// when it is no learner any more
// (docs.k0sproject.io, "Declarative Etcd member management").
func (d Driver) Voting(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	return runtime.Voting(d, c, m, "condition=Joined", "etcdmember/"+m.Hostname, readyTimeout)
}

// Forget does nothing: a host whose join stopped half way joins with another
// token, under its name.
func (Driver) Forget(*runtime.Cluster, runtime.Member) []runtime.Step { return nil }

var _ runtime.Verifier = Driver{}

// Verify demands a kubelet that answers, for logs and exec, and every container
// image of the list: a worker takes in what lies in its images directory before
// its kubelet starts.
func (Driver) Verify(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	present := runtime.Present{Argv: []string{program, "ctr", "images", "ls", "-q"}, Patience: runtime.ImportPause}
	return append([]runtime.Step{kubeletAnswers(c, m)}, runtime.AllPresent(c.Images, present)...)
}

// Settled waits for the cluster's own DNS, unless it is left out.
func (d Driver) Settled(c *runtime.Cluster) []runtime.Step {
	if disables(c, "coredns") {
		return nil
	}
	return []runtime.Step{runtime.RolledOut(d, "deployment/coredns", readyTimeout)}
}
