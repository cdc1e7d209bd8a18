package k3s

import (
	"net/netip"

	"github.com/sealrt/sealrt/runtime"
)

// The networks that k3s takes where it is told none
// (https://docs.k3s.io/cli/server), and those of IPv6 beside them, for which
// k3s has no default (RFC 4193, section 3.1).
const (
	podCIDR      = "10.42.0.0/16"
	serviceCIDR  = "10.43.0.0/16"
	podCIDR6     = "fd00:42::/56"
	serviceCIDR6 = "fd00:43::/112"
)

// networks returns the networks of pods and services that k3s is to be told,
// IPv4 and IPv6 in the same order. None are k3s' own.
func networks(c *runtime.Cluster) (pods, services []string) {
	n := c.Network
	return family(n.PodCIDR, n.ServiceCIDR, n.DualStack, podCIDR, podCIDR6),
		family(n.ServiceCIDR, n.PodCIDR, n.DualStack, serviceCIDR, serviceCIDR6)
}

// family returns the networks given, or defaults of the families that the
// other networks have.
func family(given, others []string, dual bool, v4, v6 string) []string {
	switch {
	case len(given) > 0:
		return given
	case len(others) == 2 && is6(others[0]):
		return []string{v6, v4}
	case len(others) == 2 || dual:
		return []string{v4, v6}
	case len(others) == 1 && is6(others[0]):
		return []string{v6}
	}
	return nil
}

func is6(cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return err == nil && p.Addr().Is6()
}
