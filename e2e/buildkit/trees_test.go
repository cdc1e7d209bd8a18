//go:build e2e

package buildkit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

var machine = v1.Platform{OS: "linux", Architecture: runtime.GOARCH}

// applets are the commands of busybox that tests use.
var applets = []string{"sh", "cat", "chmod", "chown", "cp", "echo", "env", "false", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mount",
	"mv", "pwd", "rm", "rmdir", "sleep", "stat", "test", "touch", "true", "grep", "wc", "df"}

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

// shell returns the entries of a root file system with Debian's busybox-static.
func shell(t *testing.T) []layer.Entry {
	t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: apt-get install -y busybox-static", err)
	}
	box := file("bin/busybox", string(program))
	box.Mode = 0o755
	entries := []layer.Entry{box, dir("tmp", 0o777|fs.ModeSticky), dir("root", 0o700)}
	for _, a := range applets {
		entries = append(entries, link("bin/"+a, "busybox"))
	}
	return entries
}

// data returns the entries of a tree to work on.
func data() []layer.Entry {
	owned := file("data/owned", "owned")
	owned.UID, owned.GID, owned.Mode = 1000, 1001, 0o640
	return []layer.Entry{
		file("data/keep", "keep"), file("data/modify", "before"), file("data/delete", "x"), file("data/mode", "x"), owned,
		file("data/dir/a", "a"), file("data/dir/b", "b"), file("data/dir/sub/c", "c"), file("data/other/a", "a"),
		file("data/first", "linked"), link("data/link", "keep"), file("data/over", "covered"), dir("data/empty", 0o750), dir("etc", 0o755),
	}
}

func file(name, content string) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(content)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(content)), nil
	}}
}

func dir(name string, mode fs.FileMode) layer.Entry {
	return layer.Entry{Name: name, Mode: fs.ModeDir | mode}
}

func link(name, to string) layer.Entry {
	return layer.Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Linkname: to}
}

// noise returns n bytes that do not compress.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return string(b)
}

// tree is the layers of a tree in a store.
type tree struct {
	store   *store.Store
	layers  []v1.Descriptor
	diffIDs []v1.Hash
}

func newTree(t *testing.T, s *store.Store, layers ...[]layer.Entry) tree {
	t.Helper()
	tr := tree{store: s}
	for i, entries := range layers { // each compressed in another way
		tr = tr.plus(t, entries, []layer.Compression{layer.Zstd, layer.Gzip, layer.None}[i%3])
	}
	return tr
}

func (tr tree) plus(t *testing.T, entries []layer.Entry, c layer.Compression) tree {
	t.Helper()
	w, err := tr.store.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	blob, err := layer.Write(t.Context(), w, layer.Sorted(entries), layer.Options{Compression: c})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(blob.Digest, blob.Size); err != nil {
		t.Fatal(err)
	}
	tr.layers = append(slices.Clone(tr.layers), blob.Descriptor())
	tr.diffIDs = append(slices.Clone(tr.diffIDs), blob.DiffID)
	return tr
}

// command returns a shell script as a command on the tree.
func (tr tree) command(hasShell bool, script string) builder.Command {
	return builder.Command{
		Layers: tr.layers, DiffIDs: tr.diffIDs, Platform: machine, HasShell: hasShell, Argv: []string{"/bin/sh", "-ec", script},
	}
}

