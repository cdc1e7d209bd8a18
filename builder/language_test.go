package builder

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// languageBase is the name of the image that the base.Kubefile of a case makes.
const languageBase = "base.test/base:1"

// TestLanguage builds the cases in testdata/language. Each is a directory of a Kubefile, a context and want: the tree
// of the image, one line an entry, and the parts of its config that instructions set, as the rules of Dockerfiles have
// them. options gives build arguments ("arg K=V") and the stage ("target NAME"); base.Kubefile makes languageBase
// first.
func TestLanguage(t *testing.T) {
	cases, err := filepath.Glob("testdata/language/*/Kubefile")
	if err != nil || len(cases) < 40 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, name := range cases {
		dir := filepath.Dir(name)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			o := languageOptions(t, dir)
			d, err := Build(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			b := read(t, o.Store, d, nil)
			want, err := os.ReadFile(filepath.Join(dir, "want"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), treeText(t, b)+configText(t, b.config)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// languageOptions reads a case. The context is copied, so that its modes are those of the case and not of the umask
// that it was checked out under.
func languageOptions(t *testing.T, dir string) Options {
	t.Helper()
	readText := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return string(b)
	}
	o := options(t, readText("Kubefile")+"BASE none\n", nil)
	copyContext(t, filepath.Join(dir, "context"), o.Context)
	for line := range strings.Lines(readText("options")) {
		kind, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch kind {
		case "arg":
			k, v, _ := strings.Cut(value, "=")
			if o.BuildArgs == nil {
				o.BuildArgs = map[string]string{}
			}
			o.BuildArgs[k] = v
		case "target":
			o.Target = value
		default:
			t.Fatalf("options: %q", line)
		}
	}
	if base := readText("base.Kubefile"); base != "" {
		from := o
		from.File, from.Tags = parse(t, base), []artifact.Reference{ref(t, languageBase)}
		from.BuildArgs, from.Target = nil, ""
		mustBuild(t, from)
	}
	return o
}

func copyContext(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(from, p)
		if err != nil || name == "." {
			return err
		}
		full := filepath.Join(to, name)
		if e.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(p)
			return errors.Join(err, os.Symlink(target, full))
		}
		if e.IsDir() {
			return errors.Join(os.Mkdir(full, 0o755), os.Chmod(full, 0o755))
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if strings.HasPrefix(string(b), "#!") {
			mode = 0o755
		}
		return errors.Join(os.WriteFile(full, b, mode), os.Chmod(full, mode))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// treeText lists the tree that the layers of an image add up to, without unpacking it: owners stay as they are.
func treeText(t *testing.T, b built) string {
	t.Helper()
	lines := map[string]string{}
	drop := func(name string) {
		maps.DeleteFunc(lines, func(k, _ string) bool { return strings.HasPrefix(k, name+"/") })
	}
	for _, l := range b.manifest.Layers {
		f, err := os.Open(b.store.BlobPath(l.Digest))
		if err != nil {
			t.Fatal(err)
		}
		err = layer.Walk(t.Context(), f, func(hdr *tar.Header, _ io.Reader) error {
			name := path.Clean(hdr.Name)
			dir, base := path.Split(name)
			if base == ".wh..wh..opq" {
				drop(path.Clean(dir))
				return nil
			}
			if gone, ok := strings.CutPrefix(base, ".wh."); ok {
				drop(dir + gone)
				delete(lines, dir+gone)
				return nil
			}
			if hdr.Typeflag != tar.TypeDir {
				drop(name)
			}
			lines[name] = entryText(name, hdr)
			return nil
		})
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(lines)) {
		text.WriteString(lines[name] + "\n")
	}
	return text.String()
}

func entryText(name string, hdr *tar.Header) string {
	switch hdr.Typeflag {
	case tar.TypeSymlink:
		return name + " -> " + hdr.Linkname
	case tar.TypeDir:
		return fmt.Sprintf("%s/ %04o %d:%d", name, hdr.Mode, hdr.Uid, hdr.Gid)
	case tar.TypeReg:
		return fmt.Sprintf("%s %04o %d:%d %d", name, hdr.Mode, hdr.Uid, hdr.Gid, hdr.Size)
	}
	return fmt.Sprintf("%s of type %c", name, hdr.Typeflag)
}

// configText writes what instructions set in a config, without the labels that every cluster image has.
func configText(t *testing.T, c *v1.ConfigFile) string {
	t.Helper()
	labels := maps.Clone(c.Config.Labels)
	maps.DeleteFunc(labels, func(k, _ string) bool { return strings.HasPrefix(k, "io.sealrt.") })
	parts := map[string]any{}
	for name, v := range map[string][]string{"Env": c.Config.Env, "Cmd": c.Config.Cmd, "Entrypoint": c.Config.Entrypoint, "Shell": c.Config.Shell} {
		if len(v) > 0 {
			parts[name] = v
		}
	}
	for name, v := range map[string]string{"User": c.Config.User, "WorkingDir": c.Config.WorkingDir} {
		if v != "" {
			parts[name] = v
		}
	}
	if len(labels) > 0 {
		parts["Labels"] = labels
	}
	b, err := json.Marshal(parts)
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}
