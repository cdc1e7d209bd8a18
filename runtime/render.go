package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

// TemplateSuffix marks files of an image that are templates; what they become
// is named without it.
const TemplateSuffix = ".tmpl"

// view is what a template of an image sees.
type view struct {
	Cluster *Cluster
	Host    Member
	Masters []Member
	Image   Image
	Env     map[string]string
	Grant   map[string]string // what a joining host needs, by name
}

// Render fills in a template of the rootfs image, named by its path in the
// tree, for one member. Functions are those of sprig that depend on nothing
// outside. A setting that does not exist is an error with file and line.
func (c *Cluster) Render(name string, m Member, grant ...Captured) (string, error) {
	raw, err := fs.ReadFile(c.Image().Files, name)
	if err != nil {
		return "", fmt.Errorf("%s: template %s: %w", c.Image().Ref.Familiar(), name, err)
	}
	t, err := template.New(name).Funcs(sprig.HermeticTxtFuncMap()).Option("missingkey=error").Parse(string(raw))
	if err != nil {
		return "", fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	v := view{Cluster: c, Host: m, Masters: c.Masters(), Image: c.Image(), Env: c.environment(), Grant: map[string]string{}}
	for _, g := range grant {
		v.Grant[string(g)] = g.String()
	}
	var out strings.Builder
	if err := t.Execute(&out, v); err != nil {
		return "", fmt.Errorf("%s: %w (settings are given with -e NAME=VALUE)", c.Image().Ref.Familiar(), err)
	}
	return out.String(), nil
}

// systemFiles are the directories of an image's etc/ that mean the same place
// on every host, whatever the distribution.
var systemFiles = [...]string{"etc/sysctl.d", "etc/limits.d", "etc/modules-load.d", "etc/systemd/system"} //nolint:gochecknoglobals // a table that nothing changes

// hostFiles writes the rootfs image's settings of the operating system to
// their places on the host.
func (c *Cluster) hostFiles(m Member) ([]Step, error) {
	var steps []Step
	for _, dir := range systemFiles {
		if _, err := fs.Stat(c.Image().Files, dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		err := fs.WalkDir(c.Image().Files, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			step, err := c.HostFile(name, path.Join("/", strings.TrimSuffix(name, TemplateSuffix)), m)
			steps = append(steps, step)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// HostFile returns the step that writes a file of the rootfs image to its
// place on the host, rendered if it is a template.
func (c *Cluster) HostFile(name, to string, m Member) (Step, error) {
	var text string
	var err error
	if strings.HasSuffix(name, TemplateSuffix) {
		text, err = c.Render(name, m)
	} else {
		var raw []byte
		raw, err = fs.ReadFile(c.Image().Files, name)
		text = string(raw)
	}
	if err != nil {
		return Step{}, err
	}
	return Step{ID: "file " + to, Do: Write{Path: to, Data: text, Mode: 0o644}}, nil
}
