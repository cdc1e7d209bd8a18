package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
)

const (
	conflistName = "10-testnet.conflist"
	bridgeName   = "cni0"
	tableName    = "cni-testnet"

	// routeProtocol marks our routes in the kernel's table (rtnetlink(7),
	// rtm_protocol: values above RTPROT_STATIC are the daemons' own).
	routeProtocol netlink.RouteProtocol = 184
)

// forward lets the host pass packets between its interfaces, and shows packets
// that stay on the pods' bridge to the rules of Services as well. Kernels
// without the bridge's switch (module br_netfilter) do without it.
func forward() error {
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"} {
		path := filepath.Join("/proc/sys/net", name)
		old, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || (err == nil && strings.TrimSpace(string(old)) == "1") {
			continue
		}
		if err == nil {
			err = os.WriteFile(path, []byte("1\n"), 0o644)
		}
		if err != nil {
			return fmt.Errorf("turn on %s: %w", path, err)
		}
	}
	return nil
}

// conflist returns the CNI configuration (CNI spec 1.0, "Network configuration
// format") for pods with addresses of the given ranges.
func conflist(pods []netip.Prefix) ([]byte, error) {
	type object = map[string]any
	var ranges, routes []any
	for _, p := range pods {
		ranges = append(ranges, []any{object{"subnet": p.String()}})
		all := "0.0.0.0/0"
		if p.Addr().Is6() {
			all = "::/0"
		}
		routes = append(routes, object{"dst": all})
	}
	return json.MarshalIndent(object{
		"cniVersion": "1.0.0",
		"name":       "testnet",
		"plugins": []any{
			object{
				"type": "bridge", "bridge": bridgeName, "isGateway": true, "forceAddress": true, "hairpinMode": true,
				"ipMasq": false, // its rule would hide a pod's address from pods of other nodes: see applyMasquerade
				"ipam":   object{"type": "host-local", "ranges": ranges, "routes": routes},
			},
			object{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}, "", "  ")
}

// writeConflist puts the configuration into dir in one step, unless it is
// there already.
func writeConflist(dir string, pods []netip.Prefix) error {
	want, err := conflist(pods)
	if err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	path := filepath.Join(dir, conflistName)
	if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, want) {
		return nil
	}
	temp := filepath.Join(dir, "."+conflistName+".tmp") // no name that a runtime reads
	if err := os.WriteFile(temp, want, 0o644); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	return nil
}

// applyRoutes makes want the set of routes that carry our mark.
func applyRoutes(want map[netip.Prefix]netip.Addr) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	for _, r := range have {
		if p, ok := prefixOf(r.Dst); ok && want[p].IsValid() {
			continue
		}
		if err := netlink.RouteDel(&r); err != nil {
			return fmt.Errorf("remove route to %s: %w", r.Dst, err)
		}
	}
	for dst, via := range want {
		r := netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice(), Protocol: routeProtocol}
		if err := netlink.RouteReplace(&r); err != nil {
			return fmt.Errorf("route %s via %s: %w", dst, via, err)
		}
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(ip.Unmap(), bits), ok
}

// ruleset returns the nft script that gives packets of this node's pods the
// node's address when they leave the cluster's ranges. It replaces what an
// earlier script made, in one transaction.
func ruleset(pods, clusters []netip.Prefix) string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %[1]s {}\ndelete table inet %[1]s\ntable inet %[1]s {\n", tableName)
	b.WriteString("\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n")
	for _, p := range pods {
		family := "ip"
		if p.Addr().Is6() {
			family = "ip6"
		}
		for _, c := range clusters {
			if c.Addr().Is4() == p.Addr().Is4() {
				fmt.Fprintf(&b, "\t\t%[1]s saddr %[2]s %[1]s daddr %[3]s return\n", family, p, c)
			}
		}
		fmt.Fprintf(&b, "\t\t%s saddr %s fib daddr type != { local, multicast } masquerade\n", family, p)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}

// applyMasquerade loads the ruleset.
func applyMasquerade(ctx context.Context, pods, clusters []netip.Prefix) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(ruleset(pods, clusters))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("load nft rules: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}
