package contents

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// SettingChange is a setting of the configuration that differs.
type SettingChange struct {
	Name     string // "label NAME", "env NAME", "cmd" and the like
	From, To string // "" is none
}

// compareConfigs tells what differs in two configurations.
func compareConfigs(a, b *v1.ConfigFile) []SettingChange {
	from, to := settings(a), settings(b)
	all := maps.Clone(from)
	maps.Copy(all, to)
	var list []SettingChange
	for name := range all {
		if from[name] != to[name] {
			list = append(list, SettingChange{name, from[name], to[name]})
		}
	}
	slices.SortFunc(list, func(x, y SettingChange) int { return cmp.Compare(x.Name, y.Name) })
	return list
}

// settings returns what a configuration says, by name.
func settings(f *v1.ConfigFile) map[string]string {
	c := f.Config
	list := map[string]string{
		"entrypoint": strings.Join(c.Entrypoint, " "), "cmd": strings.Join(c.Cmd, " "), "user": c.User, "workdir": c.WorkingDir,
		"stop signal": c.StopSignal, "ports": strings.Join(slices.Sorted(maps.Keys(c.ExposedPorts)), " "),
		"volumes": strings.Join(slices.Sorted(maps.Keys(c.Volumes)), " "),
	}
	if p := f.Platform(); p != nil {
		list["platform"] = p.String()
	}
	for name, value := range c.Labels {
		list["label "+name] = value
	}
	for _, variable := range c.Env {
		name, value, _ := strings.Cut(variable, "=")
		list["env "+name] = value
	}
	return list
}
