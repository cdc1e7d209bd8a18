package artifact_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/disk"
)

func TestUnpackAppliesLayersInOrder(t *testing.T) {
	s := registrytest.Store(t)
	ref := artifacttest.MustRef(t, "k3s:v1")
	artifacttest.Check(t, s.Tag(t.Context(), ref, artifacttest.AddImage(t, s, "amd64",
		[]string{"etc/a", "old", "etc/b", "stays", "etc/c", "goes"},
		[]string{"etc/a", "new", "-etc/c", ""})))
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	parent := t.TempDir()
	for _, prepare := range []func(string){func(string) {}, func(dir string) { artifacttest.Check(t, os.Mkdir(dir, 0o755)) }} {
		dir := filepath.Join(parent, "deep", "tree")
		artifacttest.Check(t, os.MkdirAll(filepath.Dir(dir), 0o755))
		prepare(dir)
		artifacttest.Check(t, artifact.Unpack(t.Context(), s, ref, m, dir, artifact.UnpackOptions{}))
		got := map[string]string{}
		artifacttest.Check(t, fs.WalkDir(os.DirFS(dir), ".", func(p string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				b, _ := os.ReadFile(filepath.Join(dir, p))
				got[p] = string(b)
			}
			return err
		}))
		if diff := cmp.Diff(map[string]string{"etc/a": "new", "etc/b": "stays"}, got); diff != "" {
			t.Errorf("tree (-want +got):\n%s", diff)
		}
		artifacttest.Check(t, os.RemoveAll(dir))
	}
}

func TestUnpackLeavesNothingHalfDone(t *testing.T) {
	s := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, s)
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	parent := t.TempDir()

	full := filepath.Join(parent, "full")
	artifacttest.Check(t, os.MkdirAll(filepath.Join(full, "x"), 0o755))
	artifacttest.WantError(t, artifact.Unpack(t.Context(), s, ref, m, full, artifact.UnpackOptions{}), "not empty", full)

	plain := filepath.Join(parent, "file")
	artifacttest.Check(t, os.WriteFile(plain, nil, 0o644))
	artifacttest.WantError(t, artifact.Unpack(t.Context(), s, ref, m, plain, artifact.UnpackOptions{}), "not a directory")

	b, err := os.ReadFile(s.BlobPath(m.Layers[1].Digest))
	artifacttest.Check(t, err)
	b[len(b)-1] ^= 1
	artifacttest.Check(t, os.WriteFile(s.BlobPath(m.Layers[1].Digest), b, 0o644))
	dir := filepath.Join(parent, "tree")
	artifacttest.WantError(t, artifact.Unpack(t.Context(), s, ref, m, dir, artifact.UnpackOptions{}), "layer 2 of 2", "k3s:v1")
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the tree is there: %v", err)
	}
	entries, err := os.ReadDir(parent)
	artifacttest.Check(t, err)
	if len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestUnpackFillsADirectoryThatStandsAndRemovesWhatTheDeadLeft(t *testing.T) {
	s := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, s)
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	dir := filepath.Join(t.TempDir(), "tree")
	half := filepath.Join(dir, disk.Unfinished("tree")+"1", "bin")
	artifacttest.Check(t, os.MkdirAll(half, 0o755))
	before, err := os.Stat(dir)
	artifacttest.Check(t, err)
	t.Chdir(dir)
	artifacttest.Check(t, artifact.Unpack(t.Context(), s, ref, m, ".", artifact.UnpackOptions{}))
	after, err := os.Stat(dir)
	artifacttest.Check(t, err)
	if !os.SameFile(before, after) {
		t.Error("the directory is another one")
	}
	var names []string
	entries, err := os.ReadDir(".")
	artifacttest.Check(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"bin", "etc"}, names); diff != "" {
		t.Errorf("tree (-want +got):\n%s", diff)
	}

	// Beside a new one.
	parent := t.TempDir()
	artifacttest.Check(t, os.MkdirAll(filepath.Join(parent, disk.Unfinished("new")+"1", "bin"), 0o755))
	artifacttest.Check(t, artifact.Unpack(t.Context(), s, ref, m, filepath.Join(parent, "new"), artifact.UnpackOptions{}))
	if entries, err = os.ReadDir(parent); err != nil || len(entries) != 1 {
		t.Errorf("beside the tree: %v, %v", entries, err)
	}
}
