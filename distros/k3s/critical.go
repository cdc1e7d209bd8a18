package k3s

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/sealrt/sealrt/runtime"
)

// critical are the settings in which all servers have to agree
// (https://docs.k3s.io/cli/server, "Critical Configuration Values"), and those
// beside them that servers cannot differ in.
var critical = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"agent-token", "cluster-cidr", "cluster-dns", "cluster-domain", "disable-cloud-controller", "disable-helm-controller", "disable-network-policy",
	"egress-selector-mode", "embedded-registry", "flannel-backend", "flannel-external-ip", "flannel-ipv6-masq", "secrets-encryption",
	"secrets-encryption-provider", "service-cidr",
	datastore, withoutBalancer,
}

// withoutBalancer is whether disable has servicelb in it.
const withoutBalancer = "disable servicelb"

// presets are what k3s does where it is not told; the others are off or empty.
var presets = map[string]string{ //nolint:gochecknoglobals // a table that nothing changes
	"cluster-cidr": podCIDR, "service-cidr": serviceCIDR, "cluster-domain": "cluster.local", "egress-selector-mode": "agent",
	"flannel-backend": "vxlan", "secrets-encryption-provider": "aescbc",
}

// differs names the first of some settings that two servers are told differently,
// "" if there is none, and what each of them is told.
func differs(a, b settings, keys []string) (key, one, other string) {
	for _, key := range keys {
		one, other := a.compared(key), b.compared(key)
		if one != other {
			return key, one, other
		}
	}
	return "", "", ""
}

// compared is a setting as servers compare it.
func (s settings) compared(key string) string {
	if key == withoutBalancer {
		return fmt.Sprint(slices.Contains(list(s["disable"]), "servicelb"))
	}
	otherwise := presets[key]
	if otherwise == "" {
		otherwise = "false"
	}
	text := s.text(key, otherwise)
	if key == datastore || key == "agent-token" {
		return text
	}
	return fmt.Sprint(list(text))
}

// telling is what may be told of a value.
func telling(key, one, other string) string {
	if key == datastore || key == "agent-token" {
		return key + " differs"
	}
	return fmt.Sprintf("%s is %s and %s", key, one, other)
}

// checkAlike refuses a cluster whose servers would not take each other in, as
// when a template of the image says something else on each, or whose hosts keep
// their data in different places.
func checkAlike(c *runtime.Cluster) error {
	first, err := ofServers(c)
	if err != nil {
		return err
	}
	masters := c.Masters()
	for _, m := range c.Members {
		s, err := settingsOf(c, m)
		if err != nil {
			return err
		}
		if dir, other := first.text("data-dir", dataDir), s.text("data-dir", dataDir); dir != other {
			return fmt.Errorf("data-dir is %s on %s and %s on %s: say the same everywhere", dir, masters[0].Name(), other, m.Name())
		}
		if m.Role != runtime.Master {
			continue
		}
		if key, one, other := differs(first, s, critical[:]); key != "" {
			return fmt.Errorf("%s on %s and %s: servers of k3s refuse each other so: say the same on all masters", telling(key, one, other), masters[0].Name(), m.Name())
		}
	}
	return nil
}

// lasting are the settings that a single server cannot change either: what is in
// its data is made with them.
var lasting = [...]string{"agent-token", "cluster-cidr", "cluster-dns", "cluster-domain", "service-cidr", datastore} //nolint:gochecknoglobals // a table that nothing changes

var _ runtime.ChangeChecker = Driver{}

// CheckChange refuses what servers of a cluster that stands would not take.
func (Driver) CheckChange(was, is *runtime.Cluster) error {
	return checkMoves(was, is, "reset the cluster to make it anew so")
}

// checkMoves refuses a change of what servers agree in: they start one after
// another, and the first would not come back among the others. A single server
// has nobody to agree with. Where it is not known what the image says that the
// cluster was made of, nothing is.
func checkMoves(c, next *runtime.Cluster, otherwise string) error {
	is, will, known, err := runtime.BeforeAndAfter(c, next, ofServers)
	if err != nil || !known {
		return err
	}
	for what, dirs := range map[string][2]string{
		"data-dir":          {is.text("data-dir", dataDir), will.text("data-dir", dataDir)},
		"dataDir.kubelet":   {cmp.Or(c.DataDir.Kubelet, kubeletDir), cmp.Or(next.DataDir.Kubelet, kubeletDir)},
		"container runtime": {cmp.Or(c.Runtime, "containerd"), cmp.Or(next.Runtime, "containerd")},
	} {
		if dirs[0] != dirs[1] {
			return fmt.Errorf("the cluster has %s for its %s, and would have %s: what it has would be left behind: keep %[1]s in the Clusterfile, or %[4]s", dirs[0], what, dirs[1], otherwise)
		}
	}
	keys, why := critical[:], "servers start one after another and refuse each other so"
	if len(c.Masters()) == 1 {
		keys, why = lasting[:], "the cluster's data is made with it"
	}
	if key, one, other := differs(is, will, keys); key != "" {
		return fmt.Errorf("%s, before and after: %s: keep what the cluster has, in a document of k3s in the Clusterfile, or %s", telling(key, one, other), why, otherwise)
	}
	return nil
}
