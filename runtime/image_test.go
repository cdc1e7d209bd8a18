package runtime_test

import (
	"encoding/json"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
)

func file(name, text string) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(text)), Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }}
}

// image puts an image of these layers into a store.
func image(t *testing.T, layers ...[]layer.Entry) (*store.Store, artifact.Reference) {
	t.Helper()
	store, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}}
	for _, entries := range layers {
		w, err := store.NewBlob(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b, err := layer.Write(t.Context(), w, layer.Sorted(entries), layer.Options{})
		if err == nil {
			err = w.Commit(b.Digest, b.Size)
		}
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, b.Descriptor())
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, b.DiffID)
	}
	put := func(kind types.MediaType, value any) v1.Descriptor {
		raw, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		d, err := store.PutBytes(t.Context(), kind, raw)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	m.Config = put(types.OCIConfigJSON, config)
	ref, err := artifact.ParseReference("test:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Tag(t.Context(), ref, put(types.OCIManifestSchema1, m)); err != nil {
		t.Fatal(err)
	}
	return store, ref
}

func TestOpenImageSeesTheTreeAsItIsUnpacked(t *testing.T) {
	store, ref := image(t,
		[]layer.Entry{file("bin/gone", "x"), file("bin/tool", "x"), file("cri/cni/bridge", "x"), file("etc/a/old.conf", "old"), file("etc/b.conf", "b"), file("images/blobs/sha256/00", "x")},
		[]layer.Entry{layer.Whiteout("bin/gone"), layer.Opaque("etc/a"), file("etc/a/new.conf", "new"), file("bin/late", "x")},
	)
	i, err := runtime.OpenImage(t.Context(), store, ref, v1.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"bin/late", "bin/tool", "cri/cni/bridge", "etc/a/new.conf", "etc/b.conf"}, i.Paths); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"late", "tool"}, i.In("bin")); diff != "" {
		t.Error(diff)
	}
	if raw, err := fs.ReadFile(i.Files, "etc/a/new.conf"); string(raw) != "new" || err != nil {
		t.Errorf("etc/a/new.conf is %q, %v", raw, err)
	}
	if _, err := fs.Stat(i.Files, "etc/a/old.conf"); err == nil {
		t.Error("a file below an opaque directory shows through")
	}
}

func TestOpenImageTakesSignaturesForNoImages(t *testing.T) {
	const entry = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","annotations":{"NAME":"example.com/app:1"}}`
	open := func(entries ...string) ([]string, error) {
		store, ref := image(t, []layer.Entry{file("images/index.json", `{"schemaVersion":2,"manifests":[`+strings.Join(entries, ",")+`]}`)})
		i, err := runtime.OpenImage(t.Context(), store, ref, v1.Platform{OS: "linux", Architecture: "amd64"})
		return i.Images, err
	}
	named := func(annotation string) string { return strings.Replace(entry, "NAME", annotation, 1) }
	images, err := open(named(artifact.AnnotationImageName), named(artifact.AnnotationContainerdName))
	if diff := cmp.Diff([]string{"example.com/app:1"}, images); diff != "" || err != nil {
		t.Errorf("%s, %v", diff, err)
	}
	if _, err := open(named("of.something.else")); err == nil {
		t.Error("an image without a name is no error")
	}
}
