// Package kubernetes knows the facts of a cluster made with kubeadm: which
// files, services and commands make a host a master or a node of it.
//
// Sources: kubeadm's configuration API v1beta4
// (https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/)
// and its command reference
// (https://kubernetes.io/docs/reference/setup-tools/kubeadm/).
package kubernetes

import (
	"fmt"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
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
	claim    = runtime.ClaimID
	programs = runtime.ProgramsID
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
		{ID: claim, Do: runtime.Claim{Paths: trees[:], IfAbsent: []string{"/usr/lib/modules", "/run/xtables.lock"}, IfEmpty: []string{"/run/netns"}, Parameters: runtime.NodeParameters()}},
	}
	for _, dir := range []struct{ id, from, to string }{
		{programs, "bin", "/usr/local/bin"}, {"cri", "cri", "/usr/local/bin"}, {"cni", "cri/cni", cniBin},
	} {
		if names := c.Image().In(dir.from); len(names) > 0 {
			steps = append(steps, runtime.Step{ID: dir.id, Do: runtime.Install{Rootfs: rootfs, From: dir.from, Names: names, To: dir.to}})
		}
	}
	steps = append(steps, []runtime.Step{
		endpoint(c, m),
	}...)
	config, err := c.HostFile("etc/containerd/config.toml"+runtime.TemplateSuffix, containerd, m)
	if err != nil {
		return nil, err
	}
	write, _ := config.Do.(runtime.Write)
	if write.Data, _, err = mirrors.ContainerdConfig(write.Data); err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	config.Do = write
	cri := runtime.ServiceStep("containerd", true, write.Data)
	cri.Reads = []string{containerd}
	return append(steps, config,
		cri,
		runtime.ServiceStep("kubelet", false)), nil
}

var _ runtime.Mirrorer = Driver{}

// Mirror writes containerd's files of registries, where the image's configuration
// of containerd has them.
func (Driver) Mirror(c *runtime.Cluster, m runtime.Member, to runtime.Mirror) ([]runtime.Step, error) {
	config, err := c.HostFile("etc/containerd/config.toml"+runtime.TemplateSuffix, containerd, m)
	if err != nil {
		return nil, err
	}
	write, _ := config.Do.(runtime.Write)
	_, dir, err := mirrors.ContainerdConfig(write.Data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return runtime.MirrorSteps(c, m, func(existing string) ([]mirrors.File, error) { return mirrors.Hosts(to, dir, existing) })
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
	tarballs := i.In("images")
	if len(i.Images)+len(tarballs) == 0 {
		return nil
	}
	return []runtime.Step{
		{ID: "import the images of " + i.Ref.Familiar(), Do: runtime.Feed{
			Image: i.Digest, Tarballs: tarballs,
			Argv: []string{ctr, "-n", "k8s.io", "images", "import", "--all-platforms", "-"},
			Into: "/var/lib/containerd",
		}},
		{ID: "images of " + i.Ref.Familiar() + " present", Do: runtime.Present{
			Argv: []string{ctr, "-n", "k8s.io", "images", "ls", "-q"}, Names: i.Images,
		}},
	}
}

// startOver takes back an init or a join that was broken off. kubeadm leaves the
// network of a node that is none any more: the first pods of the node that comes
// would get addresses which nobody routes, since it has others. The directory of
// the network's configuration stays: containerd made it, and watches that one.
func startOver() []runtime.Action {
	return []runtime.Action{
		runtime.Exec{Argv: []string{kubeadm, "reset", "--force"}},
		runtime.Flush{Links: links()},
		runtime.Exec{Argv: []string{"find", "/etc/cni/net.d", "-mindepth", "1", "-delete"}},
	}
}

// links are the interfaces that networks of pods make.
func links() []string { return []string{"cni[0-9]*", "flannel.*", "cali*", "cilium_*", "kube-ipvs0"} }

// Init runs kubeadm init.
func (d Driver) Init(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	config, err := c.Render("etc/kubeadm-init.yaml"+runtime.TemplateSuffix, m)
	if err == nil {
		config, err = c.WithDocuments(config, kindsOfInit[:]...)
	}
	if err != nil {
		return nil, err
	}
	return []runtime.Step{
		{ID: "kubeadm init configuration", With: "kubeadm init", Do: runtime.Write{Path: initFile, Data: config, Mode: 0o600, From: "etc/kubeadm-init.yaml" + runtime.TemplateSuffix}},
		{ID: "kubeadm init", Tells: []string{"kubelet"}, Do: runtime.Exec{
			Argv:    []string{kubeadm, "init", "--config", initFile, "--skip-token-print"},
			Recover: startOver(),
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
	if err == nil {
		config, err = c.WithDocuments(config, kindsOfJoin[:]...)
	}
	if err != nil {
		return nil, err
	}
	return []runtime.Step{
		{ID: "discovery", With: join, Do: runtime.Write{Path: discovery, Data: clusterInfo.String(), Mode: 0o600, Secret: true}},
		{ID: "kubeadm join configuration", With: join, Do: runtime.Write{Path: joinFile, Data: config, Mode: 0o600, Secret: true}},
		{ID: join, Tells: []string{"kubelet"}, Do: runtime.Exec{
			Argv:    []string{kubeadm, "join", "--config", joinFile},
			Recover: startOver(),
			Timeout: joinTimeout,
		}},
		{ID: "forget the grant", With: join, Do: runtime.Remove{Paths: []string{joinFile, discovery}}},
	}, nil
}

// Settled waits for what kubeadm deploys into every cluster.
func (d Driver) Settled(*runtime.Cluster) []runtime.Step {
	return []runtime.Step{runtime.RolledOut(d, "daemonset/kube-proxy", readyTimeout), runtime.RolledOut(d, "deployment/coredns", readyTimeout)}
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
			Links:    links(),
			Tables:   []string{"kube-proxy", "cni-*"},
			Chains:   []string{"KUBE-", "CNI-", "FLANNEL-", "cali-"},
			Networks: or(c.Network.PodCIDR, podCIDR),
			Cgroups:  []string{"kubepods", "kubepods.slice"},
		}},
	}
}

// Kubectl is kubectl with the kubeconfig that kubeadm made.
func (Driver) Kubectl(args ...string) []string {
	return append([]string{kubectl, "--kubeconfig", adminConf, "--cache-dir", runtime.Scratch + "/kubectl"}, args...)
}
