package runtime

import (
	"context"
	"fmt"
	"net"
	"net/url"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime/host"
)

// Kubeconfig reads the administrator's kubeconfig from a master and returns it
// for use elsewhere: its servers are the master's own address, since the
// cluster's stable name is known to its hosts only. It is a secret.
func Kubeconfig(ctx context.Context, h host.Host, path, nodeIP string) ([]byte, error) {
	raw, err := host.ReadFile(ctx, h, path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	clusters, _ := config["clusters"].([]any)
	for _, c := range clusters {
		entry, _ := c.(map[string]any)
		cluster, _ := entry["cluster"].(map[string]any)
		server, _ := cluster["server"].(string)
		u, err := url.Parse(server)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("%s: server %q is not a URL", path, server)
		}
		u.Host = net.JoinHostPort(nodeIP, u.Port())
		cluster["server"] = u.String()
	}
	if len(clusters) == 0 {
		return nil, fmt.Errorf("%s names no cluster", path)
	}
	return yaml.Marshal(config)
}
