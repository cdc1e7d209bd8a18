package builder

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// layerFiles lists the files of the layers that BASE made.
func baseFiles(t *testing.T, b built) map[string]int {
	t.Helper()
	found := map[string]int{}
	n := 0
	for _, h := range b.config.History {
		if h.EmptyLayer {
			continue
		}
		if h.CreatedBy == artifact.HistoryBase {
			v, err := readView(t.Context(), b.store, b.manifest.Layers[n])
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range v.Files {
				if e.Mode.IsRegular() {
					found[e.Name]++
				}
			}
		}
		n++
	}
	return found
}

func indexNames(t *testing.T, b built) string {
	t.Helper()
	var index v1.IndexManifest
	text := b.files(t)["images/index.json"]
	if err := json.Unmarshal([]byte(text), &index); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	var names []string
	for _, d := range index.Manifests {
		names = append(names, d.Annotations[artifact.AnnotationContainerdName])
	}
	return strings.Join(names, " ")
}

func TestBaseCollectsTheImagesOfTheTree(t *testing.T) {
	host, client := newRegistry(t)
	one := pushImage(t, host+"/one:1", client, amd64, "one")
	pushImage(t, host+"/two:2", client, amd64, "two")
	list := host + "/one:1\n"
	o := options(t, "FROM scratch\nCOPY imageList manifests\nCOPY bin bin\n", map[string]string{"imageList": list, "bin/k3s": "k"})
	o.Source = client
	b := mustBuild(t, o)
	if got := indexNames(t, b); got != host+"/one:1" {
		t.Errorf("index names %s", got)
	}
	files := baseFiles(t, b)
	if files["images/blobs/sha256/"+one.Digest.Hex] != 1 || files["images/oci-layout"] != 1 || len(files) != 5 {
		t.Errorf("layers of BASE hold %v", files)
	}
	if got := b.config.Config.Labels[artifact.LabelImagesDigest]; !strings.HasPrefix(got, "sha256:") {
		t.Errorf("label %q", got)
	}
	again := mustBuild(t, o)
	if again.desc.Digest != b.desc.Digest {
		t.Error("a second build has another digest")
	}

	// On top of it: one more image, whose blobs alone are added.
	o2 := Options{
		File: parse(t, "FROM test:1\nCOPY imageList manifests\n"), Store: o.Store, Source: client, Platform: &amd64,
		Context: writeContext(t, map[string]string{"imageList": list + host + "/two:2\n"}),
		Tags:    []artifact.Reference{ref(t, "test:2")},
	}
	top := mustBuild(t, o2)
	if got := indexNames(t, top); got != host+"/one:1 "+host+"/two:2" {
		t.Errorf("index names %s", got)
	}
	if n := baseFiles(t, top)["images/blobs/sha256/"+one.Digest.Hex]; n != 1 {
		t.Errorf("the manifest of the base's image is in %d layers, want 1", n)
	}
	if top.config.Config.Labels[artifact.LabelImagesDigest] == b.config.Config.Labels[artifact.LabelImagesDigest] {
		t.Error("the label of the base stays although the images changed")
	}
}

func TestBaseLinesSayWhatToCollect(t *testing.T) {
	host, client := newRegistry(t)
	pushImage(t, host+"/one:1", client, amd64, "one")
	pushImage(t, host+"/two:1", client, amd64, "two")
	files := map[string]string{"manifests/imageList": host + "/one:1\n", "other": host + "/two:1\n"}
	tests := []struct{ lines, want string }{
		{"COPY . .\nBASE none", ""},
		{"COPY . .\nBASE --list=/other rootfs cache", host + "/two:1"},
		{"COPY . .\nARG l=other\nBASE --list=$l rootfs cache\nBASE rootfs cache", host + "/one:1 " + host + "/two:1"},
		{"BASE rootfs cache\nCOPY . .", ""}, // here, the tree names nothing yet
		{"COPY . .", host + "/one:1"},
	}
	for _, tt := range tests {
		o := options(t, "FROM scratch\n"+tt.lines+"\n", files)
		o.Source = client
		b := mustBuild(t, o)
		got := ""
		if b.files(t)["images/index.json"] != "" {
			got = indexNames(t, b)
		}
		if got != tt.want {
			t.Errorf("%s: images %q, want %q", tt.lines, got, tt.want)
		}
	}
}

func TestBaseFailsForImagesThatAreMissing(t *testing.T) {
	host, client := newRegistry(t)
	o := options(t, "FROM scratch\nCOPY imageList manifests\nBASE rootfs cache\n", map[string]string{"imageList": "\n" + host + "/none:1\nnot a reference\n"})
	o.Source = client
	if got := failing(t, o); !strings.Contains(got, "manifests/imageList:3") || !strings.Contains(got, "Kubefile:3:1: BASE rootfs cache") {
		t.Errorf("error %s", got)
	}
	o = options(t, "FROM scratch\nCOPY imageList manifests\n", map[string]string{"imageList": "\n" + host + "/none:1\n"})
	o.Source = client
	if got := failing(t, o); !strings.Contains(got, "manifests/imageList:2") || !strings.HasPrefix(got, "Kubefile: BASE rootfs cache: ") {
		t.Errorf("error %s", got)
	}
	o.Source = nil
	if got := failing(t, o); !strings.Contains(got, "BASE none") {
		t.Errorf("error %s", got)
	}
}
