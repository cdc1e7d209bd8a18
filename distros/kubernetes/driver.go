// Package kubernetes knows the facts of a cluster made with kubeadm: which
// files, services and commands make a host a master or a node of it.
//
// Sources: kubeadm's configuration API v1beta4
// (https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/)
// and its command reference
// (https://kubernetes.io/docs/reference/setup-tools/kubeadm/).
package kubernetes

import (
	"cmp"
	"fmt"
	"time"

	"github.com/sealrt/sealrt/runtime"
)

// Driver is the kubeadm distribution.
type Driver struct{}

var _ runtime.Driver = Driver{}

// Paths and names of kubeadm, kubelet, containerd and CNI.
const (
	adminConf  = "/etc/kubernetes/admin.conf"
	kubectl    = "/usr/local/bin/kubectl"
	kubeadm    = "/usr/local/bin/kubeadm"
	ctr        = "/usr/local/bin/ctr"
	cniBin     = "/opt/cni/bin"
	configDir  = runtime.Scratch + "/kubeadm"
	initFile   = configDir + "/init.yaml"
	joinFile   = configDir + "/join.yaml"
	discovery  = configDir + "/discovery.conf"
	containerd = "/etc/containerd/config.toml"
)

// IDs of steps that others name.
const (
	claim    = "claim"
	programs = "bin"
	join     = "kubeadm join"
)

// podCIDR is the default of etc/kubeadm-init.yaml.tmpl.
const podCIDR = "10.244.0.0/16"

// What the first master grants to joining hosts.
const (
	token       runtime.Captured = "token"
	clusterInfo runtime.Captured = "cluster-info"
)

// How long the slow commands may take before they are given up.
const (
	initTimeout  = 10 * time.Minute
	joinTimeout  = 10 * time.Minute
	readyTimeout = 5 * time.Minute
)

// Name is "kubernetes".
func (Driver) Name() string { return "kubernetes" }

// Kubeconfig is where kubeadm puts the administrator's kubeconfig.
func (Driver) Kubeconfig() string { return adminConf }

// Check refuses versions whose kubeadm does not read the v1beta4
// configuration, which came with Kubernetes 1.31.
func (Driver) Check(c *runtime.Cluster) error {
	var major, minor int
	version := c.Image().Kind.Version
	if _, err := fmt.Sscanf(version, "v%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("version %q of the image is not like v1.34.4: set the label io.sealrt.distro.version", version)
	}
	if major == 1 && minor < 31 {
		return fmt.Errorf("kubernetes %s is too old: this version of sealrt needs v1.31 or newer", version)
	}
	return nil
}

// Needs names the ports of https://kubernetes.io/docs/reference/networking/ports-and-protocols/.
func (Driver) Needs(_ *runtime.Cluster, m runtime.Member) runtime.Needs {
	ports := []int{10250, 10256}
	if m.Role == runtime.Master {
		ports = append(ports, 6443, 2379, 2380, 10257, 10259)
	}
	return runtime.Needs{Ports: ports}
}

// trees are the directories that kubelet, containerd, etcd and the CNI plugins
// fill.
var trees = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"/etc/kubernetes", "/var/lib/kubelet", "/var/lib/etcd", "/var/log/pods", "/var/log/containers",
	"/etc/containerd", "/var/lib/containerd", "/run/containerd",
	"/etc/cni", "/opt/cni", "/var/lib/cni", "/opt/containerd", "/usr/libexec/kubernetes",
}

// Prepare installs binaries, containerd and the kubelet's unit.
func (d Driver) Prepare(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	rootfs := c.Image().Rootfs()
	steps := []runtime.Step{
		// kube-proxy mounts /lib/modules and the kubelet makes it where it is missing
		{ID: claim, Do: runtime.Claim{Paths: trees[:], IfAbsent: []string{"/usr/lib/modules"}}},
	}
	for _, dir := range []struct{ id, from, to string }{
		{programs, "bin", "/usr/local/bin"}, {"cri", "cri", "/usr/local/bin"}, {"cni", "cri/cni", cniBin},
	} {
		if names := c.Image().In(dir.from); len(names) > 0 {
			steps = append(steps, runtime.Step{ID: dir.id, Do: runtime.Install{Rootfs: rootfs, From: dir.from, Names: names, To: dir.to}})
		}
	}
	steps = append(steps, []runtime.Step{
		{ID: "modules", Do: runtime.Exec{Argv: []string{"systemctl", "restart", "systemd-modules-load"}, Tolerate: true}},
		{ID: "sysctl", Do: runtime.Exec{Argv: []string{"systemctl", "restart", "systemd-sysctl"}}},
		endpoint(c, m),
	}...)
	config, err := c.HostFile("etc/containerd/config.toml"+runtime.TemplateSuffix, containerd, m)
	if err != nil {
		return nil, err
	}
	write, _ := config.Do.(runtime.Write)
	return append(steps, config,
		runtime.ServiceStep("containerd", true, write.Data),
		runtime.ServiceStep("kubelet", false)), nil
}

// endpoint makes the stable name of the API an address that answers: a master
// is its own, a node's is the first master.
func endpoint(c *runtime.Cluster, m runtime.Member) runtime.Step {
	at := c.Masters()[0]
	if m.Role == runtime.Master {
		at = m
	}
	return runtime.Step{ID: "endpoint", Do: runtime.Block{
		Path: "/etc/hosts", Name: c.Name, Text: at.NodeIP + " " + c.EndpointHost(),
	}}
}

