package runtime

import (
	"io/fs"
	"testing/fstest"
)

// files are those of the image that are at hand: of one that is not, what the
// state has kept of it.
func (i Image) files() fs.FS {
	if i.Files != nil {
		return i.Files
	}
	kept := fstest.MapFS{}
	for name, text := range i.Config {
		kept[name] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	return kept
}

// Configurable reports whether it is known which settings the image has.
func (i Image) Configurable() bool { return i.Files != nil || i.Config != nil }

// KeepConfig returns the files that a driver reads settings from, for
// [Image.Config]; nil where they are not known.
func KeepConfig(d Driver, i Image) map[string]string {
	from, ok := d.(Configured)
	if !ok || !i.Configurable() {
		return nil
	}
	out := map[string]string{}
	for _, name := range from.ConfigFiles() {
		for _, name := range []string{name, name + TemplateSuffix} {
			if raw, err := fs.ReadFile(i.files(), name); err == nil {
				out[name] = string(raw)
			}
		}
	}
	return out
}

// CheckChange says why a cluster that stands, and is like was, cannot become like
// is; a driver that has nothing to say about it agrees.
func CheckChange(d Driver, was, is *Cluster) error {
	checker, ok := d.(ChangeChecker)
	if !ok {
		return nil
	}
	then, now := *was, *is // their files get the config documents of each
	for _, c := range []*Cluster{&then, &now} {
		if err := c.configure(); err != nil {
			return err
		}
	}
	return checker.CheckChange(&then, &now)
}
