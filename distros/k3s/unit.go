package k3s

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// unit is the service of a role.
func unit(r runtime.Role) string {
	return runtime.ByRole(r, "k3s", "k3s-agent")
}

// unitPath is where the unit of a host lies, or the script of OpenRC, and envPath
// where its variables do: in the same places as those that k3s' install.sh makes.
func unitPath(m runtime.Member) string {
	if m.Init == runtime.OpenRC {
		return runtime.OpenRCScript(unit(m.Role))
	}
	return "/etc/systemd/system/" + unit(m.Role) + ".service"
}

func envPath(m runtime.Member) string {
	if m.Init == runtime.OpenRC {
		return configDir + "/" + unit(m.Role) + ".env"
	}
	return unitPath(m) + ".env"
}

// unitFile is the unit that k3s' install.sh writes, but for the place of the
// settings. A server says when it is up; an agent does not in older versions.
func unitFile(m runtime.Member) string {
	if m.Init == runtime.OpenRC {
		return openrcScript(m)
	}
	return `[Unit]
Description=Lightweight Kubernetes
Documentation=https://k3s.io
Wants=network-online.target
After=network-online.target

[Install]
WantedBy=multi-user.target

[Service]
Type=` + serviceType(m) + `
EnvironmentFile=-` + envPath(m) + `
KillMode=process
Delegate=yes
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0
Restart=always
RestartSec=5s
ExecStartPre=-/sbin/modprobe br_netfilter
ExecStartPre=-/sbin/modprobe overlay
ExecStart=` + program + ` ` + command(m) + `
`
}

// variables are those that k3s runs with: the proxies, and of the settings
// those that k3s and its containerd know by their names, as install.sh keeps
// them (https://docs.k3s.io/reference/env-variables).
func variables(c *runtime.Cluster, m runtime.Member) map[string]string {
	out := c.ProxyVariables(c.NoProxy()) // k3s adds the networks of pods and services: https://docs.k3s.io/advanced, "Configuring an HTTP proxy"
	said := map[string]string{}
	for _, kv := range c.Image().Env {
		k, v, _ := strings.Cut(kv, "=")
		said[k] = v
	}
	maps.Copy(said, c.Env)
	maps.Copy(said, m.Env)
	for name, value := range said {
		if strings.HasPrefix(name, "K3S_") || strings.HasPrefix(name, "CONTAINERD_") {
			out[name] = value
		}
	}
	return out
}

// envFile is the text of the file of variables (systemd.exec(5),
// EnvironmentFile=).
func envFile(c *runtime.Cluster, m runtime.Member) string {
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "`", "\\`")
	vars := variables(c, m)
	var b strings.Builder
	b.WriteString("# Written by sealrt.\n")
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		fmt.Fprintf(&b, "%s=\"%s\"\n", name, quoted.Replace(vars[name]))
	}
	return b.String()
}
