package k0s

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime"
)

// configAPI and configKind are those of k0s' own configuration.
const (
	configAPI  = "k0s.k0sproject.io/v1beta1"
	configKind = "ClusterConfig"
)

// imageConfigs are where an image may have its configuration; the first that is
// there counts.
var imageConfigs = [...]string{"etc/k0s.yaml", "etc/k0s/k0s.yaml"} //nolint:gochecknoglobals // a table that nothing changes

// ConfigFiles are those that an image may have its configuration in.
func (Driver) ConfigFiles() []string { return imageConfigs[:] }

// balancer is the load balancer that each node runs for itself, and the name
// of its image (docs.k0sproject.io, "Node-local load balancing").
const (
	balancer      = "EnvoyProxy"
	balancerImage = "envoy-distroless"
)

// told is what of the configuration matters here.
type told struct {
	Spec struct {
		API struct {
			Address         string   `json:"address"`
			ExternalAddress string   `json:"externalAddress"`
			Port            int      `json:"port"`
			K0sAPIPort      int      `json:"k0sApiPort"`
			SANs            []string `json:"sans"`
		} `json:"api"`
		Storage struct {
			Type string `json:"type"`
			Etcd struct {
				PeerAddress     string         `json:"peerAddress"`
				ExternalCluster map[string]any `json:"externalCluster"`
			} `json:"etcd"`
			Kine struct {
				DataSource string `json:"dataSource"`
			} `json:"kine"`
		} `json:"storage"`
		Network struct {
			PodCIDR       string `json:"podCIDR"`
			ServiceCIDR   string `json:"serviceCIDR"`
			ClusterDomain string `json:"clusterDomain"`
			Provider      string `json:"provider"`
			DualStack     struct {
				IPv6podCIDR     string `json:"IPv6podCIDR"`
				IPv6serviceCIDR string `json:"IPv6serviceCIDR"`
			} `json:"dualStack"`
			NodeLocalLoadBalancing struct {
				Enabled bool `json:"enabled"`
			} `json:"nodeLocalLoadBalancing"`
			ControlPlaneLoadBalancing struct {
				Enabled bool `json:"enabled"`
			} `json:"controlPlaneLoadBalancing"`
		} `json:"network"`
	} `json:"spec"`
}

// The networks that k0s takes where it is told none
// (docs.k0sproject.io, "Configuration options").
const (
	podCIDR     = "10.244.0.0/16"
	serviceCIDR = "10.96.0.0/12"
)

// cidrs are the networks of pods and services.
func (t told) cidrs() (pods, services []string) {
	n := t.Spec.Network
	pods, services = []string{n.PodCIDR}, []string{n.ServiceCIDR}
	if n.PodCIDR == "" {
		pods[0] = podCIDR
	}
	if n.ServiceCIDR == "" {
		services[0] = serviceCIDR
	}
	if n.DualStack.IPv6podCIDR != "" {
		pods = append(pods, n.DualStack.IPv6podCIDR)
	}
	if n.DualStack.IPv6serviceCIDR != "" {
		services = append(services, n.DualStack.IPv6serviceCIDR)
	}
	return pods, services
}

// read reads a text of the configuration.
func read(text string) (told, error) {
	var t told
	err := yaml.Unmarshal([]byte(text), &t)
	return t, err
}

// ofControllers is what all controllers are told.
func ofControllers(c *runtime.Cluster) (told, error) {
	return runtime.OfMasters(c, func(c *runtime.Cluster, m runtime.Member) (told, error) {
		text, err := configuration(c, m)
		if err != nil {
			return told{}, err
		}
		return read(text)
	})
}

// single reports whether k0s is run for one host alone: on a SQLite of its own,
// as the image or a document of the Clusterfile may ask. No other controller can
// use that, and there is nothing that workers would join by.
func single(c *runtime.Cluster) bool {
	t, err := runtime.OfMasters(c, func(c *runtime.Cluster, m runtime.Member) (told, error) {
		config, err := ofImage(c, m)
		if err != nil {
			return told{}, err
		}
		return withDocuments(c, config)
	})
	return err == nil && t.Spec.Storage.Type == "kine" && t.Spec.Storage.Kine.DataSource == ""
}

// withDocuments reads a configuration with the user's documents over it.
func withDocuments(c *runtime.Cluster, config map[string]any) (told, error) {
	raw, err := yaml.Marshal(config)
	if err != nil {
		return told{}, err
	}
	text, err := c.WithDocuments(string(raw), configKind)
	if err != nil {
		return told{}, err
	}
	return read(text)
}

