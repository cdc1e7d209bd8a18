package k3s

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// owned are the settings that only sealrt can know.
var owned = [...]string{"token", "token-file", "agent-token", "agent-token-file", "server", "cluster-init", "node-name"} //nolint:gochecknoglobals // a table that nothing changes

// fixed are the settings that sealrt knows one value of.
var fixed = map[string]string{ //nolint:gochecknoglobals // a table that nothing changes
	"write-kubeconfig": kubeconfig, "private-registry": registriesFile, "https-listen-port": fmt.Sprint(apiPort),
}

// ownedVariables would win over config.yaml
// (https://docs.k3s.io/reference/env-variables).
var ownedVariables = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"K3S_TOKEN", "K3S_TOKEN_FILE", "K3S_AGENT_TOKEN", "K3S_AGENT_TOKEN_FILE", "K3S_CLUSTER_SECRET", "K3S_URL", "K3S_CLUSTER_INIT",
	"K3S_NODE_NAME", "K3S_CONFIG_FILE", "K3S_DATA_DIR", "K3S_KUBECONFIG_OUTPUT",
}

// refuse says why settings cannot be taken from an image or a user.
func refuse(c *runtime.Cluster, where string, s settings) error {
	for _, key := range slices.Sorted(maps.Keys(s)) {
		name := strings.TrimSuffix(key, "+")
		if slices.Contains(owned[:], name) {
			return fmt.Errorf("%s says %s, which is different on every cluster or host: leave it away", where, name)
		}
		if only, ok := fixed[name]; ok && s[key] != nil && fmt.Sprint(s[key]) != only {
			return fmt.Errorf("%s says %s %v: only %s is known to this version of sealrt", where, name, s[key], only)
		}
	}
	v, err := releaseOf(c)
	if err != nil {
		return nil //nolint:nilerr // Check says that
	}
	return checkFlags(where, s, v)
}

// Check refuses what this driver cannot make.
func (d Driver) Check(c *runtime.Cluster) error {
	if _, err := releaseOf(c); err != nil {
		return err
	}
	if err := c.OnlyDocuments(func(o clusterfile.Other) bool { return o.APIVersion == "" && o.Kind == "" }); err != nil {
		return err
	}
	s, err := ofServers(c)
	if err != nil {
		return err
	}
	if err := cmp.Or(checkStateDir(s), checkDatastore(s), checkDocker(c, s), checkAddresses(c, s), checkAlike(c)); err != nil {
		return err
	}
	if dir := c.DataDir.Etcd; dir != "" {
		return fmt.Errorf("dataDir.etcd is %s: k3s keeps that below %s and cannot be told another place for it: leave it away, mount a disk there, or give k3s a data-dir", dir, dataDir)
	}
	if err := c.CheckProxy(); err != nil {
		return err
	}
	for _, m := range c.Members {
		if err := checkMember(c, m); err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
	}
	return nil
}

func checkMember(c *runtime.Cluster, m runtime.Member) error {
	vars := variables(c, m)
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if slices.Contains(ownedVariables[:], name) {
			return fmt.Errorf("env says %s, which k3s takes before all that sealrt writes: leave it away", name)
		}
		if err := runtime.CheckRevealed("env "+name, vars[name]); err != nil {
			return err
		}
	}
	for _, key := range slices.Sorted(maps.Keys(m.Labels)) {
		if !mayLabel(key) {
			return fmt.Errorf("label %s: a kubelet may not give its own node this label, and would not start: use another key, or kubectl label afterwards", key)
		}
	}
	return nil
}

// mayLabel reports whether a kubelet takes a label for its own node
// (https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/,
// --node-labels).
func mayLabel(key string) bool {
	prefix, _, ok := strings.Cut(key, "/")
	within := func(domain string) bool { return prefix == domain || strings.HasSuffix(prefix, "."+domain) }
	switch {
	case !ok, !within("kubernetes.io") && !within("k8s.io"), within("kubelet.kubernetes.io"), within("node.kubernetes.io"):
		return true
	}
	return slices.Contains([]string{
		"beta.kubernetes.io/arch", "beta.kubernetes.io/instance-type", "beta.kubernetes.io/os", "failure-domain.beta.kubernetes.io/region",
		"failure-domain.beta.kubernetes.io/zone", "kubernetes.io/arch", "kubernetes.io/hostname", "kubernetes.io/os",
		"topology.kubernetes.io/region", "topology.kubernetes.io/zone",
	}, key)
}
