package merge

import (
	"archive/tar"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// blobsIn returns the names of blobs in a layer.
func blobsIn(t *testing.T, r io.Reader) []string {
	t.Helper()
	var list []string
	err := layer.Walk(t.Context(), r, func(hdr *tar.Header, _ io.Reader) error {
		if strings.HasPrefix(hdr.Name, "images/blobs/sha256/") {
			list = append(list, hdr.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// put is a layer's file, and gone one that it removes.
func put(name, content string) converttest.File { return converttest.Text(name, content) }

func gone(name string) converttest.File {
	return converttest.Text(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), "")
}

// app is an app image of layers.
func app(layers ...[]converttest.File) converttest.Image {
	return converttest.Image{Platform: amd64, Labels: map[string]string{artifact.LabelType: artifact.TypeApp, artifact.LabelFormat: artifact.Format}, Layers: layers}
}

// rootfs is a rootfs image of layers.
func rootfs(distro, version string, layers ...[]converttest.File) converttest.Image {
	img := app(layers...)
	img.Labels = map[string]string{artifact.LabelType: artifact.TypeRootfs, artifact.LabelDistro: distro, artifact.LabelDistroVersion: version}
	return img
}

// merged is what came out of a merge.
type merged struct {
	store   *store.Store
	desc    v1.Descriptor
	reports []Report
}

// merge merges images, called a, b and so on, in a store of their own.
func merge(t *testing.T, images ...converttest.Image) merged {
	t.Helper()
	m, err := tryMerge(t, images...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func tryMerge(t *testing.T, images ...converttest.Image) (merged, error) {
	t.Helper()
	store := registrytest.Store(t)
	var parts []Part
	for i, img := range images {
		parts = append(parts, Part{converttest.Tag(t, store, string(rune('a'+i))+":1", converttest.Put(t, store, img)), store})
	}
	d, reports, err := Images(t.Context(), parts, Options{Store: store})
	return merged{store, d, reports}, err
}

// tree returns the files of the merged image and their contents.
func (m merged) tree(t *testing.T) map[string]string {
	t.Helper()
	ref, manifest, _ := m.one(t, amd64)
	tree := converttest.Tree(t, m.store, ref, manifest)
	maps.DeleteFunc(tree, func(name, _ string) bool { return strings.HasSuffix(name, "/") })
	return tree
}

func (m merged) one(t *testing.T, p v1.Platform) (artifact.Reference, *v1.Manifest, *v1.ConfigFile) {
	t.Helper()
	ref, manifest, cfg := converttest.One(t, m.store, "merged:1", m.desc, p)
	if len(manifest.Layers) != len(cfg.RootFS.DiffIDs) || len(cfg.History) != len(manifest.Layers) {
		t.Errorf("%d layers, %d diffIDs, %d entries in the history", len(manifest.Layers), len(cfg.RootFS.DiffIDs), len(cfg.History))
	}
	return ref, manifest, cfg
}

// conflicts returns what the images say differently.
func (m merged) conflicts() []string {
	var list []string
	for _, c := range m.reports[0].Conflicts {
		list = append(list, c.What)
	}
	return list
}

func TestFilesOfSeveralImages(t *testing.T) {
	base := [][]converttest.File{{put("bin/k3s", "k3s"), put("etc/k3s.yaml", "base")}, {put("etc/more.yaml", "base"), put("opt/x/1", "1"), put("opt/x/2", "2")}}
	on := func(layers ...[]converttest.File) converttest.Image { return app(slices.Concat(base, layers)...) }
	type tree = map[string]string
	tests := []struct {
		name      string
		images    []converttest.Image
		want      tree
		layers    int
		conflicts []string
	}{
		{"nothing in common", []converttest.Image{app([]converttest.File{put("a/1", "1")}), app([]converttest.File{put("a/2", "2")})}, tree{"a/1": "1", "a/2": "2"}, 2, nil},
		{"the later counts", []converttest.Image{app([]converttest.File{put("a", "1"), put("same", "s")}), app([]converttest.File{put("a", "2"), put("same", "s")})}, tree{"a": "2", "same": "s"}, 2, []string{"file a"}},
		{"a base once", []converttest.Image{on([]converttest.File{put("a", "1")}), on([]converttest.File{put("b", "2")})},
			tree{"bin/k3s": "k3s", "etc/k3s.yaml": "base", "etc/more.yaml": "base", "opt/x/1": "1", "opt/x/2": "2", "a": "1", "b": "2"}, 4, nil},
		{"changes of the base stay", []converttest.Image{on([]converttest.File{put("etc/k3s.yaml", "first")}), on([]converttest.File{put("etc/more.yaml", "second")})},
			tree{"bin/k3s": "k3s", "etc/k3s.yaml": "first", "etc/more.yaml": "second", "opt/x/1": "1", "opt/x/2": "2"}, 4, nil},
		{"what one removes of the base is gone", []converttest.Image{on([]converttest.File{gone("etc/k3s.yaml")}), on([]converttest.File{gone("etc/more.yaml"), put("b", "2")})},
			tree{"bin/k3s": "k3s", "opt/x/1": "1", "opt/x/2": "2", "b": "2"}, 5, nil},
		{"a directory that is gone keeps what others have there", []converttest.Image{on([]converttest.File{put("opt/x/own", "own")}), on([]converttest.File{gone("opt/x")})},
			tree{"bin/k3s": "k3s", "etc/k3s.yaml": "base", "etc/more.yaml": "base", "opt/x/own": "own"}, 4, nil},
		{"a directory that is gone as a whole", []converttest.Image{on([]converttest.File{put("a", "1")}), on([]converttest.File{gone("opt")})},
			tree{"bin/k3s": "k3s", "etc/k3s.yaml": "base", "etc/more.yaml": "base", "a": "1"}, 4, nil},
		{"removed by one, changed by the other", []converttest.Image{on([]converttest.File{put("etc/k3s.yaml", "first")}), on([]converttest.File{gone("etc/k3s.yaml")})},
			tree{"bin/k3s": "k3s", "etc/more.yaml": "base", "opt/x/1": "1", "opt/x/2": "2"}, 4, []string{"file etc/k3s.yaml"}},
		{"what an image removes of itself is not removed of others", []converttest.Image{app([]converttest.File{put("etc/a", "1"), put("etc/b", "1")}),
			app([]converttest.File{put("etc/a", "2"), put("etc/c", "2")}, []converttest.File{gone("etc/a"), put("d", "2")})},
			tree{"etc/a": "1", "etc/b": "1", "etc/c": "2", "d": "2"}, 3, nil},
		{"opaque directories do not hide others", []converttest.Image{app([]converttest.File{put("etc/a", "1")}),
			app([]converttest.File{put("etc/b", "2")}, []converttest.File{put("etc/.wh..wh..opq", ""), put("etc/c", "2")})},
			tree{"etc/a": "1", "etc/c": "2"}, 2, nil},
		{"lists are joined", []converttest.Image{app([]converttest.File{put("manifests/imageList", "# ours\na:1\nb:1")}), app([]converttest.File{put("manifests/imageList", "b:1\nc:1\n")}), app([]converttest.File{put("manifests/imageList", "d:1\n")})},
			tree{"manifests/imageList": "# ours\na:1\nb:1\nc:1\nd:1\n"}, 4, nil},
		{"a file where another has a directory", []converttest.Image{app([]converttest.File{put("a/b", "1")}), app([]converttest.File{put("a", "2")})}, tree{"a": "2"}, 2, []string{"file a"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := merge(t, test.images...)
			if diff := cmp.Diff(test.want, m.tree(t)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.conflicts, m.conflicts()); diff != "" {
				t.Error(diff)
			}
			if _, manifest, _ := m.one(t, amd64); len(manifest.Layers) != test.layers {
				t.Errorf("%d layers, want %d", len(manifest.Layers), test.layers)
			}
			if again := merge(t, test.images...); again.desc.Digest != m.desc.Digest {
				t.Errorf("%s, then %s", m.desc.Digest, again.desc.Digest)
			}
		})
	}
}

// cluster makes an app image with these container images, and a file, in a store.
func cluster(t *testing.T, store *store.Store, name string, p v1.Platform, images ...string) v1.Descriptor {
	t.Helper()
	s := converttest.NewStorage(t)
	list := ""
	for _, image := range images {
		repo, tag, _ := strings.Cut(image, ":")
		tag, seed, _ := strings.Cut(tag, "=") // =SEED is another image of that name
		s.Push(repo, tag, registrytest.Image(t, p, 2<<20, "shared", repo+seed))
		list += "example.com/" + repo + ":" + tag + "\n"
	}
	from := registrytest.Store(t)
	ref := converttest.Tag(t, from, "theirs:1", converttest.Put(t, from, converttest.Image{Platform: p,
		Layers: [][]converttest.File{append(s.Files(), put("manifests/"+name+".imagelist", list), put("opt/"+name, name))}}))
	d, _, err := convert.Image(t.Context(), from, ref, convert.Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContainerImagesOfSeveralImages(t *testing.T) {
	store := registrytest.Store(t)
	parts := []Part{
		{converttest.Tag(t, store, "a:1", cluster(t, store, "a", amd64, "one:1", "two:1")), store},
		{converttest.Tag(t, store, "b:1", cluster(t, store, "b", amd64, "two:1", "three:1")), store},
		{converttest.Tag(t, store, "c:1", cluster(t, store, "c", amd64, "one:1=other", "four:1")), store},
	}
	d, reports, err := Images(t.Context(), parts, Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	m := merged{store, d, reports}
	ref, manifest, cfg := m.one(t, amd64)
	names := converttest.Prove(t, store, ref, manifest, cfg)
	want := []string{"example.com/four:1", "example.com/one:1", "example.com/three:1", "example.com/two:1"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"container image example.com/one:1"}, m.conflicts()); diff != "" || reports[0].Images != 4 {
		t.Error(diff, reports[0].Images)
	}
	seen := map[string]bool{}
	for _, l := range manifest.Layers {
		f, err := os.Open(store.BlobPath(l.Digest))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range blobsIn(t, f) {
			if seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		f.Close()
	}
	if len(seen) != 3*5+1 { // five images of a manifest, a config and a layer each, one of which is out of use, and what they share
		t.Errorf("%d blobs", len(seen))
	}
}

// collected makes an app image with container images of a registry, with their signatures or without.
func collected(t *testing.T, store *store.Store, reg *registrytest.Registry, signed bool, name string, images ...string) Part {
	t.Helper()
	o := airgap.Options{Source: airgaptest.Registry(), Store: store, Platform: amd64}
	if signed {
		o.Signatures = airgaptest.Registry()
	}
	set, err := airgap.Collect(t.Context(), airgaptest.List(t, reg, images...), o)
	if err != nil {
		t.Fatal(err)
	}
	cfg := v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Labels: map[string]string{artifact.LabelFormat: "1"}}}
	for _, l := range set.Layers {
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, l.Blob.DiffID)
		cfg.History = append(cfg.History, v1.History{CreatedBy: artifact.HistoryBase})
	}
	config, err := store.PutJSON(t.Context(), types.OCIConfigJSON, cfg)
	if err != nil {
		t.Fatal(err)
	}
	d, err := store.PutJSON(t.Context(), types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: airgaptest.Layers(set)})
	if err != nil {
		t.Fatal(err)
	}
	return Part{converttest.Tag(t, store, name, d), store}
}

func TestSignaturesGoWithWhatTheySign(t *testing.T) {
	reg := registrytest.New(t)
	for _, name := range []string{"one", "two"} {
		h := reg.Push(t, name+":1", registrytest.Image(t, amd64, 1<<10, name))
		reg.Push(t, name+":sha256-"+h.Hex+".sig", registrytest.Image(t, amd64, 100, "signature of "+name))
	}
	store := registrytest.Store(t)
	parts := []Part{collected(t, store, reg, false, "a:1", "one:1"), collected(t, store, reg, true, "b:1", "one:1", "two:1")}
	d, reports, err := Images(t.Context(), parts, Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	m := merged{store, d, reports}
	ref, manifest, _ := m.one(t, amd64)
	contents, err := layout.OpenContents(t.Context(), store, ref, manifest)
	if err != nil {
		t.Fatal(err)
	}
	names, signatures := 0, 0
	for _, e := range contents.Entries() {
		if e.Name != "" {
			names++
		}
		if strings.HasSuffix(e.Carried, ".sig") {
			signatures++
		}
	}
	if names != 2 || signatures != 2 || reports[0].Images != 2 || len(m.conflicts()) > 0 {
		t.Errorf("%d images, %d signatures, %+v", names, signatures, reports[0])
	}
}

func TestPlatformsThatAllHave(t *testing.T) {
	store := registrytest.Store(t)
	part := func(name string, platforms ...v1.Platform) Part {
		var list []v1.Descriptor
		for _, p := range platforms {
			list = append(list, cluster(t, store, name, p, name+":1"))
		}
		return Part{converttest.Tag(t, store, name+":1", list...), store}
	}
	a, b := part("a", amd64, arm64), part("b", amd64, arm64)
	only := part("only", arm64)
	d, reports, err := Images(t.Context(), []Part{a, b}, Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if !d.MediaType.IsIndex() || len(reports) != 2 {
		t.Errorf("%s, %d reports", d.MediaType, len(reports))
	}
	for _, p := range []v1.Platform{amd64, arm64} {
		merged{store, d, reports}.one(t, p)
	}
	var notes []string
	d, reports, err = Images(t.Context(), []Part{a, only}, Options{Store: store, Observe: func(e artifact.Event) {
		if e.Kind == artifact.EventNote {
			notes = append(notes, e.Name)
		}
	}})
	if err != nil || d.MediaType.IsIndex() || reports[0].Platform != "linux/arm64" || len(notes) != 1 || !strings.Contains(notes[0], "linux/arm64 alone") {
		t.Errorf("%v, %v, %q", err, reports, notes)
	}
	if _, _, err := Images(t.Context(), []Part{only, part("other", amd64)}, Options{Store: store}); err == nil || !strings.Contains(err.Error(), "no platform that all images have") {
		t.Error(err)
	}
}

func TestSettingsOfSeveralImages(t *testing.T) {
	file := func(name string) []converttest.File { return []converttest.File{put(name, name)} }
	a, b, c := app(file("a")), rootfs("k3s", "v1.31.0+k3s1", file("bin/k3s")), app(file("c"))
	a.Env, b.Env, c.Env = []string{"X=1", "Y=1"}, []string{"X=2"}, []string{"Z=3", "X=2"}
	a.Cmd, c.Entrypoint, c.Cmd = []string{"/bin/sh", "-c", "echo 'a'"}, []string{"run"}, []string{"c d"}
	a.Labels["who"], c.Labels["who"], c.Labels["more"] = "a", "c", "c"
	m := merge(t, a, b, c)
	_, _, cfg := m.one(t, amd64)
	want := map[string]string{artifact.LabelType: "rootfs", artifact.LabelDistro: "k3s", artifact.LabelDistroVersion: "v1.31.0+k3s1", artifact.LabelFormat: "1", "who": "c", "more": "c"}
	if diff := cmp.Diff(want, cfg.Config.Labels); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"X=2", "Y=1", "Z=3"}, cfg.Config.Env); diff != "" {
		t.Error(diff)
	}
	line := `'/bin/sh' '-c' 'echo '\''a'\''' && 'run' 'c d'`
	if diff := cmp.Diff([]string{"/bin/sh", "-c", line}, cfg.Config.Cmd); diff != "" || len(cfg.Config.Entrypoint) > 0 {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"variable X", "label who", "CMD", "CMD"}, m.conflicts()); diff != "" {
		t.Error(diff)
	}
	if meta := m.tree(t)["Metadata"]; meta != `{"distro":"k3s","version":"v1.31.0+k3s1","arch":"amd64"}`+"\n" {
		t.Error(meta)
	}
	if one := merge(t, app(file("a")), a); !slices.Equal(one.reports[0].Command, a.Cmd) {
		t.Errorf("%q", one.reports[0].Command)
	}
}

func TestImagesThatCannotBeOne(t *testing.T) {
	file := []converttest.File{put("a", "a")}
	patch := app(file)
	patch.Labels = maps.Clone(patch.Labels)
	patch.Labels[artifact.LabelType] = artifact.TypePatch
	tests := []struct {
		name   string
		images []converttest.Image
		want   string
	}{
		{"one", []converttest.Image{app(file)}, "two images"},
		{"two distributions", []converttest.Image{rootfs("k3s", "v1", file), rootfs("k0s", "v1", file)}, "one distribution"},
		{"two versions", []converttest.Image{rootfs("k3s", "v1.31.0", file), rootfs("k3s", "v1.32.0", file)}, "one version"},
		{"patch and app", []converttest.Image{patch, app(file)}, "with a rootfs image only"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := tryMerge(t, test.images...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	store := registrytest.Store(t)
	twice := Part{converttest.Tag(t, store, "a:1", converttest.Put(t, store, app(file))), store}
	if _, _, err := Images(t.Context(), []Part{twice, twice}, Options{Store: store}); err == nil || !strings.Contains(err.Error(), "named twice") {
		t.Error(err)
	}
	merge(t, patch, rootfs("k3s", "v1", file))
}

func TestPatchRemovesWhatItSharesNoLayersWith(t *testing.T) {
	patch := app([]converttest.File{put("etc/new", "patch"), gone("etc/old"), put("lib/.wh..wh..opq", ""), put("lib/own", "patch")})
	patch.Labels = map[string]string{artifact.LabelType: artifact.TypePatch}
	base := rootfs("k3s", "v1", []converttest.File{put("etc/old", "base"), put("etc/older", "base"), put("lib/a", "base"), put("lib/d/b", "base")})
	other := patch
	other.Labels = app().Labels
	for name, c := range map[string]struct {
		over converttest.Image
		want []string
	}{
		"a patch": {patch, []string{"etc/new", "etc/older", "lib/own"}},
		"an app":  {other, []string{"etc/new", "etc/old", "etc/older", "lib/a", "lib/d/b", "lib/own"}},
	} {
		m := merge(t, base, c.over)
		ref, manifest, _ := converttest.One(t, m.store, "merged:1", m.desc, amd64)
		var have []string
		for file := range converttest.Tree(t, m.store, ref, manifest) {
			if file != "Metadata" && !strings.HasSuffix(file, "/") {
				have = append(have, file)
			}
		}
		slices.Sort(have)
		if diff := cmp.Diff(c.want, have); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(m.reports[0].Conflicts) > 0 {
			t.Errorf("%s: %v", name, m.reports[0].Conflicts)
		}
	}
}
