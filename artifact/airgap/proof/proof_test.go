package proof

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

var amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}

// prove proves a cluster image whose label is that of its images, unless the
// config says otherwise.
func prove(t *testing.T, c airgaptest.Cluster, needs func(context.Context, fs.FS) ([]airgap.Image, error)) *Result {
	t.Helper()
	c.Config.OS, c.Config.Architecture = "linux", "amd64"
	if c.Config.Config.Labels == nil {
		c.Config.Config.Labels = map[string]string{artifact.LabelImagesDigest: c.Contents(t).Digest().String()}
	}
	p, err := Of(t.Context(), c.Store, c.Ref, c.Manifest, c.Config, Options{Needs: needs})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// needs returns what a tree asks for: the lines of an image list.
func needs(t *testing.T, lines ...string) func(context.Context, fs.FS) ([]airgap.Image, error) {
	return func(context.Context, fs.FS) ([]airgap.Image, error) {
		return airgap.ParseList("manifests/imageList", strings.NewReader(strings.Join(lines, "\n")))
	}
}

func TestProveWholeImage(t *testing.T) {
	c, dir, a, b := airgaptest.TwoImages(t)
	for _, compress := range []bool{false, true} {
		c := c
		if compress { // as other tools make it
			store := registrytest.Store(t)
			c = airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, true, airgaptest.Files(t, dir)...))
		}
		p := prove(t, c, needs(t, a, b))
		if len(p.Defects) > 0 {
			t.Errorf("defects: %v", p.Defects)
		}
		if p.Blobs != 7 || p.Bytes < 9<<20 || p.Index != c.Contents(t).Digest().String() || p.Platform != "linux/amd64" {
			t.Errorf("%d blobs, %d bytes, index %s, platform %s", p.Blobs, p.Bytes, p.Index, p.Platform)
		}
		var got []string
		for _, r := range p.References {
			if !r.Complete || r.Size < 6<<20 || len(r.Where) != 1 {
				t.Errorf("%+v", r)
			}
			got = append(got, r.Name)
		}
		if diff := cmp.Diff([]string{a, b}, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestProveFindsDamage(t *testing.T) {
	_, dir, a, b := airgaptest.TwoImages(t)
	files := airgaptest.Files(t, dir)
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	manifest := l.Entries()[0].Desc // of a
	raw, err := artifact.ReadManifest(t.Context(), l, artifact.Reference{}, manifest)
	if err != nil {
		t.Fatal(err)
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	own, shared := m.Layers[1].Digest, m.Layers[0].Digest
	without := func(h v1.Hash) []airgaptest.File {
		return slices.DeleteFunc(slices.Clone(files), func(f airgaptest.File) bool { return f.Name == "images/"+layout.BlobPath(h) })
	}
	with := func(h v1.Hash, change func(string) string) []airgaptest.File {
		changed := slices.Clone(files)
		for i, f := range changed {
			if f.Name == "images/"+layout.BlobPath(h) {
				changed[i].Content = change(f.Content)
			}
		}
		return changed
	}
	other := func(s string) string { return s[:len(s)-1] + "!" }
	withIndex := func(change func(string) string) []airgaptest.File {
		changed := slices.Clone(files)
		for i, f := range changed {
			if f.Name == "images/index.json" {
				changed[i].Content = change(f.Content)
			}
		}
		return changed
	}
	tests := []struct {
		name  string
		files []airgaptest.File
		label string
		want  []string // of each defect: what it says, all words
	}{
		{"missing layer", without(own), "", []string{a + " blob " + own.String() + " missing"}},
		{"missing layer of two", without(shared), "", []string{a + " missing", b + " missing"}},
		{"missing config", without(m.Config.Digest), "", []string{a + " config missing"}},
		{"missing manifest", without(manifest.Digest), "", []string{a + " manifest missing"}},
		{"wrong layer", with(own, other), "", []string{a + " damaged " + own.String()}},
		{"wrong manifest", with(manifest.Digest, other), "", []string{a + " damaged"}},
		{"short layer", with(own, func(s string) string { return s[1:] }), "", []string{a + " damaged"}},
		{"damaged blob of nobody", append(slices.Clone(files), airgaptest.File{Name: "images/" + layout.BlobPath(layout.DigestOf([]byte("x"))), Content: "y"}), "", []string{"damaged " + layout.DigestOf([]byte("x")).String()}},
		{"wrong label", files, "sha256:1", []string{"label sha256:1 " + l.Digest().String()}},
		{"no label", files, "-", []string{"label missing"}},
		{"no oci-layout", slices.DeleteFunc(slices.Clone(files), func(f airgaptest.File) bool { return f.Name == "images/oci-layout" }), "", []string{"oci-layout missing"}},
		{"short name", withIndex(func(s string) string { return strings.ReplaceAll(s, a, "nginx") }), "",
			[]string{a + " asks index.json", "nginx docker.io/library/nginx:latest"}},
		{"no name", withIndex(func(s string) string { return strings.ReplaceAll(s, a, "") }), "", []string{a + " asks", "no name " + manifest.Digest.String()}},
		{"same name twice", withIndex(func(s string) string { return strings.ReplaceAll(s, a, b) }), "", []string{a + " asks", b + " twice"}},
	}
	for _, tt := range tests {
		for _, compress := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				store := registrytest.Store(t)
				c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, compress, tt.files...))
				if tt.label != "" {
					c.Config.Config.Labels = map[string]string{artifact.LabelImagesDigest: strings.TrimPrefix(tt.label, "-")}
				}
				p := prove(t, c, needs(t, a, b))
				var got []string
				for _, d := range p.Defects {
					got = append(got, d.String())
				}
				if len(got) != len(tt.want) {
					t.Fatalf("%d defects, %d wanted: %q", len(got), len(tt.want), got)
				}
				for i, want := range tt.want {
					for word := range strings.FieldsSeq(want) {
						if !strings.Contains(got[i], word) {
							t.Errorf("%q does not say %q", got[i], word)
						}
					}
					if p.Defects[i].Next == "" {
						t.Errorf("%q says no next step", got[i])
					}
				}
			})
		}
	}
}

