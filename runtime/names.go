package runtime

import (
	"fmt"
	"net"
	"slices"
)

// APINames are the names of the API that its certificate has to have, each once:
// further ones first, then those of the cluster.
func (c *Cluster) APINames(further ...string) []string {
	names := append(slices.Clone(further), c.EndpointHost())
	if host, _, err := net.SplitHostPort(c.Endpoint); err == nil {
		names = append(names, host)
	}
	return once(append(names, c.TLSSANs...))
}

// CheckNames refuses names that the user's own configuration takes the place of.
// where says which, and what it sets.
func (c *Cluster) CheckNames(names []string, where string) error {
	for _, name := range c.TLSSANs {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%s, which wins over spec.tlsSANs and lacks %s: add it there and apply the file", where, name)
		}
	}
	return nil
}

// once is a list without what was in it before.
func once(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}
