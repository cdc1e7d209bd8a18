package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing/fstest"

	"github.com/agext/levenshtein"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// ConfigFile returns a file of the rootfs image for one member, named by its
// path in the tree: rendered if the image has it as a template, with the config
// documents of the cluster in it. An error that wraps fs.ErrNotExist says that
// the image has no such file.
func (c *Cluster) ConfigFile(name string, m Member, grant ...Captured) ([]byte, error) {
	name = strings.TrimSuffix(name, TemplateSuffix)
	if _, err := fs.Stat(c.Image().files(), name+TemplateSuffix); err == nil {
		text, err := c.Render(name+TemplateSuffix, m, grant...)
		return []byte(text), err
	}
	raw, err := fs.ReadFile(c.Image().files(), name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return raw, nil
}

// OptionalFile returns the first of some files that the rootfs image has, as
// ConfigFile does, with its name; "" and nil where it has none of them.
func (c *Cluster) OptionalFile(m Member, names ...string) (name string, raw []byte, err error) {
	for _, name := range names {
		raw, err := c.ConfigFile(name, m)
		if !errors.Is(err, fs.ErrNotExist) {
			return name, raw, err
		}
	}
	return "", nil, nil
}

// configFor returns the config documents for a file, in order. A template may
// be named with its suffix or without it.
func (c *Cluster) configFor(name string) []clusterfile.Config {
	var out []clusterfile.Config
	for _, doc := range c.Config {
		if configPath(doc) == strings.TrimSuffix(name, TemplateSuffix) {
			out = append(out, doc)
		}
	}
	return out
}

func configPath(doc clusterfile.Config) string {
	return strings.TrimSuffix(strings.TrimPrefix(path.Clean("/"+doc.Path), "/"), TemplateSuffix)
}

// withConfig returns the content of a file with the config documents for it.
func (c *Cluster) withConfig(name string, raw []byte) ([]byte, error) {
	for _, doc := range c.configFor(name) {
		var err error
		if raw, err = configured(name, raw, doc); err != nil {
			return nil, fmt.Errorf("config of %s: %w", name, err)
		}
	}
	return raw, nil
}

// configure lays the config documents over the files of the images: whoever
// reads such a file sees the user's values. Templates get theirs when they are
// rendered. A document for a file that no image has is an error which names
// those that are called alike.
func (c *Cluster) configure() error {
	if len(c.Config) == 0 {
		return nil
	}
	whole := true // all files are known here
	used := map[string]bool{}
	images := slices.Clone(c.Images)
	for n, i := range images {
		if i.Files == nil {
			whole = false
			if i.Config == nil {
				continue
			}
		}
		changed := fstest.MapFS{}
		for _, doc := range c.Config {
			name := configPath(doc)
			if _, err := fs.Stat(i.files(), name+TemplateSuffix); err == nil {
				used[name] = true
				continue
			}
			info, err := fs.Stat(i.files(), name)
			if err != nil || info.IsDir() {
				continue
			}
			used[name] = true
			raw, err := fs.ReadFile(i.files(), name)
			if err == nil {
				raw, err = c.withConfig(name, raw)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", i.Ref.Familiar(), err)
			}
			changed[name] = &fstest.MapFile{Data: raw, Mode: info.Mode()}
		}
		switch {
		case len(changed) > 0 && i.Files != nil:
			images[n].Files = overlaid{i.Files, changed}
		case len(changed) > 0:
			images[n].Config = maps.Clone(i.Config)
			for name, f := range changed {
				images[n].Config[name] = string(f.Data)
			}
		}
	}
	for _, doc := range c.Config {
		if whole && !used[configPath(doc)] {
			return c.unknownFile(doc.Path)
		}
	}
	c.Images = images
	return nil
}

// overlaid is a tree some of whose files are others.
type overlaid struct {
	fs.FS
	changed fstest.MapFS
}

// Open implements fs.FS.
func (o overlaid) Open(name string) (fs.File, error) {
	if _, ok := o.changed[name]; ok {
		return o.changed.Open(name)
	}
	return o.FS.Open(name)
}

// unknownFile is the error about a config document for a file that no image
// has.
func (c *Cluster) unknownFile(name string) error {
	want := strings.ToLower(strings.TrimSuffix(path.Base(name), path.Ext(name)))
	var like []string
	for _, i := range c.Images {
		if i.Files == nil {
			continue
		}
		err := fs.WalkDir(i.Files, ".", func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			p = strings.TrimSuffix(p, TemplateSuffix)
			base := strings.ToLower(strings.TrimSuffix(path.Base(p), path.Ext(p)))
			if near(base, want) && !slices.Contains(like, p) {
				like = append(like, p)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if len(like) == 0 {
		return fmt.Errorf("config of %s: no image has such a file in etc/, manifests/ or at its root: `sealrt inspect --files %s` lists them", name, c.Image().Ref.Familiar())
	}
	return fmt.Errorf("config of %s: no image has such a file: is %s meant?", name, strings.Join(like, " or "))
}

// near reports whether two names are one, but for at most two letters.
func near(a, b string) bool {
	return levenshtein.Distance(a, b, nil) <= min(2, max(len(a), len(b))/2)
}
