package host

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// maxAddresses bounds what one list may stand for, so that a mistyped range is an error and not a million hosts.
const maxAddresses = 4096

// Address is where a machine is reached and as whom. User and Port are empty where the user did not say.
type Address struct {
	User string
	Host string // a name, an IPv4 address, or an IPv6 address without brackets
	Port int
}

// String writes a as ParseAddresses reads it.
func (a Address) String() string {
	s := a.Host
	if strings.Contains(s, ":") {
		s = "[" + s + "]"
	}
	if a.Port != 0 {
		s = net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
	}
	if a.User != "" {
		s = a.User + "@" + s
	}
	return s
}

// ParseAddresses reads a list of addresses, [user@]host[:port] separated by commas. IPv6 addresses stand in brackets. A
// bracket elsewhere in a host stands for several: 10.0.0.[1-5], node[01-12], rack[a,b]-[1-2]. An empty list is no
// addresses. An address that comes twice is an error that names both places.
func ParseAddresses(list string) ([]Address, error) {
	var all []Address
	from := map[Address]string{}
	for _, item := range splitList(list) {
		item = strings.TrimSpace(item)
		if item == "" {
			if strings.TrimSpace(list) == "" {
				return nil, nil
			}
			return nil, fmt.Errorf("read hosts %q: an entry is empty: remove the comma too many", list)
		}
		if user, _, ok := cutLast(item, "@"); ok && strings.Contains(user, ":") {
			// not repeated: it may be the password
			return nil, errors.New("read hosts: a user before @ has a : in its name: write user@host; a password does not stand there, --ask-pass asks for it")
		}
		found, err := parseItem(item)
		if err != nil {
			return nil, fmt.Errorf("read host %q: %w", item, err)
		}
		for _, a := range found {
			if before, ok := from[a.key()]; ok {
				return nil, fmt.Errorf("read hosts %q: %q and %q both name %s: give each host once", list, before, item, a.Host)
			}
			from[a.key()] = item
			all = append(all, a)
		}
		if len(all) > maxAddresses {
			return nil, fmt.Errorf("read host %q: more than %d hosts: check the range", item, maxAddresses)
		}
	}
	return all, nil
}

// key is what makes two addresses the same machine: the host in one spelling, and the port.
func (a Address) key() Address {
	k := Address{Host: strings.ToLower(a.Host), Port: a.Port}
	if ip, err := netip.ParseAddr(a.Host); err == nil {
		k.Host = ip.String()
	}
	if k.Port == 0 {
		k.Port = defaultPort
	}
	return k
}

// splitList splits at the commas outside of brackets.
func splitList(list string) []string {
	var items []string
	depth, start := 0, 0
	for i, r := range list {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ',' && depth <= 0:
			items = append(items, list[start:i])
			start = i + 1
		}
	}
	return append(items, list[start:])
}

func parseItem(item string) ([]Address, error) {
	user, rest, ok := cutLast(item, "@")
	if !ok {
		user, rest = "", item
	} else if user == "" {
		return nil, errors.New("the user before @ is empty: write user@host")
	}
	hostText, portText, err := splitPort(rest)
	if err != nil {
		return nil, err
	}
	port, err := parsePort(portText)
	if err != nil {
		return nil, err
	}
	hosts, err := expand(hostText)
	if err != nil {
		return nil, err
	}
	var all []Address
	for _, h := range hosts {
		if err := checkHost(h); err != nil {
			return nil, err
		}
		all = append(all, Address{User: user, Host: h, Port: port})
	}
	return all, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// splitPort splits host[:port]; brackets around an IPv6 address stay.
func splitPort(s string) (hostText, port string, err error) {
	if _, err := netip.ParseAddr(s); err == nil && strings.Contains(s, ":") {
		return "", "", fmt.Errorf("an IPv6 address stands in brackets: write [%s] or [%s]:22", s, s)
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.LastIndexByte(s, ']') > i {
		return s, "", nil
	}
	if s[i+1:] == "" {
		return "", "", errors.New("the port after : is empty: write host:22 or leave the : away")
	}
	return s[:i], s[i+1:], nil
}

func parsePort(s string) (int, error) {
	if s == "" {
		return 0, nil
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, fmt.Errorf("%q is not a port: write a number from 1 to 65535", s)
	}
	return int(port), nil
}

// expand turns the brackets of a host into what they stand for, the last bracket varying fastest.
func expand(s string) ([]string, error) {
	if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") && strings.Contains(inner, ":") {
		ip := strings.TrimSuffix(inner, "]")
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, fmt.Errorf("%q is not an IPv6 address", ip)
		}
		return []string{ip}, nil
	}
	before, rest, ok := strings.Cut(s, "[")
	if !ok {
		if strings.Contains(s, "]") {
			return nil, errors.New("a ] has no [ before it")
		}
		return []string{s}, nil
	}
	inner, after, ok := strings.Cut(rest, "]")
	if !ok {
		return nil, errors.New("a [ is not closed: write a range as 10.0.0.[1-5]")
	}
	words, err := expandRange(inner)
	if err != nil {
		return nil, err
	}
	tails, err := expand(after)
	if err != nil {
		return nil, err
	}
	if len(words)*len(tails) > maxAddresses {
		return nil, fmt.Errorf("more than %d hosts: check the range", maxAddresses)
	}
	var all []string
	for _, w := range words {
		for _, t := range tails {
			all = append(all, before+w+t)
		}
	}
	return all, nil
}

// expandRange expands "1-3,7,a": numbers keep the width of the first one, so that 08-10 is 08, 09, 10.
func expandRange(s string) ([]string, error) {
	var all []string
	for _, part := range strings.Split(s, ",") {
		part = strings.TrimSpace(part)
		low, high, isRange := strings.Cut(part, "-")
		if part == "" {
			return nil, fmt.Errorf("[%s] has an empty part: write a range as [1-5] or [1,3]", s)
		}
		if !isRange {
			all = append(all, part)
			continue
		}
		a, errA := strconv.ParseUint(low, 10, 32)
		b, errB := strconv.ParseUint(high, 10, 32)
		if errA != nil || errB != nil {
			return nil, fmt.Errorf("%q is not a range of numbers: write it as [1-5]", part)
		}
		if a > b {
			return nil, fmt.Errorf("the range %q runs backwards: write [%s-%s]", part, high, low)
		}
		if b-a >= maxAddresses {
			return nil, fmt.Errorf("more than %d hosts: check the range %q", maxAddresses, part)
		}
		width := 0
		if strings.HasPrefix(low, "0") {
			width = len(low)
		}
		for n := a; n <= b; n++ {
			all = append(all, fmt.Sprintf("%0*d", width, n))
		}
	}
	return all, nil
}

// checkHost refuses what can be neither a name nor an address, so that a typo is found before anything is dialled.
func checkHost(s string) error {
	if s == "" {
		return errors.New("the host is empty: write [user@]host[:port]")
	}
	if strings.Contains(s, ":") {
		return nil // an IPv6 address; expand has looked at it
	}
	if strings.HasPrefix(s, "-") {
		return fmt.Errorf("a host does not begin with -: %q looks like a flag", s)
	}
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("-_.", r), r > 127:
		default:
			return fmt.Errorf("%q cannot stand in a host name", r)
		}
	}
	if strings.Trim(s, "0123456789.") == "" {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("%q is not an IPv4 address", s)
		}
	}
	return nil
}
