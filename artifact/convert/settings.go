package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// settings makes the configuration of the new image, but for its layers: labels, environment and command.
func (f *foreign) settings(maker string, k artifact.Kind, r *Report) v1.ConfigFile {
	cfg := *f.config.DeepCopy()
	c := &cfg.Config
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, f.old.Spec.ImageConfig.Labels)
	c.Env = f.environment(maker, r)
	set := map[string]bool{}
	for _, kv := range c.Env {
		name, _, _ := strings.Cut(kv, "=")
		set[name] = true
	}
	lines := r.expandLines(f.lines(maker, r), set)
	c.Cmd, c.Entrypoint = joinLines(lines), nil
	if maker == sealos && strings.Contains(strings.Join(lines, " "), "SEALOS_SYS_") {
		r.remark("CMD", "", "it uses variables SEALOS_SYS_…, which sealrt does not set: give them with -e")
	}
	if len(c.Cmd) > 0 {
		r.Command = c.Cmd
		r.mapped(fmt.Sprintf("%d command lines of %s", len(lines), maker), "CMD")
		if k.Type != artifact.TypeApp {
			r.remark("CMD", c.Cmd[len(c.Cmd)-1], "sealrt runs commands of app images only, %s runs it on every host of a %s image", maker, k.Type)
		}
	}
	f.unmapped(maker, r)
	label(c, k)
	return cfg
}

// label writes the labels of a cluster image.
func label(c *v1.Config, k artifact.Kind) {
	for name, value := range map[string]string{
		artifact.LabelType: k.Type, artifact.LabelDistro: k.Distro, artifact.LabelDistroVersion: k.Version, artifact.LabelFormat: artifact.Format,
	} {
		if delete(c.Labels, name); value != "" {
			c.Labels[name] = value
		}
	}
}

// environment returns the defaults of templates and commands.
func (f *foreign) environment(maker string, r *Report) []string {
	var env []string
	for _, kv := range f.config.Config.Env {
		if !strings.HasPrefix(kv, "PATH=") { // every host has its own, with bin/ in it
			env = append(env, kv)
		}
	}
	add := func(what string, values map[string]string) {
		if len(values) == 0 {
			return
		}
		for _, name := range slices.Sorted(maps.Keys(values)) {
			env = slices.DeleteFunc(env, func(kv string) bool { return strings.HasPrefix(kv, name+"=") })
			env = append(env, name+"="+values[name])
		}
		r.mapped(what, "ENV")
	}
	if maker == sealer {
		add("args of sealer v0.8", f.old.Spec.ImageConfig.Args.Parent)
		add("args of sealer v0.8", f.old.Spec.ImageConfig.Args.Current)
		add("annotation "+sealerExtension+" env", f.ext.Env)
	}
	return env
}

// lines returns the command lines that the image runs, in order.
func (f *foreign) lines(maker string, r *Report) []string {
	c := f.config.Config
	own := slices.Concat(c.Entrypoint, c.Cmd) // every word is a command line
	if maker == sealos {
		return own
	}
	old := f.old.Spec.ImageConfig.Cmd
	if lines := slices.Concat(old.Parent, old.Current); len(lines) > 0 {
		return lines
	}
	launch := f.ext.Launch
	if len(launch.Cmds) > 0 {
		if len(launch.Names) > 0 {
			r.remark("annotation "+sealerExtension+" launch", strings.Join(launch.Names, ","), "sealer runs the commands that stand beside it instead, and so does the new image")
		}
		return launch.Cmds
	}
	if len(launch.Names) == 0 {
		return own
	}
	var lines []string
	for _, name := range launch.Names {
		i := slices.IndexFunc(f.ext.Applications, func(a application) bool { return a.Name == name })
		if i < 0 {
			r.remark("annotation "+sealerExtension+" launch", name, "there is no application of that name")
			continue
		}
		lines = append(lines, f.ext.Applications[i].lines(r)...)
	}
	return lines
}

// lines returns the command lines by which sealer launches an application.
func (a application) lines(r *Report) []string {
	root := path.Join("application/apps", a.Name)
	if len(a.Env) > 0 {
		text, _ := json.Marshal(a.Env) //nolint:errchkjson // a map of strings
		r.remark("environment of application "+a.Name, string(text), "sealer renders the files of the application with it: write the values into them, or give them to its commands")
	}
	if len(a.Cmds) > 0 {
		return []string{"cd " + root + " && " + strings.Join(a.Cmds, " && ")}
	}
	switch a.Type {
	case "helm":
		return []string{"helm install " + a.Name + " " + root}
	case "kube", "shell":
		tool := "kubectl apply -f "
		if a.Type == "shell" {
			tool = "bash "
		}
		var lines []string
		for _, file := range a.Files {
			lines = append(lines, tool+path.Join(root, file))
		}
		return lines
	}
	r.remark("application "+a.Name, a.Type, "it has no commands, and is of no type that has any")
	return nil
}

// unmapped remarks what nothing in the new image stands for.
func (f *foreign) unmapped(maker string, r *Report) {
	labels := f.config.Config.Labels
	if maker == sealos {
		for _, name := range slices.Concat(sealosVersion, sealosHooks, []string{"vip", "image"}) {
			value, ok := labels[name]
			if !ok {
				continue
			}
			switch {
			case name == "vip":
				r.remark("label "+name, value, "the address of the load balancer of sealos has no counterpart")
			case name == "image":
				r.remark("label "+name, value, "the load balancer of sealos is not run")
			case slices.Contains(sealosHooks, name):
				r.remark("label "+name, value, "sealrt runs no hooks of images: the driver of the distribution does what they are for, or a CMD")
			default:
				r.remark("label "+name, value, "it is the version of what sealos reads, and means nothing here")
			}
		}
	} else {
		for _, name := range slices.Sorted(maps.Keys(labels)) {
			if strings.Contains(name, "sealer.io") && name != sealerRuntime && name != sealerVersion {
				r.remark("label "+name, labels[name], "it stays, and means nothing to sealrt")
			}
		}
		for _, from := range []map[string]string{f.old.Metadata.Annotations, f.manifest.Annotations} {
			if text := from[sealerClusterfile]; text != "" {
				r.remark("annotation "+sealerClusterfile, text, "an image of sealrt has no default Clusterfile: give hosts and settings to `sealrt run`")
			}
		}
	}
	c := f.config.Config
	for _, s := range [...]struct{ what, value string }{{"USER", c.User}, {"WORKDIR", strings.TrimSuffix(c.WorkingDir, "/")}} {
		if s.value != "" {
			r.remark(s.what, s.value, "it stays, and does not matter to commands on a host")
		}
	}
}
