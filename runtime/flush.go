package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Flush takes out of a host's kernel what a cluster's network put there and no
// file tells of. Names are patterns of path.Match. What is not there is no
// error, nor is a tool that the host does not have.
type Flush struct {
	Links    []string // network links
	Netns    []string // named network namespaces: those of pods are mounts in /run/netns that outlive them
	Tables   []string // nftables tables
	Chains   []string // iptables chains, by the beginning of their names, with all rules that jump to them
	Comments []string // iptables rules that jump to no such chain, by the beginning of their comments
	Networks []string // CIDRs: routes to addresses inside
	Cgroups  []string // control groups at the top, by the name of their directory, with every process in them
	Devices  []string // links that no iptables rule may name any more
}

func (a Flush) String() string {
	var parts []string
	for _, p := range []struct {
		what, after string
		names       []string
	}{{"links ", "", a.Links}, {"network namespaces ", "", a.Netns}, {"nft tables ", "", a.Tables}, {"iptables chains ", "*", a.Chains}, {"iptables rules that say ", "", a.Comments}, {"iptables rules about ", "", a.Devices}, {"routes to ", "", a.Networks}, {"cgroups ", "", a.Cgroups}} {
		if len(p.names) > 0 {
			parts = append(parts, p.what+strings.Join(p.names, p.after+" ")+p.after)
		}
	}
	return "remove " + strings.Join(parts, ", ")
}

func (Flush) footprint() footprint { return footprint{} }

func (a Flush) apply(ctx context.Context, t *target) error {
	return errors.Join(
		a.cgroups(ctx, t), // first: what runs on could put back what is taken
		a.routes(ctx, t),
		a.links(ctx, t),
		a.netns(ctx, t),
		a.tables(ctx, t),
		a.chains(ctx, t, "iptables"),
		a.chains(ctx, t, "ip6tables"),
	)
}

// ask runs a command that answers in JSON or another format for programs. A
// host without the program answers nothing.
func (t *target) ask(ctx context.Context, argv ...string) ([]byte, error) {
	out, err := host.Output(ctx, t.Host, argv...)
	if code, exited := exitCode(err); exited && code == 127 {
		return nil, nil
	}
	return out, err
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

func (a Flush) links(ctx context.Context, t *target) error {
	raw, err := t.ask(ctx, "ip", "-json", "link", "show")
	if err != nil || len(raw) == 0 {
		return err
	}
	var links []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal(raw, &links); err != nil {
		return fmt.Errorf("network links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if matches(a.Links, l.Name) {
			errs = append(errs, t.Run(ctx, host.Command{Argv: []string{"ip", "link", "delete", l.Name}}))
		}
	}
	return errors.Join(errs...)
}

func (a Flush) netns(ctx context.Context, t *target) error {
	if len(a.Netns) == 0 {
		return nil
	}
	raw, err := t.ask(ctx, "ip", "-json", "netns", "list")
	if err != nil || len(raw) == 0 {
		return err
	}
	var spaces []struct{ Name string }
	if err := json.Unmarshal(raw, &spaces); err != nil {
		return fmt.Errorf("network namespaces: %w", err)
	}
	var errs []error
	for _, s := range spaces {
		if matches(a.Netns, s.Name) {
			errs = append(errs, t.Run(ctx, host.Command{Argv: []string{"ip", "netns", "delete", s.Name}}))
		}
	}
	return errors.Join(errs...)
}

func (a Flush) routes(ctx context.Context, t *target) error {
	var errs []error
	for _, family := range []string{"-4", "-6"} {
		raw, err := t.ask(ctx, "ip", "-json", family, "route", "show")
		if err != nil || len(raw) == 0 {
			errs = append(errs, err)
			continue
		}
		var routes []struct {
			Dst string `json:"dst"`
		}
		if err := json.Unmarshal(raw, &routes); err != nil {
			return fmt.Errorf("routes: %w", err)
		}
		for _, r := range routes {
			if inside(r.Dst, a.Networks) {
				errs = append(errs, t.Run(ctx, host.Command{Argv: []string{"ip", family, "route", "delete", r.Dst}}))
			}
		}
	}
	return errors.Join(errs...)
}

// inside reports whether a destination, an address or a prefix, lies in one of
// the networks.
func inside(dst string, networks []string) bool {
	p, err := netip.ParsePrefix(dst)
	if err != nil {
		addr, err := netip.ParseAddr(dst)
		if err != nil { // "default"
			return false
		}
		p = netip.PrefixFrom(addr, addr.BitLen())
	}
	for _, n := range networks {
		if net, err := netip.ParsePrefix(n); err == nil && net.Bits() <= p.Bits() && net.Contains(p.Addr()) {
			return true
		}
	}
	return false
}

func (a Flush) tables(ctx context.Context, t *target) error {
	raw, err := t.ask(ctx, "nft", "--json", "list", "tables")
	if err != nil || len(raw) == 0 {
		return err
	}
	var list struct {
		Nftables []struct {
			Table *struct{ Family, Name string } `json:"table"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("nft tables: %w", err)
	}
	var errs []error
	for _, n := range list.Nftables {
		if n.Table != nil && matches(a.Tables, n.Table.Name) {
			errs = append(errs, t.Run(ctx, host.Command{Argv: []string{"nft", "delete", "table", n.Table.Family, n.Table.Name}}))
		}
	}
	return errors.Join(errs...)
}

// chains loads the rules anew without those that name one of the chains.
// iptables-save writes, and iptables-restore reads, a format made for that.
func (a Flush) chains(ctx context.Context, t *target, tool string) error {
	raw, err := t.ask(ctx, tool+"-save")
	if err != nil || len(raw) == 0 {
		return err
	}
	kept := withoutDevices(withoutComments(withoutChains(string(raw), a.Chains), a.Comments), a.Devices)
	if kept == string(raw) {
		return nil
	}
	return t.Run(ctx, host.Command{Argv: []string{tool + "-restore"}, Stdin: strings.NewReader(kept)})
}

func withoutChains(rules string, prefixes []string) string {
	var out strings.Builder
	for line := range strings.Lines(rules) {
		if !namesChain(line, prefixes) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// withoutComments leaves out rules by the beginning of their comments, which are
// in double quotes where they have spaces (iptables-extensions(8)).
func withoutComments(rules string, prefixes []string) string {
	var out strings.Builder
	for line := range strings.Lines(rules) {
		_, comment, _ := strings.Cut(line, " --comment ")
		comment = strings.TrimPrefix(comment, `"`)
		if !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(comment, p) }) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// withoutDevices leaves out rules about packets that come in or go out by a link.
func withoutDevices(rules string, links []string) string {
	var out strings.Builder
	for line := range strings.Lines(rules) {
		fields := strings.Fields(line)
		named := false
		for i := range len(fields) - 1 {
			named = named || (fields[i] == "-i" || fields[i] == "-o") && slices.Contains(links, fields[i+1])
		}
		if !named {
			out.WriteString(line)
		}
	}
	return out.String()
}

func namesChain(line string, prefixes []string) bool {
	fields := strings.Fields(line)
	for i, word := range fields {
		// ":CHAIN policy", "-A CHAIN", "-j CHAIN" and "-g CHAIN"
		name, declared := strings.CutPrefix(word, ":")
		jump := i > 0 && (fields[i-1] == "-A" || fields[i-1] == "-j" || fields[i-1] == "-g")
		if !(i == 0 && declared) && !jump {
			continue
		}
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				return true
			}
		}
	}
	return false
}