// configuration returns the text of k0s.yaml on a controller: the image's, with
// what the Clusterfile says over it, and the user's own documents over all.
func configuration(c *runtime.Cluster, m runtime.Member) (string, error) {
	config, err := ofImage(c, m)
	if err != nil {
		return "", err
	}
	raw, err := yaml.Marshal(config)
	if err != nil {
		return "", err
	}
	is, err := read(string(raw))
	if err != nil {
		return "", err
	}
	stored, err := withDocuments(c, config)
	if err != nil {
		return "", err
	}
	is.Spec.Storage = stored.Spec.Storage
	lay(c, m, config, is)
	if raw, err = yaml.Marshal(config); err != nil {
		return "", err
	}
	return c.WithDocuments(string(raw), configKind)
}

// ofImage is what the image says.
func ofImage(c *runtime.Cluster, m runtime.Member) (map[string]any, error) {
	config := map[string]any{}
	if !c.Image().Configurable() {
		return config, nil
	}
	name, raw, err := c.OptionalFile(m, imageConfigs[:]...)
	if err == nil {
		err = yaml.Unmarshal(raw, &config)
	}
	if err == nil {
		err = refuse("the image's "+name, raw)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return config, nil
}

// set gives a field of a document a value; keys are its place.
func set(in map[string]any, value any, keys ...string) {
	for _, k := range keys[:len(keys)-1] {
		next, ok := in[k].(map[string]any)
		if !ok {
			next = map[string]any{}
			in[k] = next
		}
		in = next
	}
	in[keys[len(keys)-1]] = value
}

// orSet does so where the field has none.
func orSet(in map[string]any, value any, keys ...string) {
	at := in
	for _, k := range keys[:len(keys)-1] {
		at, _ = at[k].(map[string]any)
	}
	if _, there := at[keys[len(keys)-1]]; !there {
		set(in, value, keys...)
	}
}

// lay puts what the Clusterfile says over a configuration. Addresses are the
// host's own, all else is alike on all controllers.
func lay(c *runtime.Cluster, m runtime.Member, config map[string]any, is told) {
	set(config, configAPI, "apiVersion")
	set(config, configKind, "kind")
	orSet(config, "k0s", "metadata", "name")
	set(config, m.NodeIP, "spec", "api", "address")
	layNames(c, config, is.Spec.API.SANs)
	orSet(config, "etcd", "spec", "storage", "type")
	if is.votes() {
		set(config, m.NodeIP, "spec", "storage", "etcd", "peerAddress")
	}
	layNetworks(c, config)
	// a host that has all of them needs no registry, and waits for none
	orSet(config, "Never", "spec", "images", "default_pull_policy")
	orSet(config, false, "spec", "telemetry", "enabled")
	if balances(c) {
		orSet(config, true, "spec", "network", "nodeLocalLoadBalancing", "enabled")
		orSet(config, balancer, "spec", "network", "nodeLocalLoadBalancing", "type")
	}
}

// votes reports whether the controllers are members of an etcd of their own.
func (t told) votes() bool {
	s := t.Spec.Storage
	return (s.Type == "" || s.Type == "etcd") && len(s.Etcd.ExternalCluster) == 0
}

// layNames tells by which names and at which address the API is reached.
func layNames(c *runtime.Cluster, config map[string]any, names []string) {
	if host, _, err := net.SplitHostPort(c.Endpoint); err == nil {
		set(config, host, "spec", "api", "externalAddress")
	}
	set(config, c.APINames(names...), "spec", "api", "sans")
}

// layNetworks tells the networks of pods and services, by their families.
func layNetworks(c *runtime.Cluster, config map[string]any) {
	n := c.Network
	for _, of := range []struct {
		given    []string
		one, two string
		six      string // where a dual stack is given no network
	}{
		{n.PodCIDR, "podCIDR", "IPv6podCIDR", "fd00:42::/56"},
		{n.ServiceCIDR, "serviceCIDR", "IPv6serviceCIDR", "fd00:43::/108"},
	} {
		dual := n.DualStack || len(n.PodCIDR) == 2 || len(n.ServiceCIDR) == 2
		if dual {
			set(config, true, "spec", "network", "dualStack", "enabled")
			orSet(config, of.six, "spec", "network", "dualStack", of.two)
		}
		for _, cidr := range of.given {
			p, err := netip.ParsePrefix(cidr)
			if err == nil && p.Addr().Is6() && dual {
				set(config, cidr, "spec", "network", "dualStack", of.two)
			} else {
				set(config, cidr, "spec", "network", of.one)
			}
		}
	}
}

// balances reports whether nodes run a load balancer for their way to the API:
// where the image brings it. A cluster that gets further masters has it then,
// and nothing changes on its nodes.
func balances(c *runtime.Cluster) bool {
	return c.Endpoint == "" && !single(c) && slices.ContainsFunc(c.Image().Images, func(name string) bool {
		name, _, _ = strings.Cut(name, "@")
		base, _, _ := strings.Cut(path.Base(name), ":")
		return base == balancerImage
	})
}
