package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// runIn runs a command line with a store, and returns exit code, stdout and stderr.
func runIn(t *testing.T, root string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := newEnvironment()
	env.stdout, env.stderr, env.home, env.root = &out, &errs, t.TempDir(), root
	env.getenv = func(string) string { return "" }
	code = execute(t.Context(), env, append(args, "--root", root))
	return code, out.String(), errs.String()
}

// mustRun is runIn for what succeeds.
func mustRun(t *testing.T, root string, args ...string) (stdout, stderr string) {
	t.Helper()
	code, stdout, stderr := runIn(t, root, args...)
	if code != exitDone {
		t.Fatalf("%q: exit code %d\n%s", args, code, stderr)
	}
	return stdout, stderr
}

// rootfs is a rootfs image of sealos for one platform.
func rootfs(t *testing.T, p v1.Platform) converttest.Image {
	img := converttest.Sealos(t, p)
	img.Labels = map[string]string{"sealos.io.type": "rootfs", "sealos.io.distribution": "k3s", "version": "v1.31.0", "init": "init.sh"}
	return img
}

func TestImportFromStoreRegistryAndArchive(t *testing.T) {
	root := t.TempDir()
	reg := registrytest.New(t)
	amd64, arm64 := v1.Platform{OS: "linux", Architecture: "amd64"}, v1.Platform{OS: "linux", Architecture: "arm64"}
	store, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	name := reg.Host + "/theirs:1"
	converttest.Tag(t, store, name, converttest.Put(t, store, rootfs(t, amd64)), converttest.Put(t, store, rootfs(t, arm64)))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "theirs.tar")
	mustRun(t, root, "push", name)
	mustRun(t, root, "save", name, "-o", file)

	code, _, stderr := runIn(t, root, "import", name)
	if code != exitFailed || !strings.Contains(stderr, "-t") {
		t.Errorf("%d %s", code, stderr)
	}
	digest, stderr := mustRun(t, root, "import", name, "-t", "ours:1")
	for _, word := range []string{"linux/amd64: rootfs k3s v1.31.0 of sealos, 2 container images", "linux/arm64", `label init "init.sh"`} {
		if !strings.Contains(stderr, word) {
			t.Errorf("%q is missing in %s", word, stderr)
		}
	}
	if strings.Count(stderr, "label init") != 1 {
		t.Errorf("told twice: %s", stderr)
	}
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		out, _ := mustRun(t, root, "image", "list", "--platform", platform, "ours:1")
		if !strings.Contains(out, "registry.k8s.io/pause:3.9") || !strings.Contains(out, "nginx:1.25") {
			t.Error(out)
		}
	}
	mustRun(t, root, "inspect", "--airgap", "ours:1")

	fresh := t.TempDir()
	again, _ := mustRun(t, fresh, "import", name)
	if again != digest {
		t.Errorf("from a registry %s, from the store %s", again, digest)
	}
	reg.Fetched()
	again, _ = mustRun(t, fresh, "import", name)
	for object, n := range reg.Fetched() {
		if n > 1 {
			t.Errorf("%s was fetched %d times", object, n)
		}
	}
	if again != digest {
		t.Errorf("the second time %s, not %s", again, digest)
	}

	out, _ := mustRun(t, t.TempDir(), "import", "-o", "json", "oci-archive:"+file)
	var got importJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Digest != strings.TrimSpace(digest) || got.Ref != name || len(got.Platforms) != 2 || len(got.Platforms[0].Images) != 2 || len(got.Platforms[0].Unmapped) == 0 {
		t.Errorf("%+v", got)
	}
	if code, _, stderr := runIn(t, root, "import", "oci-archive:"+file+":nobody:1", "-t", "x:1"); code != exitFailed || !strings.Contains(stderr, "not found") {
		t.Errorf("%d %s", code, stderr)
	}
}

func TestImportWithNamesOfImages(t *testing.T) {
	root := t.TempDir()
	store, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	p := v1.Platform{OS: "linux", Architecture: "amd64"}
	s := converttest.NewStorage(t)
	s.Push("team/app", "1", registrytest.Image(t, p, 1<<10, "app"))
	converttest.Tag(t, store, "theirs:1", converttest.Put(t, store, converttest.Image{Platform: p, Layers: [][]converttest.File{s.Files()}}))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, stderr := mustRun(t, root, "import", "theirs:1", "-t", "ours:1"); !strings.Contains(stderr, "--image-list") {
		t.Error(stderr)
	}
	list := filepath.Join(t.TempDir(), "list")
	if err := os.WriteFile(list, []byte("reg.example.com/team/app:1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustRun(t, root, "import", "theirs:1", "-t", "ours:1", "--image-list", list)
	if out, _ := mustRun(t, root, "image", "list", "ours:1"); !strings.Contains(out, "reg.example.com/team/app:1") {
		t.Error(out)
	}
}

func TestImportOfWhatNeedsNone(t *testing.T) {
	root := t.TempDir()
	store, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	p := v1.Platform{OS: "linux", Architecture: "amd64"}
	converttest.Tag(t, store, "plain:1", converttest.Put(t, store, converttest.Image{Platform: p, Layers: [][]converttest.File{{converttest.Text("a", "b")}}}))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runIn(t, root, "import", "plain:1", "-t", "ours:1"); code != exitFailed || !strings.Contains(stderr, "needs no import") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, _ := runIn(t, root, "import", "plain:1", "-t", "ours@"+airgaptest.Reference(t, "x:1").String()); code != exitUsage {
		t.Errorf("exit code %d", code)
	}
}
