//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// manyLayers is a tar archive for each of n layers, which add, change and delete
// files, of several owners, in directories that they state or not.
func manyLayers(t *testing.T, n int) [][]byte {
	t.Helper()
	var layers [][]byte
	for i := range n {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		add := func(h tar.Header, content string) {
			h.Size, h.ModTime = int64(len(content)), time.Unix(int64(1_600_000_000+i), 0)
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, content); err != nil {
				t.Fatal(err)
			}
		}
		add(tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o751, Uid: i}, "")
		add(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d/%d", i), Mode: 0o4755, Gid: i}, fmt.Sprint(i))
		add(tar.Header{Typeflag: tar.TypeReg, Name: "last", Mode: 0o600}, fmt.Sprint(i))
		add(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("deep/%d/x", i%10), Mode: 0o644}, fmt.Sprint(i))
		add(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("d/.wh.%d", i-3), Mode: 0o600}, "")
		if i%10 == 0 {
			add(tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("deep/%d/.wh..wh..opq", (i+5)%10), Mode: 0o600}, "")
			add(tar.Header{Typeflag: tar.TypeDir, Name: fmt.Sprintf("deep/%d", i%10), Mode: 0o700, Uid: 7, Gid: 8}, "")
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		layers = append(layers, b.Bytes())
	}
	return layers
}

// putImage writes an image of layers to a store.
func putImage(t *testing.T, root, name string, layers [][]byte) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := store.Open(root)
	must(err)
	defer func() { must(s.Close()) }()
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, b := range layers {
		h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b))}
		w, err := s.NewBlob(t.Context())
		must(err)
		_, err = w.Write(b)
		must(err)
		must(w.Commit(h, int64(len(b))))
		must(w.Close())
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: h, Size: int64(len(b))})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, h)
	}
	put := func(mt types.MediaType, value any) v1.Descriptor {
		raw, err := json.Marshal(value)
		must(err)
		d, err := s.PutBytes(t.Context(), mt, raw)
		must(err)
		return d
	}
	m.Config = put(types.OCIConfigJSON, config)
	ref, err := artifact.ParseReference(name)
	must(err)
	must(s.Tag(t.Context(), ref, put(types.OCIManifestSchema1, m)))
}

// sameTrees compares trees with the machine's own tools. The times of directories
// are not compared: unpacking a layer into one that it does not state changes it.
func sameTrees(t *testing.T, a, b string) {
	t.Helper()
	if out, err := exec.Command("diff", "-r", "--no-dereference", a, b).CombinedOutput(); err != nil {
		t.Errorf("diff: %v\n%.2000s", err, out)
	}
	list := func(dir string) string {
		script := `cd "$1" && find . -type d -printf '%P %m %U:%G\n' -o -printf '%P %y %m %U:%G %T@ %l\n' | LC_ALL=C sort`
		out, err := exec.Command("sh", "-c", script, "sh", dir).Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if inA, inB := list(a), list(b); inA != inB {
		t.Errorf("%s:\n%s\n%s:\n%s", a, inA, b, inB)
	}
}

// prunedOf demands that prune leaves nothing of mounts. Somebody else who made a
// mount namespace meanwhile, which is a copy of all mounts, has a moment to end it.
func prunedOf(t *testing.T, w *bench, store, root string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		w.sealrt(t, store, "prune")
		left, err := filepath.Glob(filepath.Join(root, "mount", "*", "*"))
		tmp, tmpErr := filepath.Glob(filepath.Join(root, "mount", "tmp-*"))
		if err != nil || tmpErr != nil {
			t.Fatal(err, tmpErr)
		}
		if len(left)+len(tmp) == 0 {
			return
		}
		elsewhere := strings.Contains(w.sealrt(t, store, "mount"), "in another mount namespace")
		switch late := time.Now().After(end); {
		case late && elsewhere:
			t.Log("a service of this machine has a copy of the mounts, and keeps it")
			return
		case late:
			t.Fatalf("left: %v %v", left, tmp)
		}
	}
}

// TestMount shows images of as many layers as there may be, kills mounts, and
// lets several meet; nothing of it is skipped.
func TestMount(t *testing.T) {
	w := newBench(t)
	const store = "store"
	root := filepath.Join(w.dir, store)
	putImage(t, root, "many:1", manyLayers(t, 127))
	t.Cleanup(func() { _, _ = w.try(store, "umount", "--all") })
	tree := filepath.Join(w.dir, "tree")
	w.sealrt(t, store, "unpack", "many:1", tree)

	t.Run("killed", func(t *testing.T) {
		finished := 0
		for round := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(20+round*220)*time.Millisecond)
			cmd := exec.CommandContext(ctx, w.program, "mount", "many:1", "--root", root)
			if cmd.Run() == nil {
				finished++
			}
			cancel()
			sameTrees(t, tree, strings.TrimSpace(w.sealrt(t, store, "mount", "many:1")))
			w.sealrt(t, store, "umount", "many:1")
			prunedOf(t, w, store, root)
		}
		t.Logf("%d of 10 were not killed in time", finished)
	})

	t.Run("crowded", func(t *testing.T) {
		layers := manyLayers(t, 20)
		for i := range 4 {
			putImage(t, root, fmt.Sprintf("crowd:%d", i), append(layers[:15+i], manyLayers(t, 40+i)[39+i]))
		}
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				if i%4 == 3 {
					_, _ = w.try(store, "prune") // it may be told that others are at work
					return
				}
				out, err := w.try(store, "mount", fmt.Sprintf("crowd:%d", i%4))
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
		wg.Wait()
		w.sealrt(t, store, "prune")
		for i := range 4 {
			name := fmt.Sprintf("crowd:%d", i)
			dir := filepath.Join(w.dir, fmt.Sprint("tree", i))
			w.sealrt(t, store, "unpack", name, dir)
			sameTrees(t, dir, strings.TrimSpace(w.sealrt(t, store, "mount", name)))
		}
		w.sealrt(t, store, "umount", "--all")
	})

	t.Run("big", func(t *testing.T) {
		big := filepath.Join(w.dir, "context")
		writeFile(t, filepath.Join(big, "Kubefile"), "FROM scratch\nCOPY blob blob\n")
		f, err := os.Create(filepath.Join(big, "blob"))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(1 << 30); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		w.sealrt(t, store, "build", "-q", "-t", "big:1", big)
		w.measured(t, store, "mount", "big:1")
		w.sealrt(t, store, "umount", "--all")
		w.sealrt(t, store, "prune")
	})

	t.Run("without root", func(t *testing.T) {
		u := newSandboxUser(t, w, 65534)
		if _, story, err := u.try("build", "-t", "x:1", u.write(t, "FROM scratch\nCOPY a a\n", map[string]string{"a": "1"})); err != nil {
			t.Fatal(story)
		}
		if _, story, err := u.try("mount", "x:1"); err == nil || !strings.Contains(story, "run as root, or in a user namespace") {
			t.Errorf("%v: %s", err, story)
		}
	})
}
