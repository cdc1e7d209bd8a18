package mirrors

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// CertsDir is where containerd's own documentation puts the files of Hosts
// (containerd docs/hosts.md).
const CertsDir = "/etc/containerd/certs.d"

// defaultDir is the folder in it for registries that have none (containerd
// docs/hosts.md, "Setup Default Mirror for All Registries").
const defaultDir = "_default"

// able is what every endpoint is asked.
const able = "capabilities = [\"pull\", \"resolve\"]\n"

// Hosts returns the hosts.toml of every registry, below dir (containerd
// docs/hosts.md; understood from containerd 1.5 on). containerd reads them at
// every pull: a change needs no restart. existing is the registries.yaml of the
// cluster image, or "": what it says stands behind the mirror.
//
// Where upstream may not be asked, the server of last resort is the mirror
// itself: without a server containerd goes to the registry.
func Hosts(m Mirror, dir, existing string) ([]File, error) {
	at, err := m.parse()
	if err != nil {
		return nil, err
	}
	r, err := parseRegistries(existing)
	if err != nil {
		return nil, err
	}
	folders := map[string]string{} // of registries
	for _, name := range r.all(m.Registries) {
		if err := checkRegistry(name); err != nil {
			return nil, err
		}
		if name != at.host { // it is no mirror of itself
			folders[name] = name
		}
	}
	if _, all := r.Mirrors["*"]; all || m.Others {
		folders["*"] = defaultDir
	}
	var files []File
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		behind, secret, err := r.behind(name, at.root)
		if err != nil {
			return nil, err
		}
		f := File{Path: path.Join(dir, folders[name], "hosts.toml"), Data: hostsFile(m, at) + behind, Mode: 0o644}
		if secret {
			f.Mode = 0o600
		}
		files = append(files, f)
	}
	return files, nil
}

// hostsFile is the beginning of a hosts.toml. Keys of the server come before the
// first table.
func hostsFile(m Mirror, at place) string {
	endpoint, override := at.root, ""
	if at.prefix != "" { // containerd puts /v2 in front of what has a path by itself
		endpoint, override = at.root+"/v2/"+at.prefix, "override_path = true\n"
	}
	ca := ""
	if m.CAFile != "" {
		ca = "ca = " + strconv.Quote(m.CAFile) + "\n"
	}
	server := ""
	if !m.Upstream {
		server = "server = " + strconv.Quote(endpoint) + "\n" + able + override + ca
	}
	return note + server + "\n[host." + strconv.Quote(endpoint) + "]\n" + indent(able+override+ca)
}

// The table that says where the files of Hosts are, by the version of
// containerd's configuration (containerd docs/cri/config.md, "Registry
// Configuration"): 2 is read by containerd 1.3 and later, 3 by 2.0 and later.
func registryTable(version int) (string, bool) {
	switch version {
	case 2:
		return "io.containerd.grpc.v1.cri", true
	case 3:
		return "io.containerd.cri.v1.images", true
	}
	return "", false
}

// containerdConfig is what of containerd's configuration matters here.
type containerdConfig struct {
	Version int `toml:"version"`
	Plugins map[string]struct {
		Registry struct {
			ConfigPath string         `toml:"config_path"`
			Mirrors    map[string]any `toml:"mirrors"`
			Configs    map[string]any `toml:"configs"`
		} `toml:"registry"`
	} `toml:"plugins"`
}

// ContainerdConfig has containerd read files of Hosts. It returns the
// configuration with that setting, all else as it was, and the directory for
// the files, which is the one that the configuration named before if it named
// one. "" is an installation without a configuration.
func ContainerdConfig(config string) (changed, dir string, err error) {
	var c containerdConfig
	if _, err := toml.Decode(config, &c); err != nil {
		return "", "", fmt.Errorf("containerd's configuration: %w", err)
	}
	if strings.TrimSpace(config) == "" {
		config, c.Version = "version = 2\n", 2
	}
	plugin, ok := registryTable(c.Version)
	if !ok {
		return "", "", fmt.Errorf("containerd's configuration is of version %d: write one of version 2 or 3 (containerd config migrate)", c.Version)
	}
	now := c.Plugins[plugin].Registry
	if dir, _, _ := strings.Cut(now.ConfigPath, ":"); dir != "" {
		return config, dir, nil
	}
	if len(now.Mirrors)+len(now.Configs) > 0 {
		return "", "", fmt.Errorf(`containerd's configuration has mirrors or configs of registries, which containerd refuses beside config_path: move them to %s/REGISTRY/hosts.toml`, CertsDir)
	}
	changed = setConfigPath(config, plugin)
	var after containerdConfig
	if _, err := toml.Decode(changed, &after); err != nil || after.Plugins[plugin].Registry.ConfigPath != CertsDir {
		return "", "", fmt.Errorf(`containerd's configuration sets its registry in a way that cannot be added to: write [plugins.%q.registry] with config_path = %q`, plugin, CertsDir)
	}
	return changed, CertsDir, nil
}

// setConfigPath puts the setting behind the head of its table, or adds the
// table. An empty setting that is there is replaced.
func setConfigPath(config, plugin string) string {
	head := regexp.MustCompile(`(?m)^[ \t]*\[[ \t]*plugins[ \t]*\.[ \t]*["']` + regexp.QuoteMeta(plugin) + `["'][ \t]*\.[ \t]*registry[ \t]*\][ \t]*(#.*)?$`)
	setting := "  config_path = " + strconv.Quote(CertsDir) + "\n"
	at := head.FindStringIndex(config)
	if at == nil {
		if !strings.HasSuffix(config, "\n") {
			config += "\n"
		}
		return config + fmt.Sprintf("\n[plugins.%q.registry]\n%s", plugin, setting)
	}
	before, rest := config[:at[1]]+"\n", strings.TrimPrefix(config[at[1]:], "\n")
	var b strings.Builder
	b.WriteString(before + setting)
	inside := true
	for line := range strings.Lines(rest) {
		bare := strings.TrimSpace(line)
		if strings.HasPrefix(bare, "[") {
			inside = false
		}
		if key, _, _ := strings.Cut(bare, "="); inside && strings.TrimSpace(key) == "config_path" {
			continue
		}
		b.WriteString(line)
	}
	return b.String()
}
