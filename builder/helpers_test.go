package builder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/sandbox"
	"github.com/sealrt/sealrt/kubefile"
)

func TestMain(m *testing.M) {
	if handled, code := sandbox.Main(); handled {
		os.Exit(code)
	}
	if print, ok := standIns[filepath.Base(os.Args[0])]; ok {
		os.Exit(print(os.Args[1:]))
	}
	os.Exit(m.Run())
}

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// writeContext makes a directory of files. A name that ends with / is a directory, a content that begins with "-> "
// a symbolic link; files in bin are executable.
func writeContext(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	addFiles(t, dir, files)
	return dir
}

func addFiles(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		full := filepath.Join(dir, name)
		parent := filepath.Dir(full)
		if strings.HasSuffix(name, "/") { // full is clean
			parent = full
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			t.Fatal(err)
		}
		for p := parent; p != dir; p = filepath.Dir(p) { // whatever the umask is
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if parent == full {
			continue
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, full); err != nil {
				t.Fatal(err)
			}
			continue
		}
		mode := fs.FileMode(0o644)
		if filepath.Base(filepath.Dir(full)) == "bin" || strings.HasSuffix(name, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(full, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		sandbox.Remove(s.Root())
	})
	return s
}

func parse(t *testing.T, text string) *kubefile.File {
	t.Helper()
	f, err := kubefile.Parse("Kubefile", strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func ref(t *testing.T, s string) artifact.Reference {
	t.Helper()
	r, err := artifact.ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// options returns Options for a Kubefile and the files of its context, on amd64.
func options(t *testing.T, text string, files map[string]string) Options {
	t.Helper()
	return Options{
		File: parse(t, text), Context: writeContext(t, files), Store: newStore(t), Platform: &amd64,
		Tags: []artifact.Reference{ref(t, "test:1")},
	}
}

// built is an image in a store, read back.
type built struct {
	desc     v1.Descriptor
	manifest *v1.Manifest
	config   *v1.ConfigFile
	store    *store.Store
}

func mustBuild(t *testing.T, o Options) built {
	t.Helper()
	d, err := Build(t.Context(), o)
	if errors.Is(err, sandbox.ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read(t, o.Store, d, nil)
}

func read(t *testing.T, s *store.Store, d v1.Descriptor, p *v1.Platform) built {
	t.Helper()
	_, m, c, err := artifact.Manifest(t.Context(), s, ref(t, "test").WithDigest(d.Digest), p)
	if err != nil {
		t.Fatal(err)
	}
	return built{d, m, c, s}
}

// files unpacks an image: content of files, "dir 0755" for directories, "-> target" for links.
func (b built) files(t *testing.T) map[string]string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if err := artifact.Unpack(t.Context(), b.store, ref(t, "test"), b.manifest, dir, artifact.UnpackOptions{}); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, p)
		if err != nil || name == "." {
			return err
		}
		switch {
		case e.IsDir():
			found[name+"/"] = ""
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			found[name] = "-> " + target
			return err
		default:
			data, err := os.ReadFile(p)
			found[name] = string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// names lists the files of an image, without directories.
func (b built) names(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, name := range keys(b.files(t)) {
		if !strings.HasSuffix(name, "/") {
			names = append(names, name)
		}
	}
	return names
}

// failing builds and returns the error's text.
func failing(t *testing.T, o Options) string {
	t.Helper()
	_, err := Build(t.Context(), o)
	if err == nil {
		t.Fatal("the build succeeded")
	}
	if errors.Is(err, sandbox.ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if refs, err := o.Store.Refs(t.Context()); err != nil || len(refs) > 0 {
		t.Errorf("after a failure the store names %v, %v", refs, err)
	}
	return err.Error()
}

// newRegistry starts a registry and returns its address and a client.
func newRegistry(t *testing.T) (string, *registry.Client) {
	t.Helper()
	server := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(&bytes.Buffer{}, "", 0))))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), registry.New(registry.Options{Retries: -1})
}

// pushImage builds a container image of one file and pushes it.
func pushImage(t *testing.T, to string, client *registry.Client, p v1.Platform, content string) v1.Descriptor {
	t.Helper()
	o := options(t, "FROM scratch\nCOPY app /\nBASE none\n", map[string]string{"app": content})
	o.Platforms = []v1.Platform{p}
	o.Tags = []artifact.Reference{ref(t, to)}
	b := mustBuild(t, o)
	if _, err := artifact.Copy(t.Context(), client, ref(t, to), o.Store, ref(t, to), artifact.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return b.desc
}

// notes collects what a build tells.
func notes(o *Options) *strings.Builder {
	var b strings.Builder
	o.Observe = func(e Event) {
		switch e.Kind {
		case NodeTransfer:
			fmt.Fprintln(&b, e.Transfer.Kind, e.Transfer.Name)
		case NodeOutput:
			b.WriteString(e.Text)
		default:
			fmt.Fprintln(&b, e.Kind, e.Name, e.Text, e.Cached)
		}
	}
	return &b
}

func jsonText(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// output makes a build write what its commands print to w.
func output(o *Options, w io.Writer) {
	o.Observe = func(e Event) {
		if e.Kind == NodeOutput {
			io.WriteString(w, e.Text)
		}
	}
}

// listLayer lists the entries of a layer.
func listLayer(t *testing.T, s *store.Store, d v1.Descriptor) []layer.Entry {
	t.Helper()
	v, err := readView(t.Context(), s, d)
	if err != nil {
		t.Fatal(err)
	}
	return (&build{Options: Options{Store: s}}).entries(t.Context(), v, d)
}
