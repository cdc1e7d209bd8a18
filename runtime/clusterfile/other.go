package clusterfile

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Other is a document of the distribution's own: what sealrt would write itself
// is merged with it, and what it says wins, false and empty values included. A
// configuration of k3s has neither APIVersion nor Kind.
type Other struct {
	APIVersion string
	Kind       string
	Line       int    // where it begins in the file
	Raw        string // the document as it stands there, YAML
}

// Mapped returns the document with f of the texts in it; one that f leaves as it
// is keeps its form.
func (o Other) Mapped(f func(string) string) (Other, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(o.Raw), &doc); err != nil {
		return o, fmt.Errorf("a document of the distribution: %w", err)
	}
	changed := false
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
			if s := f(n.Value); s != n.Value {
				n.SetString(s)
				changed = true
			}
		}
		for i, child := range n.Content {
			if n.Kind != yaml.MappingNode || i%2 == 1 {
				walk(child)
			}
		}
	}
	walk(&doc)
	if !changed {
		return o, nil
	}
	out, err := yaml.Marshal(&doc)
	o.Raw = string(out)
	return o, err
}

// kinds are the documents of distributions that may stand beside ours: the
// configurations of kubeadm, which brings the kubelet's and kube-proxy's along,
// and of k0s.
func kinds() map[string][]string {
	return map[string][]string{
		"kubeadm.k8s.io":          {"ClusterConfiguration", "InitConfiguration", "JoinConfiguration", "ResetConfiguration", "UpgradeConfiguration"},
		"kubelet.config.k8s.io":   {"KubeletConfiguration"},
		"kubeproxy.config.k8s.io": {"KubeProxyConfiguration"},
		"k0s.k0sproject.io":       {"ClusterConfig"},
	}
}

// versions are what to write for a kind that comes without its version.
func versions() map[string]string {
	return map[string]string{
		"ClusterConfiguration": "kubeadm.k8s.io/v1beta4", "InitConfiguration": "kubeadm.k8s.io/v1beta4",
		"JoinConfiguration": "kubeadm.k8s.io/v1beta4", "ResetConfiguration": "kubeadm.k8s.io/v1beta4", "UpgradeConfiguration": "kubeadm.k8s.io/v1beta4",
		"KubeletConfiguration": "kubelet.config.k8s.io/v1beta1", "KubeProxyConfiguration": "kubeproxy.config.k8s.io/v1alpha1",
		"ClusterConfig": "k0s.k0sproject.io/v1beta1",
	}
}

// other reports whether a document is one of a distribution, and says why not.
func other(m *mistakes, n *yaml.Node, apiVersion, kind string) bool {
	all := []string{Kind}
	for k := range versions() {
		all = append(all, k)
	}
	slices.Sort(all)
	group, _, _ := strings.Cut(apiVersion, "/")
	switch list := kinds()[group]; {
	case apiVersion == "" && kind == "":
		return isK3s(m, n)
	case apiVersion == "" && versions()[kind] != "":
		m.add(n.Line, "kind %s has no apiVersion: add the one of your version, like apiVersion: %s", kind, versions()[kind])
	case apiVersion == "":
		m.add(n.Line, "kind %s has no apiVersion, and sealrt knows no such kind%s", kind, hint(kind, all))
	case kind == "":
		m.add(n.Line, "apiVersion %s has no kind", apiVersion)
	case list != nil && slices.Contains(list, kind):
		return true
	case list != nil:
		m.add(n.Line, "sealrt knows no kind %s of %s%s", kind, group, hint(kind, list))
	case kind == Kind:
		m.add(n.Line, "this cluster is of apiVersion %s: a Clusterfile of sealrt has apiVersion: %s, and other fields than other tools (`sealrt gen` prints one)", apiVersion, APIVersion)
	default:
		m.add(n.Line, "sealrt knows no kind %s of apiVersion %s: a file has the cluster, and configurations of kubeadm, k0s or k3s; objects of Kubernetes belong into manifests/ of an image%s", kind, apiVersion, instead(kind, all))
	}
	return false
}

// instead returns what a document was most probably meant to be.
func instead(kind string, all []string) string {
	if version := versions()[kind]; version != "" {
		return ": did you mean apiVersion " + version + "?"
	}
	return hint(kind, all)
}

// k3sKeys are the keys that tell a configuration of k3s from other documents:
// the flags of its server and agent that are written most
// (https://docs.k3s.io/installation/configuration#configuration-file).
func k3sKeys() []string {
	return []string{
		"write-kubeconfig", "write-kubeconfig-mode", "write-kubeconfig-group", "tls-san", "cluster-cidr", "service-cidr", "service-node-port-range",
		"cluster-dns", "cluster-domain", "flannel-backend", "flannel-iface", "disable", "disable-network-policy", "disable-kube-proxy",
		"disable-cloud-controller", "disable-helm-controller", "disable-apiserver", "disable-etcd", "cluster-init", "datastore-endpoint",
		"datastore-cafile", "secrets-encryption", "etcd-snapshot-schedule-cron", "etcd-snapshot-retention", "etcd-snapshot-dir", "etcd-arg",
		"etcd-expose-metrics", "kube-apiserver-arg", "kube-controller-manager-arg", "kube-scheduler-arg", "kube-proxy-arg", "kubelet-arg",
		"node-label", "node-taint", "node-name", "node-ip", "node-external-ip", "data-dir", "bind-address", "https-listen-port",
		"advertise-address", "advertise-port", "default-local-storage-path", "embedded-registry", "protect-kernel-defaults", "selinux", "snapshotter",
		"pause-image", "private-registry", "resolv-conf", "egress-selector-mode", "container-runtime-endpoint", "docker", "token", "agent-token",
		"token-file", "server", "debug", "log", "v", "vmodule", "system-default-registry", "prefer-bundled-bin", "kubelet-config",
	}
}

// isK3s reports whether a document without kind is a configuration of k3s.
func isK3s(m *mistakes, n *yaml.Node) bool {
	keys := k3sKeys()
	for i := 0; i+1 < len(n.Content); i += 2 {
		if slices.Contains(keys, strings.TrimSuffix(n.Content[i].Value, "+")) { // k3s: a + adds to what is there
			return true
		}
	}
	m.add(n.Line, "this document has neither apiVersion nor kind, and no key of a k3s configuration: a cluster begins with apiVersion: %s and kind: %s", APIVersion, Kind)
	return false
}

// checkOther refuses secrets, and fields that are given twice, in documents of a
// distribution.
func checkOther(m *mistakes, n *yaml.Node) {
	seen := map[*yaml.Node]bool{}
	var walk func(name string, n *yaml.Node)
	walk = func(name string, n *yaml.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		switch n.Kind {
		case yaml.MappingNode:
			lines := map[string]int{}
			for i := 0; i+1 < len(n.Content); i += 2 {
				key := n.Content[i]
				if before, twice := lines[key.Value]; twice {
					m.add(key.Line, "%s is given twice, first in line %d: keep one", key.Value, before)
				}
				lines[key.Value] = key.Line
				walk(key.Value, n.Content[i+1])
			}
		case yaml.SequenceNode:
			for _, c := range n.Content {
				walk(name, c)
			}
		case yaml.AliasNode:
			walk(name, n.Alias)
		case yaml.ScalarNode:
			if n.Tag == "!!str" && inClear(secretKey, name, n.Value) {
				m.add(n.Line, "%s: %v", name, errClear)
			}
		}
	}
	walk("", n)
}
