package find

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestManifests has files that are looked at and files that are not.
func TestManifests(t *testing.T) {
	tree := treeOf("-- manifests/a.yaml --\n" + pod + "-- manifests/deep/er/b.yml --\n" + pod + "-- manifests/c.json --\n" +
		`{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "c:1"}]}}` + "\n-- root.yaml --\n" + pod +
		"-- root.json --\n" + pod + "-- etc/d.yaml --\n" + pod + "-- manifests/e.yaml.bak --\n" + pod + "-- manifests/f.txt --\n" + pod +
		"-- manifests/values.yaml --\nimage: ghost:1\n-- manifests/empty.yaml --\n-- charts/g/templates/g.yaml --\n" + pod)
	images, err := Images(context.Background(), tree, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"manifests/a.yaml:4 docker.io/library/pod:1", "manifests/c.json:1 docker.io/library/c:1",
		"manifests/deep/er/b.yml:4 docker.io/library/pod:1", "root.yaml:4 docker.io/library/pod:1",
	}
	if diff := cmp.Diff(want, texts(images)); diff != "" {
		t.Error(diff)
	}
}

func TestManifestsNameEveryBadPlace(t *testing.T) {
	_, err := Images(context.Background(), treeOf("-- manifests/a.yaml --\na: b: c\n-- manifests/b.yaml --\n"+strings.ReplaceAll(pod, "pod:1", "Pod:1")+
		"-- manifests/c/kustomization.yaml --\nresources: [none]\n-- manifests/imageList --\nBAD\n"), Options{})
	for _, want := range []string{"manifests/a.yaml:1: no YAML: ", `manifests/b.yaml:4: image reference "Pod:1"`, "manifests/c/kustomization.yaml: ", `manifests/imageList:1: "BAD"`, ".imageignore"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// TestManifestsLinks has links as a directory on a disk has them.
func TestManifestsLinks(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"manifests/sub/a.yaml": pod, "other/b.yaml": pod, "other/c.yaml": pod} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"manifests/b.yaml": "../other/b.yaml", "manifests/other": "../other"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	var notes []string
	o := Options{Note: func(s string) { notes = append(notes, s) }}
	images, err := Images(context.Background(), os.DirFS(dir), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"manifests/b.yaml:4 docker.io/library/pod:1", "manifests/sub/a.yaml:4 docker.io/library/pod:1"}, texts(images)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"manifests/other is a link to a directory, which is not followed: put the files here"}, notes); diff != "" {
		t.Error(diff)
	}
	if err := os.Symlink("none", filepath.Join(dir, "manifests/dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	if _, err := Images(context.Background(), os.DirFS(dir), o); err == nil || !strings.Contains(err.Error(), "manifests/dangling.yaml") {
		t.Errorf("the link is not in %v", err)
	}
}

func TestManifestsTooLarge(t *testing.T) {
	tree := fstest.MapFS{"manifests/a.yaml": {Data: make([]byte, maxManifest+1)}}
	if _, err := Images(context.Background(), tree, Options{}); err == nil || !strings.Contains(err.Error(), "manifests/a.yaml: more than 67108864 bytes") {
		t.Errorf("got %v", err)
	}
	if _, err := Images(context.Background(), tree, Options{Ignore: []byte("manifests/a.yaml")}); err != nil {
		t.Error(err)
	}
}

func TestImagesStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tree := range []string{"-- manifests/a.yaml --\n" + pod, "-- manifests/imageList --\na\n"} {
		if _, err := Images(ctx, treeOf(tree), Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

// TestListsElsewhere tells of files that people take for lists.
func TestListsElsewhere(t *testing.T) {
	var notes []string
	images, err := Images(context.Background(), treeOf("-- imageList --\na\n-- manifests/imagelist --\nb\n-- manifests/imageListWithAuth.yaml --\n- registry: x\n"),
		Options{Note: func(s string) { notes = append(notes, s) }})
	if err != nil || len(images) > 0 {
		t.Fatalf("%v, %v", images, err)
	}
	want := []string{
		"imageList is not read: the list of images is manifests/imageList",
		"manifests/imageListWithAuth.yaml is not read: name its images in manifests/imageList, and log in to its registries with sealrt login",
		"manifests/imagelist is not read: the list of images is manifests/imageList",
	}
	if diff := cmp.Diff(want, notes); diff != "" {
		t.Error(diff)
	}
}
