package merge

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// config makes the configuration of the new image, but for its layers.
func (w *work) config() (v1.ConfigFile, error) {
	kind, err := w.kind()
	if err != nil {
		return v1.ConfigFile{}, err
	}
	cfg := *w.parts[0].config.DeepCopy()
	cfg.OS, cfg.Architecture, cfg.Variant, cfg.Created = w.platform.OS, w.platform.Architecture, w.platform.Variant, v1.Time{Time: w.Created}
	c := &cfg.Config
	c.Env, c.Labels = w.environment(), w.labels()
	for name, value := range map[string]string{
		artifact.LabelType: kind.Type, artifact.LabelFormat: artifact.Format, artifact.LabelDistro: kind.Distro, artifact.LabelDistroVersion: kind.Version,
	} {
		if value != "" {
			c.Labels[name] = value
		}
	}
	c.Entrypoint, c.Cmd = nil, w.command(kind.Type)
	w.report.Type, w.report.Distro, w.report.Version, w.report.Command = kind.Type, kind.Distro, kind.Version, c.Cmd
	for i, v := range w.parts[1:] {
		other, first := v.config.Config, w.parts[0].config.Config
		for _, s := range [...]struct{ what, own, first string }{{"USER", other.User, first.User}, {"WORKDIR", other.WorkingDir, first.WorkingDir}} {
			if s.own != s.first {
				w.conflict(s.what, w.parts[0].name(), w.parts[i+1].name(), "")
			}
		}
	}
	return cfg, nil
}

// kind says what the new image is. Images that cannot be one are an error.
func (w *work) kind() (artifact.Kind, error) {
	var k artifact.Kind
	from := ""
	types := map[string]string{}
	for _, v := range w.parts {
		own := artifact.KindOf(v.config)
		types[own.Type] = v.name()
		switch {
		case own.Type != artifact.TypeRootfs:
		case from == "":
			k, from = own, v.name()
		case own.Distro != k.Distro:
			return k, fmt.Errorf("%s boots %s, and %s boots %s: an image has one distribution", from, k.Distro, v.name(), own.Distro)
		case own.Version != "" && k.Version != "" && !artifact.SameVersion(own.Version, k.Version):
			return k, fmt.Errorf("%s has %s %s, and %s has %s: an image has one version", from, k.Distro, k.Version, v.name(), own.Version)
		case len(own.Version) > len(k.Version):
			k.Version = own.Version
		}
	}
	app, patch := types[artifact.TypeApp], types[artifact.TypePatch]
	switch {
	case from != "":
	case app != "" && patch != "":
		return k, fmt.Errorf("%s is an app, and %s a patch: they become one image with a rootfs image only", app, patch)
	case patch != "":
		k.Type = artifact.TypePatch
	case app != "":
		k.Type = artifact.TypeApp
	default:
		return k, errors.New("no image says what it is")
	}
	return k, nil
}

// environment joins the variables of all images, in order.
func (w *work) environment() []string {
	var env []string
	owner := map[string]string{}
	for _, v := range w.parts {
		for _, kv := range v.config.Config.Env {
			name, _, _ := strings.Cut(kv, "=")
			i := slices.IndexFunc(env, func(have string) bool { return strings.HasPrefix(have, name+"=") })
			switch {
			case i < 0:
				env = append(env, kv)
			case env[i] != kv:
				w.conflict("variable "+name, v.name(), owner[name], "")
				env[i] = kv
			}
			owner[name] = v.name()
		}
	}
	return env
}

// labels joins the labels of all images but those of the format.
func (w *work) labels() map[string]string {
	labels := map[string]string{}
	owner := map[string]string{}
	for _, v := range w.parts {
		for _, name := range slices.Sorted(maps.Keys(v.config.Config.Labels)) {
			value := v.config.Config.Labels[name]
			switch name {
			case artifact.LabelType, artifact.LabelDistro, artifact.LabelDistroVersion, artifact.LabelFormat, artifact.LabelImagesDigest:
				continue
			}
			if have, there := labels[name]; there && have != value {
				w.conflict("label "+name, v.name(), owner[name], "")
			}
			labels[name], owner[name] = value, v.name()
		}
	}
	return labels
}

// command joins what the images run, in order.
func (w *work) command(kind string) []string {
	var commands [][]string
	for _, v := range w.parts {
		c := v.config.Config
		argv := slices.Concat(c.Entrypoint, c.Cmd)
		if len(argv) == 0 {
			continue
		}
		commands = append(commands, argv)
		if kind != artifact.TypeApp && artifact.KindOf(v.config).Type == artifact.TypeApp {
			w.conflict("CMD", "", v.name(), "it is kept, but `sealrt run` runs commands of app images only: run the app beside the rootfs image, or its command by hand")
		}
	}
	switch len(commands) {
	case 0:
		return nil
	case 1:
		return commands[0]
	}
	lines := make([]string, len(commands))
	for i, argv := range commands {
		words := make([]string, len(argv))
		for n, word := range argv {
			words[n] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
		lines[i] = strings.Join(words, " ")
	}
	return []string{"/bin/sh", "-c", strings.Join(lines, " && ")}
}
