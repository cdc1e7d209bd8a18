package runtime

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// direct are the networks that are reached without a proxy whatever the user
// says, so that masters can come and go and nothing is restarted: loopback, and
// addresses that no proxy of another network could reach (RFC 1918, RFC 4193).
var direct = [...]string{"127.0.0.0/8", "::1", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} //nolint:gochecknoglobals // a table that nothing changes

// NoProxy is what is reached without a proxy, each once: this host, private
// networks, the hosts of the cluster, what a distribution adds, and what the
// user names.
func (c *Cluster) NoProxy(further ...string) []string {
	out := slices.Concat([]string{"localhost", c.EndpointHost()}, direct[:], further)
	for _, m := range c.Members {
		if ip, err := netip.ParseAddr(m.NodeIP); err == nil && !ip.IsPrivate() && !ip.IsLoopback() {
			out = append(out, m.NodeIP)
		}
	}
	return once(append(out, c.Proxy.NoProxy...))
}

// ProxyVariables are the variables of the cluster's proxies, by their names; none
// where there is no proxy.
func (c *Cluster) ProxyVariables(noProxy []string) map[string]string {
	out := map[string]string{}
	for name, value := range map[string]string{"HTTP_PROXY": c.Proxy.HTTP, "HTTPS_PROXY": c.Proxy.HTTPS} {
		if value != "" {
			out[name], out["NO_PROXY"] = value, strings.Join(noProxy, ",")
		}
	}
	return out
}

// CheckProxy refuses proxies that an image says by a reference.
func (c *Cluster) CheckProxy() error {
	return cmp.Or(CheckRevealed("proxy.http", c.Proxy.HTTP), CheckRevealed("proxy.https", c.Proxy.HTTPS))
}

// CheckRevealed refuses a text that only a Clusterfile's reader looks up, as when
// an image says it.
func CheckRevealed(what, text string) error {
	if clusterfile.IsReference(text) {
		return fmt.Errorf("%s: it says where a value is, and was not looked up: name places in the Clusterfile, not in the image's ENV", what)
	}
	return nil
}
