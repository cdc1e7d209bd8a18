package artifact

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestUnpackAppliesLayersInOrder(t *testing.T) {
	s := newStore(t)
	ref := mustRef(t, "k3s:v1")
	check(t, s.Tag(t.Context(), ref, addImage(t, s, "amd64",
		[]string{"etc/a", "old", "etc/b", "stays", "etc/c", "goes"},
		[]string{"etc/a", "new", "-etc/c", ""})))
	_, m, _, err := Manifest(t.Context(), s, ref, nil)
	check(t, err)
	parent := t.TempDir()
	for _, prepare := range []func(string){func(string) {}, func(dir string) { check(t, os.Mkdir(dir, 0o755)) }} {
		dir := filepath.Join(parent, "deep", "tree")
		check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
		prepare(dir)
		check(t, Unpack(t.Context(), s, ref, m, dir))
		got := map[string]string{}
		check(t, fs.WalkDir(os.DirFS(dir), ".", func(p string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				b, _ := os.ReadFile(filepath.Join(dir, p))
				got[p] = string(b)
			}
			return err
		}))
		if diff := cmp.Diff(map[string]string{"etc/a": "new", "etc/b": "stays"}, got); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		check(t, os.RemoveAll(dir))
	}
}

func TestUnpackLeavesNothingHalfDone(t *testing.T) {
	s := newStore(t)
	ref, _ := tagged(t, s)
	_, m, _, err := Manifest(t.Context(), s, ref, nil)
	check(t, err)
	parent := t.TempDir()

	full := filepath.Join(parent, "full")
	check(t, os.MkdirAll(filepath.Join(full, "x"), 0o755))
	wantError(t, Unpack(t.Context(), s, ref, m, full), "not empty", full)

	plain := filepath.Join(parent, "file")
	check(t, os.WriteFile(plain, nil, 0o644))
	wantError(t, Unpack(t.Context(), s, ref, m, plain), "not a directory")

	b, err := os.ReadFile(s.BlobPath(m.Layers[1].Digest))
	check(t, err)
	b[len(b)-1] ^= 1
	check(t, os.WriteFile(s.BlobPath(m.Layers[1].Digest), b, 0o644))
	dir := filepath.Join(parent, "tree")
	wantError(t, Unpack(t.Context(), s, ref, m, dir), "layer 2 of 2", "k3s:v1")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is there: %v", err)
	}
	entries, err := os.ReadDir(parent)
	check(t, err)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestUnpackFillsADirectoryThatStandsAndRemovesWhatTheDeadLeft(t *testing.T) {
	s := newStore(t)
	ref, _ := tagged(t, s)
	_, m, _, err := Manifest(t.Context(), s, ref, nil)
	check(t, err)
	dir := filepath.Join(t.TempDir(), "tree")
	half := filepath.Join(dir, partialPrefix("tree")+"1", "bin")
	check(t, os.MkdirAll(half, 0o755))
	before, err := os.Stat(dir)
	check(t, err)
	t.Chdir(dir)
	check(t, Unpack(t.Context(), s, ref, m, "."))
	after, err := os.Stat(dir)
	check(t, err)
	if !os.SameFile(before, after) {
		t.Error("the directory is another one")
	}
	var names []string
	entries, err := os.ReadDir(".")
	check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"bin", "etc"}, names); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}

	// Beside a new one.
	parent := t.TempDir()
	check(t, os.MkdirAll(filepath.Join(parent, partialPrefix("new")+"1", "bin"), 0o755))
	check(t, Unpack(t.Context(), s, ref, m, filepath.Join(parent, "new")))
	if entries, err = os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("beside the tree: %v, %v", entries, err)
	}
}
