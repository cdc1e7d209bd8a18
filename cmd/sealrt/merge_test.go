package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/artifact/store"
)

func TestMergeFromStoreAndArchive(t *testing.T) {
	root := t.TempDir()
	store, err := store.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	p := v1.Platform{OS: "linux", Architecture: "amd64"}
	converttest.Tag(t, store, "theirs:1", converttest.Put(t, store, rootfs(t, p)))
	app := converttest.Sealos(t, p)
	for i, f := range app.Layers[0] {
		if f.Name == "manifests/app.yaml" {
			app.Layers[0][i].Content += "# other\n"
		}
	}
	converttest.Tag(t, store, "app:1", converttest.Put(t, store, app))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	mustRun(t, root, "import", "theirs:1", "-t", "k3s:1")
	mustRun(t, root, "import", "app:1", "-t", "web:1")
	file := filepath.Join(t.TempDir(), "web.tar")
	mustRun(t, root, "save", "web:1", "-o", file)

	digest, stderr := mustRun(t, root, "merge", "-t", "all:1", "k3s:1", "web:1")
	for _, words := range []string{"all:1 for linux/amd64: rootfs k3s v1.31.0, 2 container images", "file manifests/app.yaml: that of web:1 counts, not of k3s:1", "CMD"} {
		if !strings.Contains(stderr, words) {
			t.Errorf("%q is missing in %s", words, stderr)
		}
	}
	mustRun(t, root, "inspect", "--airgap", "all:1")
	mustRun(t, root, "rmi", "web:1")
	out, _ := mustRun(t, root, "merge", "-o", "json", "-t", "again:1", "k3s:1", "oci-archive:"+file)
	var got mergeJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if got.Digest != strings.TrimSpace(digest) || got.Ref != "again:1" || len(got.Platforms) != 1 || len(got.Platforms[0].Conflicts) == 0 {
		t.Errorf("%+v", got)
	}
	if code, _, stderr := runIn(t, root, "merge", "k3s:1", "all:1"); code != exitUsage || !strings.Contains(stderr, "-t NAME") {
		t.Errorf("%d %s", code, stderr)
	}
	if code, _, _ := runIn(t, root, "merge", "-t", "x:1", "k3s:1"); code == exitDone {
		t.Error("one image is enough")
	}
}
