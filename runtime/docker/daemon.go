package docker

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"slices"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// settings are those of daemon.json, as far as they matter here
// (https://docs.docker.com/reference/cli/dockerd/#daemon-configuration-file).
type settings struct {
	DataRoot    string `json:"data-root"`
	LiveRestore bool   `json:"live-restore"`
}

// Daemon returns daemon.json for a member: that of the image, with the place of
// the data that the Clusterfile says, and the mirror of the image service before
// others. With a registry of the image's own script there is no mirror.
func Daemon(c *runtime.Cluster, m runtime.Member) (mirrors.File, error) {
	text, err := file(c, m, imageDaemon)
	if err != nil {
		return mirrors.File{}, err
	}
	if dir := c.DataDir.Containerd; dir != "" {
		if text, err = with(text, "data-root", dir); err != nil {
			return mirrors.File{}, err
		}
	}
	f := mirrors.File{Path: mirrors.DaemonFile, Data: cmp.Or(text, "{}\n"), Mode: 0o644}
	if c.Registry.Script {
		return f, nil
	}
	to, err := c.Mirror()
	if err != nil {
		return mirrors.File{}, err
	}
	pointed, changed, err := mirrors.Docker(to, text)
	if err != nil || !changed {
		return f, err
	}
	return pointed, nil
}

// with sets one key of a JSON object, and leaves all else as it is.
func with(text, key, value string) (string, error) {
	doc := map[string]json.RawMessage{}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &doc); err != nil {
			return "", fmt.Errorf("%s: %w", imageDaemon, err)
		}
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	doc[key] = raw
	out, err := json.MarshalIndent(doc, "", "  ")
	return string(out) + "\n", err
}

// settingsOn reads what docker is told on a member.
func settingsOn(c *runtime.Cluster, m runtime.Member) (settings, error) {
	var s settings
	text, err := file(c, m, imageDaemon)
	if err != nil {
		return s, err
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return s, fmt.Errorf("%s: %w", imageDaemon, err)
		}
	}
	s.DataRoot = cmp.Or(c.DataDir.Containerd, s.DataRoot, DefaultData)
	return s, nil
}

// shared are directories that are not docker's alone, and that a reset must not
// remove.
var shared = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"/", "/etc", "/usr", "/boot", "/dev", "/proc", "/sys", "/run", "/tmp", "/var", "/var/lib", "/home", "/root", "/srv", "/opt", "/mnt", "/data", runtime.Home,
}

func dataOn(c *runtime.Cluster, m runtime.Member) (string, error) {
	s, err := settingsOn(c, m)
	switch dir := s.DataRoot; {
	case err != nil:
		return "", err
	case !path.IsAbs(dir) || path.Clean(dir) != dir:
		return "", fmt.Errorf("data-root %q of docker: write an absolute path of a directory of its own", dir)
	case slices.Contains(shared[:], dir):
		return "", fmt.Errorf("data-root %s is not of docker alone, and a reset would remove it: write a directory below it, such as %s", dir, path.Join(dir, "docker"))
	default:
		return dir, nil
	}
}
