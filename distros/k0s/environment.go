package k0s

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// settingsPath has what the unit of a role is told beyond what `k0s install`
// writes (docs.k0sproject.io, "Environment variables").
func settingsPath(r runtime.Role) string { return unitPath(r) + ".d/10-sealrt.conf" }

// variables are the proxies. containerd takes no others than k0s does, unless
// they are named after it.
func variables(c *runtime.Cluster) map[string]string {
	out := map[string]string{}
	for _, name := range []string{"CONTAINERD_HTTP_PROXY", "CONTAINERD_HTTPS_PROXY", "CONTAINERD_NO_PROXY"} {
		if value := c.Getenv(name); value != "" {
			out[name] = value
		}
	}
	maps.Copy(out, c.ProxyVariables(around(c)))
	return out
}

// around is what k0s reaches without a proxy beside what any cluster does.
func around(c *runtime.Cluster) []string {
	further := []string{".svc", ".cluster.local"}
	if t, err := ofControllers(c); err == nil {
		pods, services := t.cidrs()
		further = slices.Concat(further, pods, services)
	}
	return c.NoProxy(further...)
}

// environment are the variables as lines of a unit (systemd.exec(5),
// Environment=).
func environment(c *runtime.Cluster) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`)
	vars := variables(c)
	var text string
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		text += fmt.Sprintf("Environment=\"%s=%s\"\n", name, quote.Replace(vars[name]))
	}
	return text
}
