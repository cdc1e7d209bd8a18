package layout_test

import (
	"encoding/json"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

func TestAdopt(t *testing.T) {
	dir, put, setIndex := airgaptest.Layout(t)
	config := put(types.OCIConfigJSON, []byte("{}"))
	blob := put(types.OCILayer, []byte("layer"))
	manifest := func(m v1.Manifest) v1.Descriptor {
		m.SchemaVersion, m.MediaType, m.Config = 2, types.OCIManifestSchema1, config
		b, _ := json.Marshal(m)
		return put(types.OCIManifestSchema1, b)
	}
	img := manifest(v1.Manifest{Layers: []v1.Descriptor{blob}})
	gone := blob
	gone.Digest = layout.DigestOf([]byte("gone"))
	half := manifest(v1.Manifest{Layers: []v1.Descriptor{gone}})
	signature := manifest(v1.Manifest{Subject: &img})
	lost := img
	lost.Digest = gone.Digest
	named := func(d v1.Descriptor, name string) v1.Descriptor {
		d.Annotations = map[string]string{artifact.AnnotationRefName: name}
		return d
	}
	export := named(img, "1.25")
	export.Annotations[artifact.AnnotationContainerdName] = "docker.io/library/nginx:1.25"
	tests := map[string]struct {
		entry v1.Descriptor
		want  string // the name, or the error
		same  bool
	}{
		"skopeo copy oci:images:nginx:1.25": {named(img, "nginx:1.25"), "docker.io/library/nginx:1.25", false},
		"ctr images export":                 {export, "docker.io/library/nginx:1.25", true},
		"as a build writes it":              {airgaptest.Entry("quay.io/x:1", img), "quay.io/x:1", true},
		"a signature":                       {signature, "", true},
		"no name":                           {img, "image 1: " + img.Digest.String() + " has no full name", true},
		"a tag alone":                       {named(img, "latest"), "has no full name", true},
		"no name at all":                    {named(img, "A:b:c"), `"A:b:c"`, true},
		"a layer is missing":                {named(half, "nginx:1.25"), "it is not whole: nginx:1.25@" + half.Digest.String() + ": layer " + gone.Digest.String() + " is missing", true},
		"the manifest is missing":           {named(lost, "nginx:1.25"), "image 1:", true},
	}
	for what, tt := range tests {
		setIndex(tt.entry)
		l, err := layout.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got, err := layout.Adopt(t.Context(), l, amd64)
		l.Close()
		name := ""
		if err != nil {
			name = err.Error()
		} else if idx, err := layout.ParseIndex(got); err != nil {
			t.Fatal(err)
		} else {
			name = layout.NameOf(idx.Manifests[0])
		}
		if !strings.Contains(name, tt.want) || tt.want == "" && name != "" || (err != nil || string(got) == string(l.Index())) != tt.same {
			t.Errorf("%s: %s %s", what, name, got)
		}
	}
}
