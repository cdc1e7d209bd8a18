package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// mkdirs makes a directory and files of ten bytes in it, and in the end gives the directories the mode.
func mkdirs(t *testing.T, dir string, mode fs.FileMode, files ...string) {
	t.Helper()
	var dirs []string
	for _, name := range files {
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte("ten bytes\n"), 0o400); err != nil {
			t.Fatal(err)
		}
		for d := filepath.Dir(full); d != filepath.Dir(dir); d = filepath.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	for _, d := range slices.Backward(slices.Compact(dirs)) {
		if err := os.Chmod(d, mode); err != nil {
			t.Fatal(err)
		}
	}
}

func below(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPruneCacheLeavesImagesAndNothingElse(t *testing.T) {
	o := options(t, "FROM scratch\nCOPY f /\nBASE none\n", map[string]string{"f": "content"})
	b := mustBuild(t, o)
	root := o.Store.Root()
	lost := madeLayer(t, o.Store, 1, 5000)
	for _, key := range []string{"build/content/x", store.HeldRecords + "/build/run/x", "view/y", "diffid/z", "remote/url/x"} {
		if err := o.Store.CachePut(key, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Store.CachePut("airgap/blob/x", fmt.Appendf(nil, `{"digest":%q}`, b.manifest.Layers[0].Digest)); err != nil {
		t.Fatal(err)
	}
	mkdirs(t, filepath.Join(root, "trees", b.manifest.Layers[0].Digest.Hex), 0o755, "f", "etc/g")
	mkdirs(t, filepath.Join(root, "trees", "tmp-dead"), 0o755, "half")
	mkdirs(t, filepath.Join(root, "mounts", "go"), 0o755, "pkg/mod/x")
	if err := o.Store.Close(); err != nil {
		t.Fatal(err)
	}
	blobs, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	freed, err := PruneCache(t.Context(), blobs)
	if err != nil {
		t.Fatal(err)
	}
	if least := 4*10 + lost.Size; freed < least || freed > least+5000 {
		t.Errorf("%d bytes were freed, want %d and some records", freed, least)
	}
	for dir, want := range map[string][]string{"trees": nil, "mounts": nil, "cache": {"airgap"}} {
		if diff := cmp.Diff(want, below(t, filepath.Join(root, dir))); diff != "" {
			t.Errorf("%s: %s", dir, diff)
		}
	}
	if ok, err := blobs.Has(t.Context(), artifact.Reference{}, lost.layer()); ok || err != nil {
		t.Errorf("a layer of no image is still there: %v", err)
	}
	o.Store = blobs
	if again := mustBuild(t, o); again.desc.Digest != b.desc.Digest {
		t.Errorf("the next build gives %s, not %s", again.desc.Digest, b.desc.Digest)
	}
	if _, err := PruneCache(t.Context(), newStore(t)); err != nil {
		t.Errorf("where nothing was built: %v", err)
	}
}

func TestPruneCacheWaitsForNoBuild(t *testing.T) {
	blobs := newStore(t)
	mkdirs(t, filepath.Join(blobs.Root(), "mounts", "go"), 0o755, "x")
	if err := blobs.CachePut("build/run/x", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	building, err := store.Open(blobs.Root())
	if err != nil {
		t.Fatal(err)
	}
	defer building.Close()
	release, err := building.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if freed, err := PruneCache(t.Context(), blobs); freed != 0 || !errors.Is(err, artifact.ErrBusy) {
		t.Errorf("during a build: %d, %v", freed, err)
	}
	if _, ok := blobs.CacheGet("build/run/x"); !ok || len(below(t, filepath.Join(blobs.Root(), "mounts"))) != 1 {
		t.Error("something was dropped during a build")
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	if _, err := PruneCache(t.Context(), blobs); err != nil {
		t.Errorf("after the build: %v", err)
	}
}

// TestPruneCacheThatWasKilledLeavesNoHalfTree stops a prune where it removes files, which is where one is killed.
func TestPruneCacheThatWasKilledLeavesNoHalfTree(t *testing.T) {
	blobs := newStore(t)
	name := strings.Repeat("a", 64)
	mkdirs(t, filepath.Join(blobs.Root(), "trees", name), 0o311, "f")
	mkdirs(t, filepath.Join(blobs.Root(), "mounts", "go"), 0o755, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := PruneCache(ctx, blobs); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, left := range below(t, filepath.Join(blobs.Root(), "trees")) {
		if !strings.HasPrefix(left, temporaryPrefix) {
			t.Errorf("trees/%s would be taken for a layer", left)
		}
	}
	if left := below(t, filepath.Join(blobs.Root(), "mounts")); left != nil {
		t.Errorf("the next build would find %v", left)
	}
	if err := PruneTrees(blobs); err != nil {
		t.Fatal(err)
	}
	if left := below(t, filepath.Join(blobs.Root(), "trees")); left != nil {
		t.Errorf("the next build leaves %v", left)
	}
}

// pruneEnv makes the test binary prune a store whose trees nobody but root may change, as the user that it runs as.
const pruneEnv = "BUILDER_TEST_PRUNE"

func TestPruneCacheNeedsNoRoot(t *testing.T) {
	if dir := os.Getenv(pruneEnv); dir != "" {
		pruneUnwritable(t, dir)
		return
	}
	dir := t.TempDir()
	if os.Geteuid() != 0 {
		pruneUnwritable(t, dir)
		return
	}
	// t.TempDir lies where only root may go.
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "test")
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestPruneCacheNeedsNoRoot$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), pruneEnv+"="+dir, "TMPDIR="+dir, "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "as user 65534") {
		t.Errorf("%v\n%s", err, out)
	}
}

func pruneUnwritable(t *testing.T, dir string) {
	t.Logf("as user %d", os.Geteuid())
	blobs, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	mkdirs(t, filepath.Join(blobs.Root(), "trees", strings.Repeat("a", 64)), 0o555, "f", "etc/deep/g")
	mkdirs(t, filepath.Join(blobs.Root(), "trees", strings.Repeat("b", 64)), 0, "f", "etc/deep/g")
	mkdirs(t, filepath.Join(blobs.Root(), "mounts"), 0o500, "go/pkg/mod/x")
	freed, err := PruneCache(t.Context(), blobs)
	if err != nil || freed != 5*10 {
		t.Errorf("%d bytes, %v", freed, err)
	}
	if left := append(below(t, filepath.Join(blobs.Root(), "trees")), below(t, filepath.Join(blobs.Root(), "mounts"))...); left != nil {
		t.Errorf("left: %v", left)
	}
}
