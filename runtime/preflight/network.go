package preflight

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// listening returns the ports of the sockets in a state, each with the inode of
// one that has it, out of the kernel's tables (proc_pid_net(5): local address in
// the second column, state in the fourth, inode in the tenth; 0A is LISTEN, 07 a
// UDP socket that is not connected).
func listening(tables, state string) map[int]string {
	ports := map[int]string{}
	for line := range strings.Lines(tables) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		_, port, _ := strings.Cut(fields[1], ":")
		if n, err := strconv.ParseUint(port, 16, 16); err == nil {
			inode := ""
			if len(fields) > 9 {
				inode = fields[9]
			}
			ports[int(n)] = inode
		}
	}
	return ports
}

// addresses4 reads the host's own IPv4 addresses out of /proc/net/fib_trie:
// each stands on a line of its own, followed by "/32 host LOCAL".
func addresses4(trie string) []netip.Addr {
	var found []netip.Addr
	last := ""
	for line := range strings.Lines(trie) {
		fields := strings.Fields(line)
		if len(fields) == 2 && fields[0] == "|--" {
			last = fields[1]
		}
		if len(fields) == 3 && fields[0] == "/32" && fields[2] == "LOCAL" {
			if a, err := netip.ParseAddr(last); err == nil && !slices.Contains(found, a) {
				found = append(found, a)
			}
		}
	}
	return found
}

// addresses6 reads the host's IPv6 addresses out of /proc/net/if_inet6: 32
// hexadecimal digits at the beginning of each line.
func addresses6(table string) []netip.Addr {
	var found []netip.Addr
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		raw, err := hex.DecodeString(fields[0])
		if a, ok := netip.AddrFromSlice(raw); err == nil && ok {
			found = append(found, a)
		}
	}
	return found
}

// leadsAway reports whether there is a default route, other than the
// unreachable one that the kernel keeps on lo for IPv6.
func leadsAway(route4, route6 string) bool {
	for line := range strings.Lines(route4) {
		if f := strings.Fields(line); len(f) > 7 && f[1] == "00000000" && f[7] == "00000000" {
			return true
		}
	}
	for line := range strings.Lines(route6) {
		if f := strings.Fields(line); len(f) > 9 && strings.Trim(f[0], "0") == "" && f[1] == "00" && f[9] != "lo" {
			return true
		}
	}
	return false
}

// nameservers returns the addresses of a resolv.conf(5).
func nameservers(text string) []string {
	var found []string
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "nameserver" {
			found = append(found, f[1])
		}
	}
	return found
}

// named reports whether a hosts(5) file knows the name.
func named(hosts, name string) bool {
	for line := range strings.Lines(hosts) {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && slices.ContainsFunc(f[1:], func(w string) bool { return strings.EqualFold(w, name) }) {
			return true
		}
	}
	return false
}