// Import hands images/ to containerd, in the namespace that the kubelet's
// images live in.
func (Driver) Import(_ *runtime.Cluster, i runtime.Image) []runtime.Step {
	if len(i.Images) == 0 {
		return nil
	}
	return []runtime.Step{
		{ID: "import the images of " + i.Ref.Familiar(), Do: runtime.Feed{
			Layout: i.Rootfs() + "/images",
			Argv:   []string{ctr, "-n", "k8s.io", "images", "import", "--all-platforms", "-"},
			Into:   "/var/lib/containerd",
		}},
		{ID: "images of " + i.Ref.Familiar() + " present", Do: runtime.Present{
			Argv: []string{ctr, "-n", "k8s.io", "images", "ls", "-q"}, Names: i.Images,
		}},
	}
}

// Init runs kubeadm init.
func (d Driver) Init(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	config, err := c.Render("etc/kubeadm-init.yaml"+runtime.TemplateSuffix, m)
	if err != nil {
		return nil, err
	}
	return []runtime.Step{
		{ID: "kubeadm init configuration", With: "kubeadm init", Do: runtime.Write{Path: initFile, Data: config, Mode: 0o600}},
		{ID: "kubeadm init", Do: runtime.Exec{
			Argv:    []string{kubeadm, "init", "--config", initFile, "--skip-token-print"},
			Recover: []string{kubeadm, "reset", "--force"},
			Timeout: initTimeout,
		}},
	}, nil
}

// Grant makes a token that lives as long as a join takes, and reads what a
// host needs to trust the cluster.
func (Driver) Grant(c *runtime.Cluster) []runtime.Step {
	return []runtime.Step{
		{ID: "token", Do: runtime.Exec{
			Argv:    []string{kubeadm, "token", "create", "--ttl", "30m", "--description", "sealrt join", "--kubeconfig", adminConf},
			Capture: token,
		}},
		{ID: "cluster-info", Do: runtime.Exec{
			Argv:    Driver{}.Kubectl("-n", "kube-public", "get", "configmap", "cluster-info", "-o", "jsonpath={.data.kubeconfig}"),
			Capture: clusterInfo,
		}},
	}
}

// Forget deletes the object of a node whose join was broken off. kubeadm join
// refuses a name that is Ready in the cluster already, which it stays for 40
// seconds after kubeadm reset.
func (d Driver) Forget(_ *runtime.Cluster, m runtime.Member) []runtime.Step {
	return []runtime.Step{{
		ID:    "forget " + m.Hostname,
		Mends: runtime.StepRef{Address: m.Address, ID: join},
		Do:    runtime.Exec{Argv: d.Kubectl("delete", "node", m.Hostname, "--ignore-not-found"), Timeout: time.Minute},
	}}
}

// JoinNode runs kubeadm join, which finds the cluster by the kubeconfig that
// the first master granted.
func (d Driver) JoinNode(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	config, err := c.Render("etc/kubeadm-join.yaml"+runtime.TemplateSuffix, m, token)
	if err != nil {
		return nil, err
	}
	return []runtime.Step{
		{ID: "discovery", With: join, Do: runtime.Write{Path: discovery, Data: clusterInfo.String(), Mode: 0o600, Secret: true}},
		{ID: "kubeadm join configuration", With: join, Do: runtime.Write{Path: joinFile, Data: config, Mode: 0o600, Secret: true}},
		{ID: join, Do: runtime.Exec{
			Argv:    []string{kubeadm, "join", "--config", joinFile},
			Recover: []string{kubeadm, "reset", "--force"},
			Timeout: joinTimeout,
		}},
		{ID: "forget the grant", With: join, Do: runtime.Remove{Paths: []string{joinFile, discovery}}},
	}, nil
}

// Settled waits for what kubeadm deploys into every cluster.
func (Driver) Settled(*runtime.Cluster) []runtime.Step {
	var steps []runtime.Step
	for _, what := range []string{"daemonset/kube-proxy", "deployment/coredns"} {
		steps = append(steps, runtime.Step{ID: "settled " + what, Do: runtime.Await{
			Argv:    Driver{}.Kubectl("-n", "kube-system", "rollout", "status", what, "--timeout=10s"),
			Timeout: readyTimeout,
		}})
	}
	return steps
}

// Reset stops the software and takes back what it put into the kernel. The
// kubelet goes first, or it would start again what kubeadm removes; containerd
// has to run for kubeadm to end the pods, also where it was stopped, since pods
// outlive it; it goes with the ledger.
// What kubeadm leaves: https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-reset/
func (Driver) Reset(c *runtime.Cluster, _ runtime.Member) []runtime.Step {
	return []runtime.Step{
		{ID: "stop kubelet", Undoes: claim, Do: runtime.Exec{Argv: []string{"systemctl", "stop", "kubelet"}, Tolerate: true, Always: true}},
		{ID: "start containerd", Undoes: runtime.ServiceID("containerd"), Do: runtime.Exec{Argv: []string{"systemctl", "start", "containerd"}, Tolerate: true, Always: true}},
		{ID: "kubeadm reset", Undoes: programs, Do: runtime.Exec{Argv: []string{kubeadm, "reset", "--force"}, Tolerate: true, Always: true}},
		{ID: "flush", Undoes: claim, Do: runtime.Flush{
			Links:    []string{"cni[0-9]*", "flannel.*", "cali*", "cilium_*", "kube-ipvs0"},
			Tables:   []string{"kube-proxy", "cni-*"},
			Chains:   []string{"KUBE-", "CNI-", "FLANNEL-", "cali-"},
			Networks: []string{cmp.Or(c.Network.PodCIDR, podCIDR)},
			Cgroups:  []string{"kubepods", "kubepods.slice"},
		}},
	}
}

// Kubectl is kubectl with the kubeconfig that kubeadm made.
func (Driver) Kubectl(args ...string) []string {
	return append([]string{kubectl, "--kubeconfig", adminConf, "--cache-dir", runtime.Scratch + "/kubectl"}, args...)
}
