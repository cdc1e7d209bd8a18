package find

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact/airgap"
)

func TestImages(t *testing.T) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	tree := fstest.MapFS{
		"manifests/imageList":       file("a:1\n"),
		"manifests/ImageList":       file("b:1\n"),
		"manifests/more.imagelist":  file("\nc:1\n"),
		"manifests/k3s-images.txt":  file("d:1\n"),
		"k3s-images.txt":            file("e:1\n"),
		"manifests/other.txt":       file("not a list\n"),
		"manifests/sub/x.imagelist": file("f:1\n"),
		"imageList":                 file("not a list\n"),
		"images/shim/webImages":     file("# sealos\ng:1\n"),
		"images/shim/.gitkeep":      file("not a list\n"),
		"images/shim/sub/x":         file("not a list\n"),
		"images/other":              file("not a list\n"),
	}
	images, err := Images(context.Background(), tree, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"images/shim/webImages:2 docker.io/library/g:1",
		"k3s-images.txt:1 docker.io/library/e:1",
		"manifests/ImageList:1 docker.io/library/b:1",
		"manifests/imageList:1 docker.io/library/a:1",
		"manifests/k3s-images.txt:1 docker.io/library/d:1",
		"manifests/more.imagelist:2 docker.io/library/c:1",
		"manifests/sub/x.imagelist:1 docker.io/library/f:1",
	}
	if diff := cmp.Diff(want, texts(images)); diff != "" {
		t.Error(diff)
	}
}

func TestImagesNothing(t *testing.T) {
	images, err := Images(context.Background(), fstest.MapFS{}, Options{})
	if err != nil || len(images) != 0 {
		t.Errorf("got %v, %v", images, err)
	}
}

func TestImagesNamesBadLinesOfAllLists(t *testing.T) {
	_, err := Images(context.Background(), fstest.MapFS{
		"manifests/imageList":   {Data: []byte("A\n")},
		"manifests/b.imagelist": {Data: []byte("ok\nB\n")},
		"k3s-images.txt":        {Mode: 0o755 | 1<<31},
	}, Options{})
	for _, want := range []string{`manifests/imageList:1: "A"`, `manifests/b.imagelist:2: "B"`, "k3s-images.txt"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// texts returns where images are asked for, and which.
func texts(images []airgap.Image) []string {
	var list []string
	for _, i := range images {
		list = append(list, i.Where+" "+i.Ref.String())
	}
	return list
}
