package runtime

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// systemFiles are the directories of an image's etc/ that mean the same place
// on every host, whatever the distribution.
var systemFiles = [...]string{"etc/sysctl.d", "etc/limits.d", "etc/modules-load.d", "etc/systemd/system"} //nolint:gochecknoglobals // a table that nothing changes

// systemPlaces are where the directories of systemFiles lie on a host, if not
// at the same path (limits.d: limits.conf(5), read by pam_limits).
var systemPlaces = map[string]string{"etc/limits.d": "/etc/security/limits.d"} //nolint:gochecknoglobals // a table that nothing changes

// hostFiles writes the rootfs image's settings of the operating system to
// their places on the host.
func (c *Cluster) hostFiles(m Member) ([]Step, error) {
	var steps []Step
	for _, dir := range systemFiles {
		if _, err := fs.Stat(c.Image().Files, dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		place, moved := systemPlaces[dir]
		if !moved {
			place = "/" + dir
		}
		err := fs.WalkDir(c.Image().Files, dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if path.Ext(path.Dir(name)) == ".wants" { // a service to enable: hostUnits
				return nil
			}
			below := strings.TrimPrefix(strings.TrimSuffix(name, TemplateSuffix), dir)
			step, err := c.HostFile(name, path.Join(place, below), m)
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
// place on the host, rendered if it is a template, with the config documents of
// the cluster in it.
func (c *Cluster) HostFile(name, to string, m Member) (Step, error) {
	text, err := c.text(c.Image(), name, m)
	if err != nil {
		return Step{}, err
	}
	from := ""
	if strings.HasSuffix(name, TemplateSuffix) {
		from = name
	}
	mode := fs.FileMode(0o644)
	if withoutSecrets(text, c.Hidden()) != text {
		mode = 0o600
	}
	return Step{ID: "file " + to, Do: Write{Path: to, Data: text, Mode: mode, From: from}}, nil
}

// nodePassword is a file that every host makes for itself, as k3s does when it
// joins (https://docs.k3s.io/architecture, "How Agent Node Registration Works").
// One that an image brings would be that of all hosts.
const nodePassword = "etc/node/password"

// checkPlaces refuses files of the rootfs image that must not be in one.
func (c *Cluster) checkPlaces() error {
	for _, i := range c.Images {
		if !slices.Contains(i.Paths, nodePassword) || i.Files == nil {
			continue
		}
		raw, err := fs.ReadFile(i.Files, nodePassword)
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(raw)) != "" {
			return errors.New(i.Ref.Familiar() + ": " + nodePassword + " is not empty: all hosts would have one password, and the first that joins locks the others out: leave it away, each host makes its own")
		}
	}
	return nil
}

// Objects lists the files of Kubernetes objects in an image, as they are named
// in its tree: those in manifests/ in name order, then the YAML files at its
// root.
func (i Image) Objects() []string {
	var out []string
	for _, dir := range []string{"manifests", "."} {
		for _, name := range i.In(dir) {
			plain := strings.TrimSuffix(name, TemplateSuffix)
			if ext := path.Ext(plain); ext != ".yaml" && ext != ".yml" || dir == "." && plain != name {
				continue
			}
			out = append(out, path.Join(dir, name))
		}
	}
	return out
}

// hostUnits runs the services of the rootfs image that it enables, as systemctl
// enable would: by a link in etc/systemd/system/TARGET.wants.
func (c *Cluster) hostUnits(m Member) ([]Step, error) {
	const dir = "etc/systemd/system"
	var steps []Step
	for _, p := range c.Image().Paths {
		unit, isService := strings.CutSuffix(path.Base(p), ".service")
		if path.Dir(path.Dir(p)) != dir || path.Ext(path.Dir(p)) != ".wants" || !isService {
			continue
		}
		raw, err := c.ConfigFile(path.Join(dir, path.Base(p)), m)
		if err != nil {
			return nil, err
		}
		steps = append(steps, ServiceStep(unit, true, string(raw)))
	}
	return steps, nil
}

// unlike returns those of the steps that are not among others: what a driver
// knows of a service counts.
func unlike(steps, others []Step) []Step {
	return slices.DeleteFunc(steps, func(s Step) bool {
		return slices.ContainsFunc(others, func(o Step) bool { return o.ID == s.ID })
	})
}

// check refuses images and settings of which some part could not be done, and
// lays the config documents over the files.
func (c *Cluster) check() error {
	for _, check := range []func() error{c.checkHooks, c.checkPlaces, c.configure} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}
