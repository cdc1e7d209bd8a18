package buildkit

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
)

func TestKnownLayersAreNotSent(t *testing.T) {
	r := newReceiver(newStore(t))
	defer r.close()
	known := digest.FromString("known")
	r.known[known] = 5
	far := remote(t, r)
	_, err := content.OpenWriter(t.Context(), far, content.WithRef("a"), content.WithDescriptor(ocispecs.Descriptor{Digest: known, Size: 5}))
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("a known layer: %v", err)
	}
	send(t, far, "new")
	if info, err := far.Info(t.Context(), digest.FromString("new")); err != nil || info.Size != 3 {
		t.Errorf("info %+v, %v", info, err)
	}
	_, err = content.OpenWriter(t.Context(), far, content.WithRef("b"), content.WithDescriptor(ocispecs.Descriptor{Digest: digest.FromString("new"), Size: 3}))
	if !errdefs.IsAlreadyExists(err) {
		t.Errorf("a blob sent twice: %v", err)
	}
	if got, err := r.read(digest.FromString("new")); err != nil || string(got) != "new" {
		t.Errorf("received %q, %v", got, err)
	}
	left, err := os.ReadDir(filepath.Join(r.store.Root(), "trees"))
	if err != nil || len(left) > 0 {
		t.Errorf("files with a name: %v, %v", left, err)
	}
}

func send(t *testing.T, to content.Ingester, data string) ocispecs.Descriptor {
	t.Helper()
	d := ocispecs.Descriptor{Digest: digest.FromString(data), Size: int64(len(data))}
	if err := content.WriteBlob(t.Context(), to, d.Digest.String(), strings.NewReader(data), d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDamagedBlobsAreRefused(t *testing.T) {
	for name, d := range map[string]ocispecs.Descriptor{
		"digest": {Digest: digest.FromString("other"), Size: 4},
		"size":   {Digest: digest.FromString("data"), Size: 5},
	} {
		r := newReceiver(newStore(t))
		w, err := r.Writer(t.Context(), content.WithRef("x"), content.WithDescriptor(d))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("data")); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), d.Size, d.Digest); err == nil || len(r.files) > 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestABlobMayBeginAnew(t *testing.T) {
	r := newReceiver(newStore(t))
	defer r.close()
	w, err := r.Writer(t.Context(), content.WithRef("x"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"wrong start", "right"} {
		if err := w.Truncate(0); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(t.Context(), 5, digest.FromString("right")); err != nil {
		t.Error(err)
	}
	if got, err := r.read(digest.FromString("right")); err != nil || string(got) != "right" {
		t.Errorf("received %q, %v", got, err)
	}
}

func TestNewLayerIsTheOneOverTheTree(t *testing.T) {
	store := newStore(t)
	base := putLayer(t, store, layer.Zstd, file("base", "x"))
	other := putLayer(t, store, layer.Zstd, file("other", "x"))
	archive := func(c layer.Compression) (string, layer.Blob) {
		var b bytes.Buffer
		blob, err := layer.Write(t.Context(), &b, layer.Sorted([]layer.Entry{file("new", "content")}), layer.Options{Compression: c})
		if err != nil {
			t.Fatal(err)
		}
		return b.String(), blob
	}
	plain, plainBlob := archive(layer.None)
	packed, packedBlob := archive(layer.Gzip)
	for _, c := range []struct {
		name   string
		sent   string
		layers []layer.Blob
		want   string // of the error
		none   bool
	}{
		{"plain", plain, []layer.Blob{base, plainBlob}, "", false},
		{"compressed for others", packed, []layer.Blob{base, packedBlob}, "", false},
		{"known already", "", []layer.Blob{base, putLayer(t, store, layer.None, file("new", "content"))}, "", false},
		{"nothing", "", []layer.Blob{base}, "", true},
		{"two", plain, []layer.Blob{base, other, plainBlob}, "it made 3 layers of a tree of 1", false},
		{"less", "", nil, "it made 0 layers", false},
		{"another tree", plain, []layer.Blob{other, plainBlob}, "it replaced layer", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newReceiver(store)
			defer r.close()
			if c.sent != "" {
				send(t, r, c.sent)
			}
			manifest := sendImage(t, r, c.layers)
			command := builder.Command{Layers: []v1.Descriptor{base.Descriptor()}, DiffIDs: []v1.Hash{base.DiffID}}
			f, err := r.newLayer(t.Context(), manifest, command)
			if c.want != "" || c.none {
				if f != nil || (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
					t.Errorf("layer %v, error %v, want %q", f, err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			entries, err := readEntries(t.Context(), f)
			if err != nil || len(entries) != 1 || entries[0].Name != "new" || read(t, entries[0]) != "content" {
				t.Errorf("entries %v, %v", entries, err)
			}
		})
	}
}

func sendImage(t *testing.T, to content.Ingester, layers []layer.Blob) digest.Digest {
	t.Helper()
	config := ocispecs.Image{RootFS: ocispecs.RootFS{Type: "layers"}}
	m := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.DiffID.String()))
		m.Layers = append(m.Layers, ocispecs.Descriptor{MediaType: string(l.MediaType), Digest: digest.Digest(l.Digest.String()), Size: l.Size})
	}
	b, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	m.Config = send(t, to, string(b))
	m.Config.MediaType = ocispecs.MediaTypeImageConfig
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return send(t, to, string(b)).Digest
}