// tag makes an image of the tree.
func (tr tree) tag(t *testing.T, name string) artifact.Reference {
	t.Helper()
	put := func(mt types.MediaType, v any) v1.Descriptor {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d, err := tr.store.PutBytes(t.Context(), mt, b)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	config := put(types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers", DiffIDs: tr.diffIDs}})
	d := put(types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: tr.layers})
	ref, err := artifact.ParseReference(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.store.Tag(t.Context(), ref, d); err != nil {
		t.Fatal(err)
	}
	return ref
}

// buildLocal builds the program that runs commands in the sandbox of this machine.
func buildLocal(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sandboxtest")
	cmd := exec.Command("go", "build", "-o", program, "./sandboxtest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}

// local runs a command of the tree in the sandbox of this machine, and returns what it changed.
func (tr tree) local(t *testing.T, program string, c builder.Command) []layer.Entry {
	t.Helper()
	work := t.TempDir()
	t.Cleanup(func() { sandbox.Remove(filepath.Join(work, "work")) })
	config := sandbox.Config{
		Argv: c.Argv, Lowers: []string{filepath.Join(work, "lower")}, Upper: filepath.Join(work, "upper"), Work: filepath.Join(work, "work"),
	}
	for _, d := range []string{config.Lowers[0], config.Upper, config.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tr.extract(t, config.Lowers[0])
	input, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return overlay(t, config.Upper)
}

// extract puts the layers of the tree into a directory, one over the other.
func (tr tree) extract(t *testing.T, dir string) {
	t.Helper()
	for _, d := range tr.layers {
		f, err := os.Open(tr.store.BlobPath(d.Digest))
		if err != nil {
			t.Fatal(err)
		}
		if err := layer.Extract(t.Context(), dir, f, layer.ExtractOptions{}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// overlay lists a directory, owners and whiteouts included.
func overlay(t *testing.T, dir string) []layer.Entry {
	t.Helper()
	var entries []layer.Entry
	for e, err := range layer.FromOverlay(dir) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// listing is the files of a tree: what is to be known of each, by name.
type listing map[string]string

// list returns the tree after layers of entries, one over the other.
func list(t *testing.T, layers ...[]layer.Entry) listing {
	t.Helper()
	all := listing{}
	for _, entries := range layers {
		below := maps.Clone(all)
		for _, e := range entries { // whiteouts spare their own layer
			base := path.Base(e.Name)
			gone, ok := strings.CutPrefix(base, ".wh.")
			if !ok {
				continue
			}
			gone = path.Join(path.Dir(e.Name), gone)
			for name := range below {
				if base == ".wh..wh..opq" && strings.HasPrefix(name, path.Dir(e.Name)+"/") || name == gone || strings.HasPrefix(name, gone+"/") {
					delete(all, name)
				}
			}
		}
		for e := range layer.Sorted(entries) {
			if strings.HasPrefix(path.Base(e.Name), ".wh.") {
				continue
			}
			if !e.Mode.IsDir() {
				maps.DeleteFunc(all, func(name, _ string) bool { return strings.HasPrefix(name, e.Name+"/") })
			}
			for d := path.Dir(e.Name); d != "."; d = path.Dir(d) {
				if _, ok := all[d]; !ok {
					all[d] = describe(t, dir(d, 0o755))
				}
			}
			all[e.Name] = describe(t, e)
		}
	}
	return all
}

func describe(t *testing.T, e layer.Entry) string {
	t.Helper()
	s := fmt.Sprintf("%v %d:%d", e.Mode, e.UID, e.GID)
	if e.Linkname != "" {
		s += " -> " + e.Linkname
	}
	if e.Mode.IsRegular() {
		s += fmt.Sprintf(" %d %.16x", e.Size, sha256.Sum256([]byte(content(t, e))))
	}
	return s
}

func content(t *testing.T, e layer.Entry) string {
	t.Helper()
	if e.Open == nil {
		return ""
	}
	r, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// names returns the sorted names of entries, directories that exist before left out.
func names(before listing, entries []layer.Entry) []string {
	var all []string
	for e := range layer.Sorted(entries) {
		if _, ok := before[e.Name]; ok && e.Mode.IsDir() {
			continue
		}
		all = append(all, e.Name)
	}
	return all
}

// entries returns what the layers of the tree, put together, hold.
func (tr tree) entries(t *testing.T) []layer.Entry {
	t.Helper()
	dir := t.TempDir()
	tr.extract(t, dir)
	return overlay(t, dir)
}

func (tr tree) list(t *testing.T) listing { return list(t, tr.entries(t)) }
