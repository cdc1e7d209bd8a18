package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Flush takes out of a host's kernel what a cluster's network put there and no
// file tells of. Names are patterns of path.Match. What is not there is no
// error, nor is a tool that the host does not have.
type Flush struct {
	Links    []string // network links
	Tables   []string // nftables tables
	Chains   []string // iptables chains, by the beginning of their names, with all rules that jump to them
	Networks []string // CIDRs: routes to addresses inside
	Cgroups  []string // control groups, by the name of their directory
}

func (a Flush) String() string {
	return fmt.Sprintf("remove links %s, nft tables %s, iptables chains %s*, routes to %s, cgroups %s",
		words(a.Links), words(a.Tables), strings.Join(a.Chains, "* "), words(a.Networks), words(a.Cgroups))
}

func (Flush) footprint() footprint { return footprint{} }

func (a Flush) apply(ctx context.Context, t *target) error {
	return errors.Join(
		a.routes(ctx, t),
		a.links(ctx, t),
		a.tables(ctx, t),
		a.chains(ctx, t, "iptables"),
		a.chains(ctx, t, "ip6tables"),
		a.cgroups(ctx, t),
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
	kept := withoutChains(string(raw), a.Chains)
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

func (a Flush) cgroups(ctx context.Context, t *target) error {
	if len(a.Cgroups) == 0 {
		return nil
	}
	argv := []string{"find", "/sys/fs/cgroup", "-depth", "-type", "d", "("}
	for i, name := range a.Cgroups {
		if i > 0 {
			argv = append(argv, "-o")
		}
		argv = append(argv, "-path", "*/"+name, "-o", "-path", "*/"+name+"/*")
	}
	return t.Run(ctx, host.Command{Argv: append(argv, ")", "-exec", "rmdir", "{}", "+")})
}
