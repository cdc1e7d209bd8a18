package k0s

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/release"
)

// oldest is the first line whose etcd members can be asked to leave by an
// object, EtcdMember, and whose answer can be waited for.
const oldest = 31

const apiPort = 6443

// Check refuses what this driver cannot make.
func (d Driver) Check(c *runtime.Cluster) error {
	if err := release.CheckOldest("k0s", c.Image().Kind.Version, like, oldest); err != nil {
		return err
	}
	if err := c.OnlyDocuments(func(o clusterfile.Other) bool { return o.APIVersion == configAPI && o.Kind == configKind }); err != nil {
		return err
	}
	for _, o := range c.Others {
		if err := refuse(fmt.Sprintf("%s in line %d of the Clusterfile", configKind, o.Line), []byte(o.Raw)); err != nil {
			return err
		}
	}
	t, err := ofControllers(c)
	return cmp.Or(err, checkFields(c), c.CheckProxy(), checkArgs(c), checkStorage(c, t), checkWay(c, t))
}

// refuse says why a configuration cannot be taken from an image or a user: what
// it says differs on every host, or only one value of it is known here.
func refuse(where string, raw []byte) error {
	var t told
	if err := yaml.Unmarshal(raw, &t); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	switch {
	case t.Spec.API.Address != "":
		return fmt.Errorf("%s says spec.api.address, which is different on every controller: leave it away", where)
	case t.Spec.Storage.Etcd.PeerAddress != "":
		return fmt.Errorf("%s says spec.storage.etcd.peerAddress, which is different on every controller: leave it away", where)
	case t.Spec.API.Port != 0 && t.Spec.API.Port != apiPort:
		return fmt.Errorf("%s says spec.api.port %d: only %d is known to this version of sealrt", where, t.Spec.API.Port, apiPort)
	}
	return nil
}

// checkFields refuses fields of the Clusterfile that have no effect here.
func checkFields(c *runtime.Cluster) error {
	return runtime.RefuseNoEffect("k0s", []runtime.NoEffect{
		{Field: "runtime " + c.Runtime, Given: c.Runtime != "" && c.Runtime != "containerd", Instead: "k0s brings containerd"},
		{Field: "network.clusterDNS", Given: c.Network.ClusterDNS != "", Instead: "k0s takes the tenth address of network.serviceCIDR"},
		{Field: "dataDir.containerd", Given: c.DataDir.Containerd != "", Instead: "mount a disk at " + dataDir},
		{Field: "dataDir.etcd", Given: c.DataDir.Etcd != "", Instead: "mount a disk at " + dataDir + "/etcd"},
	})
}

// checkStorage refuses hosts that could not share what the cluster knows.
func checkStorage(c *runtime.Cluster, t told) error {
	switch s := t.Spec.Storage; {
	case !slices.Contains([]string{"etcd", "kine"}, s.Type):
		return fmt.Errorf("spec.storage.type %q: write etcd or kine", s.Type)
	case single(c) && len(c.Members) > 1:
		return errors.New("spec.storage.type kine without a dataSource is a SQLite on one host, which no other host can join: leave it away, or name a database")
	}
	return nil
}

// checkWay refuses a cluster whose nodes would know one of several masters
// alone. What the image brings is known where it is opened.
func checkWay(c *runtime.Cluster, t told) error {
	if host, port, err := net.SplitHostPort(c.Endpoint); err == nil && port != fmt.Sprint(apiPort) {
		return fmt.Errorf("endpoint %s: hosts of k0s reach %s at the ports %d, 8132 and 9443: have it pass these on and write %s", c.Endpoint, host, apiPort, net.JoinHostPort(host, fmt.Sprint(apiPort)))
	}
	n := t.Spec.Network
	switch {
	case n.NodeLocalLoadBalancing.Enabled && t.Spec.API.ExternalAddress != "":
		return errors.New("node-local load balancing and an address in front of the masters exclude each other: leave endpoint (spec.api.externalAddress) or spec.network.nodeLocalLoadBalancing away")
	case c.Image().Files != nil && len(c.Masters()) > 1 && c.Endpoint == "" && t.Spec.API.ExternalAddress == "" && !n.NodeLocalLoadBalancing.Enabled && !n.ControlPlaneLoadBalancing.Enabled:
		return fmt.Errorf("%d masters, no endpoint, and no load balancer in the image: nodes would know one master alone: add quay.io/k0sproject/%s of this version to the image's list (k0s airgap list-images --all names it), or set endpoint", len(c.Masters()), balancerImage)
	}
	return nil
}