func TestProveAsksForWhatNodesLookUp(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	h := reg.Push(t, "multi:1", registrytest.Index(t, registrytest.Image(t, amd64, 100, "amd"), registrytest.Image(t, arm, 100, "arm")))
	foreign := reg.Push(t, "arm:1", registrytest.Image(t, arm, 100, "other"))
	store := registrytest.Store(t)
	set := airgaptest.Collect(t, store, amd64, airgaptest.List(t, reg, "multi:1@"+h.String()))
	c := airgaptest.NewCluster(t, store, airgaptest.Layers(set)...)
	multi := reg.Host + "/multi"
	for _, line := range []string{multi + ":1", multi + "@" + h.String(), multi + ":1@" + h.String(), multi + ":other@" + h.String()} {
		if p := prove(t, c, needs(t, line)); len(p.Defects) > 0 {
			t.Errorf("%s: %v", line, p.Defects)
		}
	}
	p := prove(t, c, needs(t, multi+":2", "pause:3.9", "", "pause:3.9"))
	want := []Defect{
		{Name: multi + ":2", Where: []string{"manifests/imageList:1"}, What: "the tree asks for it, and images/index.json does not have it", Next: "build the image again, which fetches it"},
		{Name: "docker.io/library/pause:3.9", Where: []string{"manifests/imageList:2", "manifests/imageList:4"}, What: "the tree asks for it, and images/index.json does not have it", Next: "build the image again, which fetches it"},
	}
	if diff := cmp.Diff(want, p.Defects); diff != "" {
		t.Error(diff)
	}

	store = registrytest.Store(t)
	c = airgaptest.NewCluster(t, store, airgaptest.Layers(airgaptest.Collect(t, store, arm, airgaptest.List(t, reg, "arm:1")))...)
	p = prove(t, c, nil)
	if len(p.Defects) != 1 || !strings.Contains(p.Defects[0].What, "linux/arm64") {
		t.Errorf("image %s for another platform: %v", foreign, p.Defects)
	}
	if p := prove(t, c, needs(t, "--platform=linux/arm64 "+reg.Host+"/arm:1")); len(p.Defects) > 0 {
		t.Errorf("asked for on that platform: %v", p.Defects)
	}
}

func TestProveIndexWithoutItsPlatform(t *testing.T) {
	reg := registrytest.New(t)
	arm := v1.Platform{OS: "linux", Architecture: "arm64"}
	mine := registrytest.Image(t, amd64, 100, "amd")
	h := reg.Push(t, "multi:1", registrytest.Index(t, mine, registrytest.Image(t, arm, 100, "arm")))
	store := registrytest.Store(t)
	dir := airgaptest.Unpack(t, store, airgaptest.Collect(t, store, amd64, airgaptest.List(t, reg, "multi@"+h.String())))
	raw, err := mine.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	files := slices.DeleteFunc(airgaptest.Files(t, dir), func(f airgaptest.File) bool { return f.Name == "images/"+layout.BlobPath(layout.DigestOf(raw)) })
	p := prove(t, airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, false, files...)), nil)
	if len(p.Defects) != 2 { // the index, and its platform's manifest
		t.Errorf("%v", p.Defects)
	}
}

