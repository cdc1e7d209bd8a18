package kubernetes

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/release"
)

// configAPI is the version of kubeadm's configuration that this driver writes.
const configAPI = "kubeadm.k8s.io/v1beta4"

// kindsOfInit and kindsOfJoin are the documents that kubeadm init and join read.
var (
	kindsOfInit = [...]string{"InitConfiguration", "ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"} //nolint:gochecknoglobals // a table that nothing changes
	kindsOfJoin = [...]string{"JoinConfiguration"}                                                                           //nolint:gochecknoglobals // a table that nothing changes
)

// oldest is the first line whose kubeadm reads configAPI.
const oldest = 31

// Check refuses versions whose kubeadm does not read the v1beta4 configuration,
// which came with Kubernetes 1.31, and what this driver would take no notice of.
func (Driver) Check(c *runtime.Cluster) error {
	if err := release.CheckOldest("kubernetes", c.Image().Kind.Version, like, oldest); err != nil {
		return err
	}
	if err := checkFields(c); err != nil {
		return err
	}
	return c.OnlyDocuments(func(o clusterfile.Other) bool {
		if strings.HasPrefix(o.APIVersion, "kubeadm.k8s.io/") && o.APIVersion != configAPI {
			return false
		}
		return slices.Contains(kindsOfInit[:], o.Kind) || slices.Contains(kindsOfJoin[:], o.Kind)
	})
}

// checkFields refuses fields of the Clusterfile that have no effect here.
func checkFields(c *runtime.Cluster) error {
	if err := runtime.RefuseNoEffect(ofKubeadm, []runtime.NoEffect{
		{Field: "endpoint", Given: c.Endpoint != "", Instead: "hosts find the masters by a name of their own"},
		{Field: "runtime: docker", Given: c.Runtime != "" && c.Runtime != "containerd", Instead: "containerd comes with the image"},
		{Field: "network.clusterDNS", Given: c.Network.ClusterDNS != "", Instead: "a KubeletConfiguration beside the cluster in the Clusterfile can say it (clusterDNS)"},
		{Field: "network.dualStack", Given: c.Network.DualStack && len(c.Network.PodCIDR)+len(c.Network.ServiceCIDR) != 4, Instead: "give two networks in network.podCIDR and network.serviceCIDR"},
		{Field: "dataDir.containerd", Given: c.DataDir.Containerd != "", Instead: "mount a disk at /var/lib/containerd"},
		{Field: "dataDir.kubelet", Given: c.DataDir.Kubelet != "", Instead: "mount a disk at /var/lib/kubelet"},
		{Field: "dataDir.etcd", Given: c.DataDir.Etcd != "", Instead: "mount a disk at /var/lib/etcd"},
		{Field: "proxy", Given: c.Proxy.HTTP != "" || c.Proxy.HTTPS != "" || len(c.Proxy.NoProxy) > 0, Instead: "put a drop-in of the units into etc/systemd/system of the image"},
		{Field: "tlsSANs", Given: len(c.TLSSANs) > 0, Instead: "a ClusterConfiguration beside the cluster in the Clusterfile can say it (apiServer.certSANs)"},
	}); err != nil {
		return err
	}
	for _, m := range c.Members {
		if err := runtime.RefuseNoEffect(ofKubeadm, []runtime.NoEffect{
			{Field: "labels", Given: len(m.Labels) > 0, Instead: "kubectl label afterwards"},
			{Field: "otherNodeIP", Given: m.OtherIP != "", Instead: "the kubelet has one address here"},
			{Field: "taints", Given: len(m.Taints) > 0, Instead: "kubectl taint afterwards"},
		}); err != nil {
			return fmt.Errorf("%s: %w", m.Name(), err)
		}
	}
	return nil
}

// ofKubeadm is what errors call clusters that this driver makes.
const ofKubeadm = "kubeadm in this version of sealrt"
