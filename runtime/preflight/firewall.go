package preflight

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// Firewall is what keeps packets from a host.
type Firewall struct {
	Firewalld *Opened // nil: it does not run
	AtBoot    *Opened // what firewalld lets in when it starts again
	UFW       *Opened // nil: it is not on
	Drops     string  // the chain whose policy is to drop what comes in
}

// Opened is what a firewall lets in.
type Opened struct {
	All   bool     // everything
	Ports []string // 6443/tcp, 30000-32767/tcp
	From  []netip.Prefix
}

// lets reports whether a port is open.
func (o *Opened) lets(port int, proto string) bool {
	return o.All || slices.ContainsFunc(o.Ports, func(p string) bool {
		number, of, _ := strings.Cut(p, "/")
		if of != proto && of != "any" {
			return false
		}
		first, last, isRange := strings.Cut(strings.ReplaceAll(number, ":", "-"), "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		return err == nil && err2 == nil && from <= port && port <= to
	})
}

// trusts reports whether all of a network is let in.
func (o *Opened) trusts(cidr string) bool {
	p, err := netip.ParsePrefix(cidr)
	return o.All || err == nil && slices.ContainsFunc(o.From, func(from netip.Prefix) bool {
		return from.Bits() <= p.Bits() && from.Contains(p.Addr())
	})
}

func prefixes(words []string) []netip.Prefix {
	var all []netip.Prefix
	for _, w := range words {
		if p, err := netip.ParsePrefix(w); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// firewalld asks a firewalld that runs what it lets in.
func (a *asker) firewalld(f *Firewall, runs bool) {
	if !runs {
		return
	}
	var zone, ports, sources, later, trusted string
	_ = a.together( // errors stay in a.errs
		func() { zone, _ = a.run("firewall-cmd", "--get-default-zone") },
		func() { ports, _ = a.run("firewall-cmd", "--list-ports") },
		func() { sources, _ = a.run("firewall-cmd", "--zone=trusted", "--list-sources") },
		func() { later, _ = a.run("firewall-cmd", "--permanent", "--list-ports") },
		func() { trusted, _ = a.run("firewall-cmd", "--permanent", "--zone=trusted", "--list-sources") },
	)
	all := strings.TrimSpace(zone) == "trusted"
	f.Firewalld = &Opened{All: all, Ports: strings.Fields(ports), From: prefixes(strings.Fields(sources))}
	f.AtBoot = &Opened{All: all, Ports: strings.Fields(later), From: prefixes(strings.Fields(trusted))}
}

// ufw reads what ufw lets in out of its files: of each rule there is a line
// "### tuple ### allow tcp 6443 0.0.0.0/0 any 0.0.0.0/0 in", with the action,
// the protocol, to port and address, from port and address, and the direction.
func ufw(files map[string]string) *Opened {
	if !strings.EqualFold(setting(files["/etc/ufw/ufw.conf"], "ENABLED"), "yes") {
		return nil
	}
	o := &Opened{}
	for line := range strings.Lines(files["/etc/ufw/user.rules"]) {
		rule, ok := strings.CutPrefix(strings.TrimSpace(line), "### tuple ### ")
		f := strings.Fields(rule)
		if !ok || len(f) < 7 || f[0] != "allow" || !strings.HasPrefix(f[len(f)-1], "in") {
			continue
		}
		anyone := f[5] == "0.0.0.0/0" || f[5] == "::/0"
		switch {
		case f[2] == "any" && !anyone:
			o.From = append(o.From, prefixes([]string{f[5]})...)
		case f[2] != "any" && anyone:
			for port := range strings.SplitSeq(f[2], ",") {
				o.Ports = append(o.Ports, port+"/"+f[1])
			}
		}
	}
	return o
}

// packetFilter looks for a chain that drops what comes in. Only what the kernel
// has loaded already is asked, since the question must not load it; a kernel
// without modules has all that it can have.
func (a *asker) packetFilter(f *Firewall, facts Facts) {
	modules, modular := facts.files["/proc/modules"]
	nft := !modular || strings.Contains("\n"+modules, "\nnf_tables ")
	legacy := slices.Contains(strings.Fields(facts.files["/proc/net/ip_tables_names"]), "filter")
	if nft {
		out, _ := a.run("nft", "-j", "list", "chains")
		f.Drops = dropping(out)
	}
	if legacy && f.Drops == "" {
		out, _ := a.run("iptables", "-S", "INPUT")
		if strings.HasPrefix(out, "-P INPUT DROP") {
			f.Drops = "the chain INPUT of iptables"
		}
	}
}

// dropping names the first chain of nft's list (libnftables-json(5)) that drops
// what comes in.
func dropping(out string) string {
	var list struct {
		Nftables []struct {
			Chain struct{ Family, Table, Name, Hook, Policy string }
		}
	}
	if json.Unmarshal([]byte(out), &list) != nil {
		return ""
	}
	for _, e := range list.Nftables {
		if c := e.Chain; c.Hook == "input" && c.Policy == "drop" {
			return fmt.Sprintf("the chain %s of the table %s %s of nftables", c.Name, c.Family, c.Table)
		}
	}
	return ""
}

// portOf is a port as firewalls write it.
func portOf(n int, proto string) string { return strconv.Itoa(n) + "/" + proto }

func firewall(s *subject) []Finding {
	fw := s.facts.Firewall
	var found []Finding
	if fw.Firewalld != nil {
		found = append(found, s.closed("firewalld", []*Opened{fw.AtBoot, fw.Firewalld}, openFirewalld)...)
	}
	if o := fw.UFW; o != nil {
		found = append(found, s.closed("ufw", []*Opened{o}, openUFW)...)
	}
	if fw.Firewalld == nil && fw.UFW == nil && fw.Drops != "" {
		ports, _ := s.outside()
		found = append(found, s.warn("see that it lets in "+strings.Join(slices.Concat(ports, s.needs.CIDRs), " "), "%s drops what no rule lets in", fw.Drops)...)
	}
	return found
}

// outside returns the ports of the host that other hosts have to reach, as
// firewalls write them, and their numbers by protocol.
func (s *subject) outside() ([]string, map[string][]int) {
	by := map[string][]int{"tcp": slices.Concat(s.needs.Ports, s.blobsPort(), s.mastersPort()), "udp": s.needs.UDP}
	var all []string
	for _, proto := range []string{"tcp", "udp"} {
		for _, n := range by[proto] {
			all = append(all, portOf(n, proto))
		}
	}
	return all, by
}

// gap is what a firewall does not let in.
type gap struct{ ports, cidrs []string }

func (g gap) all() []string { return slices.Concat(g.ports, g.cidrs) }

// gap returns what o does not let in of what has to come in.
func (s *subject) gap(o *Opened) gap {
	_, by := s.outside()
	var g gap
	for _, proto := range []string{"tcp", "udp"} {
		for _, n := range by[proto] {
			if !o.lets(n, proto) {
				g.ports = append(g.ports, portOf(n, proto))
			}
		}
	}
	for _, c := range s.needs.CIDRs {
		if !o.trusts(c) {
			g.cidrs = append(g.cidrs, c)
		}
	}
	return g
}

// closed says what a firewall does not let in, by each of its lists, and the
// commands that mend it: what a list has is not added, or a reset would take it
// away.
func (s *subject) closed(name string, lists []*Opened, open func(gaps []gap) []runtime.Step) []Finding {
	var gaps []gap
	var lacks []string
	for _, o := range lists {
		g := s.gap(o)
		gaps = append(gaps, g)
		for _, what := range g.all() {
			if !slices.Contains(lacks, what) {
				lacks = append(lacks, what)
			}
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	found := s.mendable(open(gaps), "%s is on and does not let in %s", name, strings.Join(lacks, " "))
	if b := s.blobsPort(); len(b) == 1 && slices.Equal(lacks, []string{portOf(b[0], "tcp")}) {
		found[0].Level = Warning // blobs come over SSH then
	}
	return found
}

// openFirewalld opens ports in the default zone and trusts networks: at boot,
// and now.
func openFirewalld(gaps []gap) []runtime.Step {
	var steps []runtime.Step
	for i, when := range []struct {
		id   string
		argv []string
	}{{"fix firewalld at boot", []string{"firewall-cmd", "--permanent"}}, {"fix firewalld", []string{"firewall-cmd"}}} {
		command := func(zone []string, option string, values []string) []string {
			argv := slices.Concat(when.argv, zone)
			for _, v := range values {
				argv = append(argv, option+"="+v)
			}
			return argv
		}
		if ports := gaps[i].ports; len(ports) > 0 {
			steps = append(steps, runtime.Step{ID: when.id + ": ports", Do: runtime.Exec{
				Argv: command(nil, "--add-port", ports), Inverse: [][]string{command(nil, "--remove-port", ports)},
			}})
		}
		if cidrs := gaps[i].cidrs; len(cidrs) > 0 {
			trusted := []string{"--zone=trusted"}
			steps = append(steps, runtime.Step{ID: when.id + ": networks", Do: runtime.Exec{
				Argv: command(trusted, "--add-source", cidrs), Inverse: [][]string{command(trusted, "--remove-source", cidrs)},
			}})
		}
	}
	return steps
}

// openUFW adds a rule for each port and network.
func openUFW(gaps []gap) []runtime.Step {
	var steps []runtime.Step
	rule := func(words ...string) {
		steps = append(steps, runtime.Step{ID: "fix ufw: " + strings.Join(words, " "), Do: runtime.Exec{
			Argv: slices.Concat([]string{"ufw"}, words), Inverse: [][]string{slices.Concat([]string{"ufw", "delete"}, words)},
		}})
	}
	for _, p := range gaps[0].ports {
		rule("allow", p)
	}
	for _, c := range gaps[0].cidrs {
		rule("allow", "from", c)
	}
	return steps
}