func TestProveLeavesSignaturesNameless(t *testing.T) {
	c, dir, a, _ := airgaptest.TwoImages(t)
	carried := strings.ReplaceAll(a, ":1", ":sha256-"+layout.DigestOf(nil).Hex+".sig")
	files := airgaptest.Files(t, dir)
	for i, f := range files {
		if f.Name != "images/index.json" {
			continue
		}
		var idx v1.IndexManifest
		if err := json.Unmarshal([]byte(f.Content), &idx); err != nil {
			t.Fatal(err)
		}
		sig := idx.Manifests[0]
		sig.Annotations = map[string]string{artifact.AnnotationImageName: carried}
		idx.Manifests = append(idx.Manifests, sig)
		b, _ := json.Marshal(idx)
		files[i].Content = string(b)
	}
	c = airgaptest.NewCluster(t, c.Store, airgaptest.PutLayer(t, c.Store, false, files...))
	p := prove(t, c, nil)
	if len(p.Defects) > 0 || len(p.References) != 3 || p.References[2].Name != carried {
		t.Errorf("%v, %+v", p.Defects, p.References)
	}
}

func TestProveWithoutImages(t *testing.T) {
	store := registrytest.Store(t)
	c := airgaptest.NewCluster(t, store, airgaptest.PutLayer(t, store, true, airgaptest.File{Name: "bin/tool", Content: "x"}))
	c.Config.Config.Labels = map[string]string{}
	if p := prove(t, c, nil); len(p.Defects) > 0 || p.Index != "" {
		t.Errorf("%+v", p)
	}
	if p := prove(t, c, needs(t, "nginx")); len(p.Defects) != 1 {
		t.Errorf("%+v", p.Defects)
	}
	c.Config.Config.Labels[artifact.LabelImagesDigest] = "sha256:1"
	if p := prove(t, c, nil); len(p.Defects) != 1 || !strings.Contains(p.Defects[0].What, "no images/index.json") {
		t.Errorf("%+v", p.Defects)
	}
}

func TestProveRefusesUnreadableLayer(t *testing.T) {
	c, _, _, _ := airgaptest.TwoImages(t)
	c.Manifest.Layers[0].Size = 700
	_, err := Of(t.Context(), c.Store, c.Ref, c.Manifest, c.Config, Options{})
	if err == nil || !strings.Contains(err.Error(), "layer 1 of") || !strings.Contains(err.Error(), "pull") {
		t.Errorf("got %v", err)
	}
}

func TestProveShowsTheTree(t *testing.T) {
	store := registrytest.Store(t)
	c := airgaptest.NewCluster(t, store,
		airgaptest.PutLayer(t, store, true,
			airgaptest.File{Name: "manifests/imageList", Content: "old"}, airgaptest.File{Name: "manifests/gone.yaml", Content: "x"},
			airgaptest.File{Name: "charts/a/Chart.yaml", Content: "a"}, airgaptest.File{Name: "charts/b/Chart.yaml", Content: "b"},
			airgaptest.File{Name: "etc/not.yaml", Content: "x"}, airgaptest.File{Name: "bin/tool", Content: "x"}),
		airgaptest.PutLayer(t, store, false,
			airgaptest.File{Name: "charts/.wh.a"}, airgaptest.File{Name: "charts/b/.wh..wh..opq"}, airgaptest.File{Name: "charts/b/.imageignore", Content: "c"},
			airgaptest.File{Name: "manifests/.wh.gone.yaml"}, airgaptest.File{Name: "manifests/imageList", Content: "new"},
			airgaptest.File{Name: "manifests/link", Kind: tar.TypeSymlink, Link: "imageList"}, airgaptest.File{Name: "manifests/hard", Kind: tar.TypeLink, Link: "manifests/imageList"},
			airgaptest.File{Name: "k3s-images.txt", Content: "k3s"}))
	c.Config.Config.Labels = map[string]string{}
	got := map[string]string{}
	prove(t, c, func(_ context.Context, tree fs.FS) ([]airgap.Image, error) {
		return nil, fs.WalkDir(tree, ".", func(name string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := fs.ReadFile(tree, name)
			got[name] = string(b)
			return err
		})
	})
	want := map[string]string{"charts/b/.imageignore": "c", "manifests/imageList": "new", "manifests/link": "new", "manifests/hard": "new", "k3s-images.txt": "k3s"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	cause := errors.New("no list")
	_, err := Of(t.Context(), c.Store, c.Ref, c.Manifest, c.Config, Options{Needs: func(context.Context, fs.FS) ([]airgap.Image, error) { return nil, cause }})
	if !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
}

func TestSmallTreeIsBounded(t *testing.T) {
	tree := newSmallTree(1)
	var err error
	for i := 0; i < 40 && err == nil; i++ {
		err = tree.add(0, &tar.Header{Name: "charts/" + strings.Repeat("x", i+1), Typeflag: tar.TypeReg, Size: 1 << 20}, strings.NewReader(""))
	}
	if err == nil {
		t.Error("40 MiB are kept")
	}
	if _, ok := tree.merge().(fstest.MapFS); !ok {
		t.Error("no file system")
	}
}
