package runtime

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/export"
)

// TemplateSuffix marks files of an image that are templates; what they become
// is named without it.
const TemplateSuffix = ".tmpl"

// registryPort is where the image service listens on every host, unless the
// specification says otherwise.
const registryPort = 5555

// view is what a template of an image sees.
type view struct {
	Cluster  *Cluster
	Host     Member
	Masters  []Member
	Registry RegistryView
	Image    imageView
	Env      map[string]string
	Grant    map[string]string // what a joining host needs, by name
}

// RegistryView is what templates are told of the place that images come from.
type RegistryView struct {
	Endpoint string // URL
	CAFile   string // of the certificate there; "": the system's, or none is needed
	Prefix   string // what stands before an image's path; "" where images keep their names
}

// imageView is an image whose variables can be named.
type imageView struct {
	Image
	Env map[string]string
}

// registryView tells where the cluster's hosts get images from. Images keep
// their names there: the container runtimes know the place.
func (c *Cluster) registryView() RegistryView {
	if c.Registry.External != "" {
		server, _, _ := strings.Cut(c.Registry.External, "/")
		return RegistryView{Endpoint: "https://" + server, CAFile: c.Registry.CAFile}
	}
	port := c.Registry.Port
	if port == 0 {
		port = registryPort
	}
	return RegistryView{Endpoint: fmt.Sprintf("http://127.0.0.1:%d", port)}
}

// image returns the name that an image has in the registry.
func (r RegistryView) image(name string) (string, error) {
	if r.Prefix == "" {
		return name, nil
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return "", err
	}
	to, err := export.Mapped(r.Prefix, ref)
	return to.String(), err
}

// Render fills in a template of the rootfs image, named by its path in the
// tree, for one member, and puts the cluster's config documents into the
// result. Functions are those of sprig that depend on nothing outside, and
// image, which returns the name that an image has for the cluster. A setting
// that does not exist is an error with file and line.
func (c *Cluster) Render(name string, m Member, grant ...Captured) (string, error) {
	return c.render(c.Image(), name, m, grant...)
}

func (c *Cluster) render(i Image, name string, m Member, grant ...Captured) (string, error) {
	v := view{
		Cluster: c, Host: m, Masters: c.Masters(), Registry: c.registryView(), Image: imageView{i, pairs(i.Env)},
		Env: c.environmentOf(i, m), Grant: map[string]string{},
	}
	for _, g := range grant {
		v.Grant[string(g)] = g.String()
	}
	text, err := v.fill(i, name)
	if err != nil {
		return "", err
	}
	raw, err := c.withConfig(name, []byte(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w", i.Ref.Familiar(), err)
	}
	return string(raw), nil
}

// fill executes a template of an image.
func (v view) fill(i Image, name string) (string, error) {
	return execute(i, name, v, v.Registry, "settings are given with -e NAME=VALUE")
}

// RenderAlone fills in the templates of an app image for a cluster that sealrt
// did not make, and returns what they become by its path in the tree. Such a
// cluster has no hosts: templates that ask for one are an error.
func RenderAlone(i Image, env map[string]string, r RegistryView) (map[string]string, error) {
	v := map[string]any{
		"Registry": r, "Image": imageView{i, pairs(i.Env)}, "Env": over(pairs(i.Env), env),
	}
	out := map[string]string{}
	for _, name := range i.templates("etc", "manifests", "charts") {
		text, err := execute(i, name, v, r, "settings are given with -e NAME=VALUE; on a cluster that sealrt did not make there are .Registry, .Image and .Env")
		if err != nil {
			return nil, err
		}
		out[strings.TrimSuffix(name, TemplateSuffix)] = text
	}
	return out, nil
}

// templates lists the templates below some directories of the image's tree.
// Inside of a chart only values are ours: the rest is the chart's own.
func (i Image) templates(dirs ...string) []string {
	charts := map[string]bool{}
	for _, p := range i.Paths {
		if path.Base(p) == "Chart.yaml" {
			charts[path.Dir(p)] = true
		}
	}
	var out []string
	for _, p := range i.Paths {
		top, _, _ := strings.Cut(p, "/")
		if !strings.HasSuffix(p, TemplateSuffix) || !slices.Contains(dirs, top) {
			continue
		}
		of := ""
		for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
			if charts[dir] {
				of = dir
			}
		}
		if of == "" || path.Dir(p) == of && strings.HasPrefix(path.Base(p), "values") {
			out = append(out, p)
		}
	}
	return out
}

// Rendered is the directory on a host that has what templates of the image
// became, by their paths in the tree without the suffix: the tree itself is
// read-only.
func (i Image) Rendered() string { return path.Join(renderedDir, short(i.Digest)) }

// renderedFiles lists the files of the image that a host has in
// [Image.Rendered]: what templates of these directories become, and files that
// config documents change.
func (c *Cluster) renderedFiles(i Image, dirs ...string) []string {
	names := i.templates(dirs...)
	for _, doc := range c.Config {
		name := configPath(doc)
		if slices.Contains(i.Paths, name) && !slices.Contains(i.Paths, name+TemplateSuffix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// renderSteps writes what the image's templates become to the host. What etc/
// of a rootfs image becomes goes to places of its own.
func (c *Cluster) renderSteps(i Image, m Member) ([]Step, error) {
	dirs := []string{"manifests", "charts"}
	if !i.Boots() {
		dirs = append(dirs, "etc")
	}
	var steps []Step
	for _, name := range c.renderedFiles(i, dirs...) {
		text, err := c.text(i, name, m)
		if err != nil {
			return nil, err
		}
		to := strings.TrimSuffix(name, TemplateSuffix)
		steps = append(steps, Step{
			ID: renderID(i, name),
			Do: Write{Path: path.Join(i.Rendered(), to), Data: text, Mode: 0o600, From: name},
		})
	}
	return steps, nil
}

// text returns what a file of an image is on a host.
func (c *Cluster) text(i Image, name string, m Member) (string, error) {
	if strings.HasSuffix(name, TemplateSuffix) {
		return c.render(i, name, m)
	}
	raw, err := fs.ReadFile(i.Files, name)
	return string(raw), err
}

// place returns where a file of the image lies on a host: beside the tree if it
// was rendered.
func (c *Cluster) place(i Image, name string) string {
	plain := strings.TrimSuffix(name, TemplateSuffix)
	if plain != name || len(c.configFor(name)) > 0 {
		return path.Join(i.Rendered(), plain)
	}
	return path.Join(i.Rootfs(), name)
}
