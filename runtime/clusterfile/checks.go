package clusterfile

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

const (
	lower   = "abcdefghijklmnopqrstuvwxyz"
	letters = lower + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
)

// CheckName refuses a name of a cluster that is no part of a host name (RFC
// 1123, section 2.1): the API's name is made of it.
func CheckName(name string) error {
	if err := checkName(name); err != nil {
		return fmt.Errorf("cluster name %q: %w", name, err)
	}
	return nil
}

func checkName(s string) error {
	if !isLabel(s) {
		return errors.New("use small letters, digits and dashes, at most 63")
	}
	return nil
}

// isLabel reports whether s is one part of a host name, in small letters.
func isLabel(s string) bool {
	return s != "" && len(s) <= 63 && strings.Trim(s, lower+digits+"-") == "" && s[0] != '-' && s[len(s)-1] != '-'
}

// isDomain reports whether s is a name of the DNS, in small letters.
func isDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for part := range strings.SplitSeq(s, ".") {
		if !isLabel(part) {
			return false
		}
	}
	return true
}

func checkHostname(s string) error {
	if !isDomain(s) {
		return errors.New("a name in the cluster is small letters, digits, dashes and dots (RFC 1123)")
	}
	return nil
}

func checkImage(s string) error {
	if strings.TrimSpace(s) == "" || strings.ContainsAny(s, " \t\r\n") {
		return errors.New("write a reference like registry.example.com/k3s:v1.25.3, or oci-archive:FILE")
	}
	return nil
}

func checkWord(s string) error {
	if s == "" || strings.ContainsAny(s, " \t\r\n,") {
		return errors.New("write one word, without spaces and commas")
	}
	return nil
}

func checkEndpoint(s string) error {
	h, port, err := net.SplitHostPort(s)
	n, bad := strconv.ParseUint(port, 10, 16)
	if err != nil || bad != nil || n == 0 || !isHost(h) {
		return errors.New("write HOST:PORT, like api.example.com:6443 or [fd00::1]:6443")
	}
	return nil
}

// isHost reports whether s is an IP address or a name.
func isHost(s string) bool {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Zone() == ""
	}
	return isDomain(strings.ToLower(s)) && strings.Trim(s, digits+".") != ""
}

func checkSAN(s string) error {
	name, any := strings.CutPrefix(s, "*.")
	if _, err := netip.ParseAddr(name); !isHost(name) || any && err == nil {
		return errors.New("write an IP address or a DNS name")
	}
	return nil
}

func checkAddresses(s string) error {
	found, err := host.ParseAddresses(s)
	if err == nil && len(found) == 0 {
		err = errors.New("no host is named: write [user@]host[:port]")
	}
	return err
}

func checkIP(s string) error {
	if ip, err := netip.ParseAddr(s); err != nil || ip.Zone() != "" {
		return errors.New("write an IP address")
	}
	return nil
}

func checkNodeIP(s string) error {
	ip, err := netip.ParseAddr(s)
	switch {
	case err != nil, ip.Zone() != "":
		return errors.New("write an IP address")
	case ip.IsLoopback(), ip.IsUnspecified(), ip.IsMulticast():
		return errors.New("no other host reaches this address: write the host's own on the network")
	}
	return nil
}

func checkCIDR(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return errors.New("write a network like 10.244.0.0/16")
	}
	if p != p.Masked() {
		return fmt.Errorf("this is an address within a network: write the network, %s", p.Masked())
	}
	return nil
}

func checkAbsolute(s string) error {
	if !path.IsAbs(s) || path.Clean(s) != s || s == "/" {
		return errors.New("write an absolute path of a directory, without .. and without a slash at its end")
	}
	return nil
}

func checkInTree(s string) error {
	if !fs.ValidPath(s) || s == "." {
		return errors.New("write a path in the tree of the image, like etc/k3s.yaml: no slash at its beginning or end, and not .. in it")
	}
	return nil
}

func checkRegistry(s string) error {
	h, _, _ := strings.Cut(s, "/")
	name, port, found := strings.Cut(h, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	good := isHost(name) && (!found || err == nil && n > 0) || strings.HasPrefix(h, "[") && checkEndpoint(h) == nil
	if !good || strings.Contains(s, "//") || strings.ContainsAny(s, " \t\r\n@") || strings.HasSuffix(s, "/") {
		return errors.New("write HOST or HOST/PREFIX, without https:// and without a slash at its end")
	}
	return nil
}

func checkProxy(s string) error {
	if IsReference(s) {
		return checkSecret(s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" || !strings.HasPrefix(s, u.Scheme+"://") {
		return errors.New("write a URL like http://proxy.example.com:3128")
	}
	return nil
}

func checkDuration(s string) error {
	if d, err := time.ParseDuration(s); err != nil || d <= 0 {
		return errors.New("write a time like 90s, 10m or 1h30m")
	}
	return nil
}

// checkLabel refuses what Kubernetes would refuse as a label:
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
func checkLabel(key, value string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if value != "" && !isLabelName(value) {
		return errors.New("its value is not one of a label: at most 63 letters, digits, dashes, dots and underscores, a letter or digit at both ends")
	}
	return nil
}

func checkKey(key string) error {
	prefix, name, found := strings.Cut(key, "/")
	if !found {
		prefix, name = "", key
	}
	switch {
	case found && !isDomain(prefix):
		return fmt.Errorf("what is before the slash in %q is no DNS name in small letters", key)
	case !isLabelName(name):
		return fmt.Errorf("%q is no key of a label: at most 63 letters, digits, dashes, dots and underscores, a letter or digit at both ends, perhaps after a DNS name and a slash", key)
	}
	return nil
}

func isLabelName(s string) bool {
	const ends = letters + digits
	return s != "" && len(s) <= 63 && strings.Trim(s, ends+"-_.") == "" && strings.ContainsRune(ends, rune(s[0])) && strings.ContainsRune(ends, rune(s[len(s)-1]))
}

// checkTaint refuses what `kubectl taint` would refuse.
func checkTaint(s string) error {
	rest, effect, found := cutLast(s, ":")
	if !found || effect != "NoSchedule" && effect != "PreferNoSchedule" && effect != "NoExecute" {
		return errors.New("write KEY=VALUE:EFFECT or KEY:EFFECT, EFFECT being NoSchedule, PreferNoSchedule or NoExecute")
	}
	key, value, _ := strings.Cut(rest, "=")
	return checkLabel(key, value)
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// checkEnv refuses what is no name of a variable (IEEE Std 1003.1, 3.216 Name).
func checkEnv(name string) error {
	if name == "" || strings.Trim(name, letters+digits+"_") != "" || strings.ContainsAny(name[:1], digits) {
		return fmt.Errorf("%q is no name of a variable: use letters, digits and underscores", name)
	}
	return nil
}
