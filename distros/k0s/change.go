package k0s

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

var (
	_ runtime.Configured    = Driver{}
	_ runtime.ChangeChecker = Driver{}
	_ runtime.Remainer      = Driver{}
)

// CheckChange refuses what a cluster of k0s that stands cannot become.
func (Driver) CheckChange(was, is *runtime.Cluster) error { return checkMoves(was, is) }

// checkMoves refuses a change of what a cluster is made with: its networks and who
// provides them (docs.k0sproject.io, "Networking": a provider cannot be changed),
// where its data is, and by which address hosts know it. What cannot be known of
// the image that the cluster was made of is not held against anything.
func checkMoves(c, next *runtime.Cluster) error {
	is, will, known, err := runtime.BeforeAndAfter(c, next, ofControllers)
	if err != nil || !known {
		return err
	}
	if is.Spec.Storage.Kine.DataSource != will.Spec.Storage.Kine.DataSource || // either may hold a password
		fmt.Sprint(is.Spec.Storage.Etcd.ExternalCluster) != fmt.Sprint(will.Spec.Storage.Etcd.ExternalCluster) {
		return errors.New("the database in spec.storage would be another one, and the cluster's data would be left behind: keep it, or reset the cluster to make it anew so")
	}
	then, now := is.made(), will.made()
	then["dataDir.kubelet"], now["dataDir.kubelet"] = kubeletRoot(c), kubeletRoot(next)
	for _, name := range made {
		if then[name] != now[name] {
			return fmt.Errorf("%s would change from %q to %q, which k0s cannot do to a cluster that stands: keep it, in a %s in the Clusterfile, or reset the cluster to make it anew so", name, then[name], now[name], configKind)
		}
	}
	return nil
}

// made are what a cluster is made with, in the order in which they are told of.
var made = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"spec.storage.type", "spec.network.provider", "spec.network.clusterDomain", "the networks of pods", "the networks of services",
	"spec.api.externalAddress", "dataDir.kubelet",
}

// made is what the configuration says of them, or what k0s does where it is not
// told.
func (t told) made() map[string]string {
	pods, services := t.cidrs()
	return map[string]string{
		"spec.storage.type": t.Spec.Storage.Type, "spec.api.externalAddress": t.Spec.API.ExternalAddress,
		"spec.network.provider":      cmp.Or(t.Spec.Network.Provider, kubeRouter),
		"spec.network.clusterDomain": cmp.Or(t.Spec.Network.ClusterDomain, "cluster.local"),
		"the networks of pods":       strings.Join(pods, ","), "the networks of services": strings.Join(services, ","),
	}
}

// Remains names a database outside of the hosts, which may be what the user cares
// for most.
func (Driver) Remains(c *runtime.Cluster) []string {
	t, err := ofControllers(c)
	if err != nil || t.votes() || single(c) {
		return nil // what cannot be read now must not keep a host from being cleaned
	}
	place := "spec.storage.etcd.externalCluster"
	if t.Spec.Storage.Kine.DataSource != "" {
		place = "spec.storage.kine.dataSource"
		if clusterfile.IsReference(t.Spec.Storage.Kine.DataSource) {
			place += " (" + t.Spec.Storage.Kine.DataSource + ")"
		}
	}
	return []string{fmt.Sprintf("the database that %s names is not touched: drop its tables, or keys, before it serves another cluster", place)}
}
