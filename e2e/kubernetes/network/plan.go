package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// plan is what one node's network should be.
type plan struct {
	pods   []netip.Prefix              // this node's pod ranges, one per address family
	routes map[netip.Prefix]netip.Addr // other nodes' pod ranges, and the node to send them to
}

// newPlan reads the plan of the node called self out of the cluster's Nodes.
// It is an error when that node has no pod range yet. Other nodes that lack a
// pod range or an address are left out: their event will come.
func newPlan(self string, clusters []netip.Prefix, nodes []*corev1.Node) (plan, error) {
	p := plan{routes: map[netip.Prefix]netip.Addr{}}
	for _, n := range nodes {
		ranges, err := podRanges(n)
		if err != nil {
			return plan{}, err
		}
		if n.Name == self {
			p.pods = ranges
			continue
		}
		for _, r := range ranges {
			if via, ok := address(n, r.Addr().Is4()); ok {
				p.routes[r] = via
			}
		}
	}
	if len(p.pods) == 0 {
		return plan{}, fmt.Errorf("node %s has no podCIDR yet", self)
	}
	for _, r := range p.pods {
		if !slices.ContainsFunc(clusters, func(c netip.Prefix) bool { return c.Overlaps(r) }) {
			return plan{}, fmt.Errorf("podCIDR %s of node %s lies outside -cluster-cidr %v", r, self, clusters)
		}
	}
	return p, nil
}

// podRanges returns the node's podCIDRs; none when they are not assigned yet.
func podRanges(n *corev1.Node) ([]netip.Prefix, error) {
	texts := n.Spec.PodCIDRs
	if len(texts) == 0 && n.Spec.PodCIDR != "" {
		texts = []string{n.Spec.PodCIDR}
	}
	var ranges []netip.Prefix
	for _, t := range texts {
		r, err := netip.ParsePrefix(t)
		if err != nil {
			return nil, fmt.Errorf("read podCIDR of node %s: %w", n.Name, err)
		}
		ranges = append(ranges, r.Masked())
	}
	return ranges, nil
}

// address returns the node's first InternalIP of the address family.
func address(n *corev1.Node, v4 bool) (netip.Addr, bool) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil && ip.Is4() == v4 {
			return ip, true
		}
	}
	return netip.Addr{}, false
}

// String says the plan in one line, the same for equal plans.
func (p plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pods %v", p.pods)
	for _, r := range slices.SortedFunc(maps.Keys(p.routes), func(a, b netip.Prefix) int { return a.Addr().Compare(b.Addr()) }) {
		fmt.Fprintf(&b, ", %s via %s", r, p.routes[r])
	}
	return b.String()
}
