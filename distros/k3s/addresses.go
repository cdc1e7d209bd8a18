package k3s

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// nodeAddresses are the addresses of a host: one, or in a dual stack two, that of
// the family of the first network of pods before the other, since services get
// theirs from that family (https://docs.k3s.io/networking/basic-network-options,
// "Dual-stack (IPv4 + IPv6) Networking").
func nodeAddresses(c *runtime.Cluster, m runtime.Member) string {
	if m.OtherIP == "" {
		return m.NodeIP
	}
	all := []string{m.NodeIP, m.OtherIP}
	pods, _ := networks(c)
	if ip, err := netip.ParseAddr(m.NodeIP); err == nil && len(pods) > 0 && is6(pods[0]) != ip.Is6() {
		all[0], all[1] = all[1], all[0]
	}
	return strings.Join(all, ",")
}

// checkAddresses refuses a cluster of which some hosts have addresses of both
// families and others have not: pods of these would be out of reach.
func checkAddresses(c *runtime.Cluster, s settings) error {
	var with, without string
	for _, m := range c.Members {
		if m.OtherIP == "" {
			without = m.Name()
		} else {
			with = m.Name()
		}
	}
	switch {
	case with == "":
		return nil
	case without != "":
		return fmt.Errorf("%s has an otherNodeIP and %s has none: say it for all hosts, or for none", with, without)
	case len(list(s["cluster-cidr"])) < 2:
		return fmt.Errorf("%s has an otherNodeIP, and the cluster has one network of pods: set network.dualStack, or leave it away", with)
	}
	return nil
}
