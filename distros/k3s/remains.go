package k3s

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

var _ runtime.Remainer = Driver{}

// Remains names what k3s kept for its user: a datastore outside of the hosts, and
// the volumes of local-path, which go with k3s' own directory and stay elsewhere
// (https://docs.k3s.io/storage).
func (Driver) Remains(c *runtime.Cluster) []string {
	s, err := ofServers(c)
	if err != nil {
		return nil // what cannot be read now must not keep a host from being cleaned
	}
	var out []string
	if endpoint := s.text(datastore, ""); endpoint != "" {
		out = append(out, fmt.Sprintf("the datastore %s is not touched: drop its tables, or keys, before it serves another cluster", withoutPassword(endpoint)))
	}
	if slices.Contains(list(s["disable"]), "local-storage") {
		return out
	}
	volumes := s.text("default-local-storage-path", path.Join(stateDir(c), "storage"))
	for _, dir := range trees(c) {
		if volumes == dir || strings.HasPrefix(volumes, dir+"/") {
			return append(out, fmt.Sprintf("volumes of local-path in %s go with their hosts: what is to be kept has to be copied before", volumes))
		}
	}
	return append(out, fmt.Sprintf("volumes of local-path in %s stay on the hosts: remove them there when nobody needs them", volumes))
}

// withoutPassword is an endpoint as it can be shown: what is before the @, and
// behind the ?, may be secret.
func withoutPassword(endpoint string) string {
	if clusterfile.IsReference(endpoint) {
		return endpoint
	}
	var out []string
	for one := range strings.SplitSeq(endpoint, ",") {
		scheme, rest, ok := strings.Cut(one, "://")
		if !ok {
			scheme, rest = "", one
		} else {
			scheme += "://"
		}
		rest, _, _ = strings.Cut(rest, "?")
		out = append(out, scheme+rest[strings.LastIndex(rest, "@")+1:])
	}
	return strings.Join(out, ",")
}
