package clusterfile

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// cross refuses what is right by itself and wrong together.
func (r *reader) cross(f *File) {
	r.hosts(f.Spec.Hosts)
	r.network(f.Spec.Network)
	s := f.Spec
	if s.Registry.Port != 0 && s.Registry.Port == s.Blobs.Port {
		r.add(r.line("spec.blobs.port"), "spec.blobs.port and spec.registry.port are both %d: give them different ports", s.Blobs.Port)
	}
	if s.Registry.External == "" && s.Registry.CAFile != "" {
		r.add(r.line("spec.registry.caFile"), "spec.registry.caFile is of the external registry: name it in spec.registry.external")
	}
	seen := map[string]string{}
	for i, c := range s.Config {
		at := fmt.Sprintf("spec.config[%d]", i)
		if before, ok := seen[c.Path]; ok && c.Path != "" && c.Strategy == "replace" {
			r.add(r.line(at), "%s replaces what %s says of %s: keep one", at, before, c.Path)
		}
		seen[c.Path] = at
	}
}

// machine is what makes two addresses the same one: user and spelling do not
// count.
func machine(a host.Address) string {
	name := strings.ToLower(a.Host)
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		name = ip.String()
	}
	if a.Port == 0 {
		a.Port = 22
	}
	return host.Address{Host: name, Port: a.Port}.String()
}

func (r *reader) hosts(list []Host) {
	from, ips, names := map[string]string{}, map[string]string{}, map[string]string{}
	masters := 0
	once := func(seen map[string]string, key, at, what string) {
		if before, ok := seen[key]; ok && key != "" {
			r.add(r.line(at), "%s: %s is %s already: give each host once", at, what, before)
		}
		seen[key] = at
	}
	for i, h := range list {
		at := fmt.Sprintf("spec.hosts[%d]", i)
		count := 0
		for _, text := range h.Address {
			found, err := host.ParseAddresses(text)
			if err != nil {
				continue // told
			}
			count += len(found)
			for _, a := range found {
				once(from, machine(a), at, a.Host)
			}
		}
		if h.Role == "master" {
			masters++
		}
		if count > 1 && h.Hostname != "" {
			r.add(r.line(at+".hostname"), "%s.hostname is one name for %d hosts: give the hosts entries of their own", at, count)
		}
		if count > 1 && h.NodeIP != "" {
			r.add(r.line(at+".nodeIP"), "%s.nodeIP is one address for %d hosts: give the hosts entries of their own", at, count)
		}
		once(names, h.Hostname, at, "the name "+h.Hostname)
		once(ips, h.NodeIP, at, "the address "+h.NodeIP)
		if count > 1 && h.OtherNodeIP != "" {
			r.add(r.line(at+".otherNodeIP"), "%s.otherNodeIP is one address for %d hosts: give the hosts entries of their own", at, count)
		}
		once(ips, h.OtherNodeIP, at, "the address "+h.OtherNodeIP)
		r.families(at, h)
	}
	if len(list) > 0 && masters == 0 {
		r.add(r.line("spec.hosts"), "spec.hosts has no master: give at least one host role: master")
	}
}

// families refuses two addresses of one host that are not of the two families.
func (r *reader) families(at string, h Host) {
	if h.OtherNodeIP == "" {
		return
	}
	other, err := netip.ParseAddr(h.OtherNodeIP)
	if err != nil {
		return // told
	}
	ip, err := netip.ParseAddr(h.NodeIP)
	switch {
	case h.NodeIP == "":
		r.add(r.line(at+".otherNodeIP"), "%s.otherNodeIP is given without nodeIP: give both", at)
	case err == nil && ip.Is4() == other.Is4():
		r.add(r.line(at+".otherNodeIP"), "%s.otherNodeIP is of the same family as nodeIP: give one of IPv4 and one of IPv6", at)
	}
}

func (r *reader) network(n Network) {
	pods, services := prefixes(n.PodCIDR), prefixes(n.ServiceCIDR)
	for name, list := range map[string]Strings{"podCIDR": n.PodCIDR, "serviceCIDR": n.ServiceCIDR} {
		at := "spec.network." + name
		parsed := prefixes(list)
		switch {
		case len(list) > 2:
			r.add(r.line(at), "%s has %d networks: one, or one of IPv4 and one of IPv6", at, len(list))
		case len(parsed) == 2 && parsed[0].Addr().Is4() == parsed[1].Addr().Is4():
			r.add(r.line(at), "%s has two networks of the same family: one of IPv4 and one of IPv6 make a dual stack", at)
		case len(list) == 1 && n.DualStack:
			r.add(r.line(at), "%s has one network, and spec.network.dualStack asks for two: one of IPv4 and one of IPv6", at)
		}
	}
	for _, p := range pods {
		for _, s := range services {
			if p.Overlaps(s) {
				r.add(r.line("spec.network.serviceCIDR"), "spec.network.serviceCIDR %s overlaps podCIDR %s: give them different networks", s, p)
			}
		}
	}
	dns, err := netip.ParseAddr(n.ClusterDNS)
	if err != nil || len(services) == 0 {
		return
	}
	for _, s := range services {
		if s.Contains(dns) {
			return
		}
	}
	r.add(r.line("spec.network.clusterDNS"), "spec.network.clusterDNS %s is not in serviceCIDR %s", dns, n.ServiceCIDR)
}

// prefixes returns the networks of a list that are some.
func prefixes(list Strings) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}
