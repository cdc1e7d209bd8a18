package convert

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/convert/converttest"
	"github.com/sealrt/sealrt/artifact/store"
)

var (
	amd64 = v1.Platform{OS: "linux", Architecture: "amd64"}
	arm64 = v1.Platform{OS: "linux", Architecture: "arm64"}
)

// converted is what came out of a conversion.
type converted struct {
	store   *store.Store
	desc    v1.Descriptor
	reports []Report
}

// convert converts images, of several platforms if there are several, into a store of its own.
func convert(t *testing.T, o Options, images ...converttest.Image) converted {
	t.Helper()
	c, err := tryConvert(t, o, images...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func tryConvert(t *testing.T, o Options, images ...converttest.Image) (converted, error) {
	t.Helper()
	from := registrytest.Store(t)
	var list []v1.Descriptor
	for _, img := range images {
		list = append(list, converttest.Put(t, from, img))
	}
	ref := converttest.Tag(t, from, "theirs:1", list...)
	if o.Store == nil {
		o.Store = registrytest.Store(t)
	}
	d, reports, err := Image(t.Context(), from, ref, o)
	return converted{o.Store, d, reports}, err
}

// one returns the manifest and configuration for a platform.
func (c converted) one(t *testing.T, p v1.Platform) (artifact.Reference, *v1.Manifest, *v1.ConfigFile) {
	t.Helper()
	return converttest.One(t, c.store, "ours:1", c.desc, p)
}

// prove fails unless the image has all that its tree asks for, and returns the names of its container images.
func (c converted) prove(t *testing.T, p v1.Platform) []string {
	t.Helper()
	ref, m, cfg := c.one(t, p)
	return converttest.Prove(t, c.store, ref, m, cfg)
}

// unpack returns the tree as names and contents, without the files of images/.
func (c converted) unpack(t *testing.T, p v1.Platform) map[string]string {
	t.Helper()
	ref, m, _ := c.one(t, p)
	tree := converttest.Tree(t, c.store, ref, m)
	maps.DeleteFunc(tree, func(name, _ string) bool { return strings.HasPrefix(name, "images/") && !strings.HasSuffix(name, "/") })
	return tree
}

// remarks returns what was remarked.
func (c converted) remarks() []string {
	var list []string
	for _, r := range c.reports {
		for _, u := range r.Unmapped {
			list = append(list, u.String())
		}
	}
	return list
}

func hasRemark(list []string, words ...string) bool {
	return slices.ContainsFunc(list, func(line string) bool {
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) })
	})
}

func TestSealosApplication(t *testing.T) {
	img := converttest.Sealos(t, amd64)
	c := convert(t, Options{}, img)
	want := []string{"docker.io/library/nginx:1.25", "registry.k8s.io/pause:3.9"}
	if diff := cmp.Diff(want, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	tree := c.unpack(t, amd64)
	for name := range tree {
		if strings.HasPrefix(name, "registry") {
			t.Errorf("%s is still there", name)
		}
	}
	if tree["opt/tool"] != strings.Repeat("tool", 1000) || !strings.Contains(tree["manifests/app.yaml"], "kind: Pod") {
		t.Errorf("the tree is %v", tree)
	}
	_, m, cfg := c.one(t, amd64)
	labels := cfg.Config.Labels
	if labels[artifact.LabelType] != artifact.TypeApp || labels[artifact.LabelFormat] != artifact.Format || labels["io.buildah.version"] == "" {
		t.Errorf("labels %v", labels)
	}
	if diff := cmp.Diff([]string{"NAMESPACE=web"}, cfg.Config.Env); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/bin/sh", "-c", "kubectl create ns ${NAMESPACE} && kubectl apply -n ${NAMESPACE} -f manifests"}, cfg.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		t.Errorf("%d diffIDs, %d layers", len(cfg.RootFS.DiffIDs), len(m.Layers))
	}
	full := 0
	for _, h := range cfg.History {
		if !h.EmptyLayer {
			full++
		}
	}
	if full != len(m.Layers) {
		t.Errorf("the history has %d layers, the image %d", full, len(m.Layers))
	}
	if len(c.remarks()) > 0 {
		t.Errorf("remarks: %q", c.remarks())
	}
}

func TestConversionIsDeterministicAndDoneOnce(t *testing.T) {
	img := converttest.Sealos(t, amd64)
	first := convert(t, Options{}, img)
	second := convert(t, Options{}, img)
	if first.desc.Digest != second.desc.Digest {
		t.Errorf("%s, then %s", first.desc.Digest, second.desc.Digest)
	}
	from := &counting{Store: registrytest.Store(t)}
	ref := converttest.Tag(t, from.Store, "theirs:1", converttest.Put(t, from.Store, img))
	d, reports, err := Image(t.Context(), from, ref, Options{Store: first.store})
	if err != nil {
		t.Fatal(err)
	}
	if d.Digest != first.desc.Digest || from.layers > 0 {
		t.Errorf("%s, %d layers read", d.Digest, from.layers)
	}
	if diff := cmp.Diff(first.reports, reports); diff != "" {
		t.Error(diff)
	}
}

// counting counts the layers that are read.
type counting struct {
	*store.Store
	layers int
}

func (c *counting) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.MediaType.IsLayer() {
		c.layers++
	}
	return c.Store.Open(ctx, ref, d, offset)
}

func TestEveryPlatformIsConverted(t *testing.T) {
	c := convert(t, Options{}, converttest.Sealos(t, amd64), converttest.Sealos(t, arm64))
	if !c.desc.MediaType.IsIndex() || len(c.reports) != 2 {
		t.Fatalf("%s, %d reports", c.desc.MediaType, len(c.reports))
	}
	for _, p := range []v1.Platform{amd64, arm64} {
		if names := c.prove(t, p); len(names) != 2 {
			t.Errorf("%s: %q", p, names)
		}
	}
}

func TestSealosRootfs(t *testing.T) {
	s := converttest.NewStorage(t)
	s.Push("kube-apiserver", "v1.31.0", registrytest.Image(t, amd64, 2<<20, "api"))
	c := convert(t, Options{}, converttest.Image{
		Platform: amd64,
		Labels: map[string]string{"sealos.io.type": "rootfs", "sealos.io.version": "v1beta1", "version": "v1.31.0", "vip": "$defaultVIP",
			"image": "ghcr.io/labring/lvscare:v4.1.3", "init": "init-kube.sh", "clean": "clean-kube.sh", "check": "check.sh $registryData"},
		Env: []string{"criData=/var/lib/containerd"},
		Layers: [][]converttest.File{append(s.Files(), converttest.Text("bin/kubeadm", "x"), converttest.Text("scripts/init-kube.sh", "#!/bin/sh"),
			converttest.Text("images/shim/DefaultImageList", "registry.k8s.io/kube-apiserver:v1.31.0\n"), converttest.Text("images/more.tar", "tar"))},
	})
	if diff := cmp.Diff([]string{"registry.k8s.io/kube-apiserver:v1.31.0"}, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	_, _, cfg := c.one(t, amd64)
	want := artifact.Kind{Type: artifact.TypeRootfs, Distro: "kubernetes", Version: "v1.31.0", Arch: "amd64"}
	if got := artifact.KindOf(cfg); got != want {
		t.Errorf("%+v", got)
	}
	tree := c.unpack(t, amd64)
	var meta artifact.Metadata
	if err := json.Unmarshal([]byte(tree[artifact.MetadataFile]), &meta); err != nil || meta != (artifact.Metadata{Distro: "kubernetes", Version: "v1.31.0", Arch: "amd64"}) {
		t.Errorf("%+v, %v", meta, err)
	}
	for _, label := range []string{"sealos.io.version", "vip", "image", "init", "clean", "check"} {
		if !hasRemark(c.remarks(), "label "+label+" ") || cfg.Config.Labels[label] == "" {
			t.Errorf("label %s is not named, or gone: %q", label, c.remarks())
		}
	}
	if !hasRemark(c.remarks(), "images/more.tar") || tree["scripts/init-kube.sh"] == "" {
		t.Errorf("%q", c.remarks())
	}
}

func TestSealerApplication(t *testing.T) {
	s := converttest.NewStorage(t)
	s.Push("team/app", "v1", registrytest.Image(t, amd64, 4<<10, "app"))
	s.Push("calico/node", "v3", registrytest.Image(t, amd64, 4<<10, "node"))
	c := convert(t, Options{}, converttest.Image{
		Platform: amd64,
		Labels:   map[string]string{"io.sealer.version": "0.9.3", "app.alpha.sealer.io/supported-kube-version": ">=1.19"},
		Annotations: map[string]string{
			sealerImages:    `[{"image":"reg.example.com/team/app:v1","platform":{"os":"linux","architecture":"amd64"}}]`,
			sealerExtension: `{"schemaVersion":"v1alpha1","type":"app-installer","env":{"B":"2","A":"1"},"applications":[{"name":"web","type":"kube","files":["a.yaml","b.yaml"],"env":{"X":"y"}},{"name":"db","type":"helm"},{"name":"own","cmds":["./install.sh"]}],"launch":{"app_names":["own","web","db","none"]}}`,
		},
		Layers: [][]converttest.File{{converttest.Text("application/apps/web/a.yaml", "a")}, s.Files()},
	})
	want := []string{"reg.example.com/team/app:v1", "sea.hub:5000/calico/node:v3"}
	if diff := cmp.Diff(want, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	_, m, cfg := c.one(t, amd64)
	line := `cd application/apps/own && ./install.sh && cd "$SEALRT_ROOTFS" && kubectl apply -f application/apps/web/a.yaml && ` +
		`cd "$SEALRT_ROOTFS" && kubectl apply -f application/apps/web/b.yaml && cd "$SEALRT_ROOTFS" && helm install db application/apps/db`
	if diff := cmp.Diff([]string{"/bin/sh", "-c", line}, cfg.Config.Cmd); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A=1", "B=2"}, cfg.Config.Env); diff != "" {
		t.Error(diff)
	}
	if m.Annotations[sealerExtension] == "" {
		t.Error("the annotation is gone")
	}
	for _, words := range [][]string{{"supported-kube-version"}, {"environment of application web"}, {"launch", "none"}, {"names of images", "sea.hub:5000/calico/node:v3"}} {
		if !hasRemark(c.remarks(), words...) {
			t.Errorf("%q is not remarked: %q", words, c.remarks())
		}
	}
}

func TestSealerRootfsOfEarlyVersions(t *testing.T) {
	s := converttest.NewStorage(t)
	s.Push("kube-proxy", "v1.22.15", registrytest.Image(t, amd64, 4<<10, "proxy"))
	c := convert(t, Options{}, converttest.Image{
		Config: `{"architecture":"amd64","os":"linux","metadata":{"annotations":{"sea.aliyun.com/ClusterFile":"apiVersion: sealer.cloud/v2\nkind: Cluster"}},` +
			`"spec":{"sealer_version":"0.8.7","image_config":{"cmd":{"parent":["kubectl apply -f etc/cni.yaml"],"current":["bash scripts/more.sh"]},"args":{"current":{"Network":"calico"}}}}}`,
		Layers: [][]converttest.File{
			{converttest.Text("bin/kubeadm", "x"), converttest.Text("Metadata", `{"version":"v1.22.15","arch":"amd64","NydusFlag":false,"ClusterRuntime":"k8s"}`), converttest.Text("manifests/imageList", "k8s.gcr.io/kube-proxy:v1.22.15\n")},
			s.Files(), {converttest.Text("plugins/shell.yaml", "kind: Plugin")},
		},
	})
	if diff := cmp.Diff([]string{"k8s.gcr.io/kube-proxy:v1.22.15"}, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	_, _, cfg := c.one(t, amd64)
	if k := artifact.KindOf(cfg); k.Type != artifact.TypeRootfs || k.Distro != "kubernetes" || k.Version != "v1.22.15" {
		t.Errorf("%+v", k)
	}
	if cfg.Config.Cmd[2] != "kubectl apply -f etc/cni.yaml && bash scripts/more.sh" || cfg.Config.Env[0] != "Network=calico" {
		t.Errorf("%q, %q", cfg.Config.Cmd, cfg.Config.Env)
	}
	if meta := c.unpack(t, amd64)["Metadata"]; !strings.Contains(meta, "NydusFlag") || !strings.Contains(meta, `"distro":"kubernetes"`) {
		t.Error(meta)
	}
	for _, word := range []string{"ClusterFile", "plugins/", "CMD"} {
		if !hasRemark(c.remarks(), word) {
			t.Errorf("%s is not remarked: %q", word, c.remarks())
		}
	}
}

func TestLayersAboveHideImages(t *testing.T) {
	base := converttest.Sealos(t, amd64)
	more := converttest.NewStorage(t)
	moved := more.Push("pause", "3.9", registrytest.Image(t, amd64, 4<<10, "moved"))
	whiteout := func(name string) converttest.File {
		return converttest.Text(filepath.Dir(name)+"/.wh."+filepath.Base(name), "")
	}
	tests := []struct {
		name  string
		files []converttest.File
		want  []string
	}{
		{"tag removed", []converttest.File{whiteout(converttest.Root + "repositories/library/nginx")}, []string{"registry.k8s.io/pause:3.9"}},
		{"all removed", []converttest.File{whiteout("x/../registry")}, nil},
		{"opaque directory", []converttest.File{converttest.Text("registry/.wh..wh..opq", "")}, nil},
		{"tag moved", more.Files(), []string{"docker.io/library/nginx:1.25", "registry.k8s.io/pause:3.9"}},
		{"no directory any more", []converttest.File{{Name: "registry", Kind: tar.TypeSymlink, Link: "/elsewhere"}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			img := base
			for i, f := range test.files {
				test.files[i].Name = strings.Replace(f.Name, "x/../", "", 1)
			}
			// Nothing asks for the images, so that those which are gone are not missed.
			img.Layers = [][]converttest.File{base.Layers[1], {whiteout("manifests/app.yaml")}, test.files}
			img.Layers[0] = append([]converttest.File{base.Layers[0][1]}, img.Layers[0]...)
			img.Layers = append(img.Layers[:1:1], test.files, []converttest.File{converttest.Text("images/shim/list", "registry.k8s.io/pause:3.9\n"), whiteout("manifests/app.yaml")})
			c := convert(t, Options{}, img)
			if diff := cmp.Diff(test.want, c.prove(t, amd64)); diff != "" {
				t.Error(diff)
			}
			if test.name != "tag moved" {
				return
			}
			ref, m, _ := c.one(t, amd64)
			contents, err := layout.OpenContents(t.Context(), c.store, ref, m)
			if err != nil {
				t.Fatal(err)
			}
			if d := contents.Entries()[1].Desc; d.Digest != moved {
				t.Errorf("pause:3.9 is %s, not %s", d.Digest, moved)
			}
		})
	}
}

func TestNamesOfImages(t *testing.T) {
	s := converttest.NewStorage(t)
	push := func(repo, tag string) v1.Hash {
		return s.Push(repo, tag, registrytest.Image(t, amd64, 1<<10, repo+tag))
	}
	push("pause", "3.9")
	push("pause", "3.8") // another tag of a name that is known
	push("library/busybox", "1")
	push("a/two", "1") // of two registries
	push("unknown", "1")
	push("given", "1")
	pinned := push("pinned", "1")
	loose := push("loose", "")
	multi := registrytest.Index(t, registrytest.Image(t, amd64, 1<<10, "m"), registrytest.Image(t, arm64, 1<<10, "m"))
	s.PushIndex("multi", "1", multi, registrytest.Image(t, amd64, 1<<10, "m"))
	s.Push("other", "1", registrytest.Image(t, arm64, 1<<10, "other"))
	push("app", "sha256-"+strings.Repeat("0", 64)+".sig")
	absent := "absent@sha256:" + strings.Repeat("1", 64)
	list := "registry.k8s.io/pause:3.9\nquay.io/a/two:1\nghcr.io/a/two:1\nquay.io/pinned:1@" + pinned.String() + "\nquay.io/loose@" + loose.String() +
		"\nquay.io/multi:1\nquay.io/" + absent + "\n"
	img := converttest.Image{Platform: amd64, Layers: [][]converttest.File{append(s.Files(), converttest.Text("images/shim/list", list))}}
	c := convert(t, Options{Names: []airgap.Image{{Ref: airgaptest.Reference(t, "reg.example.com/given:1")}}}, img)
	want := []string{
		"docker.io/library/busybox:1", "ghcr.io/a/two:1", "quay.io/a/two:1", "quay.io/loose@" + loose.String(), "quay.io/multi:1", "quay.io/pinned:1",
		"quay.io/pinned@" + pinned.String(), "reg.example.com/given:1", "registry.k8s.io/pause:3.8", "registry.k8s.io/pause:3.9", "sealos.hub:5000/unknown:1",
	}
	if diff := cmp.Diff(want, c.prove(t, amd64)); diff != "" {
		t.Error(diff)
	}
	for _, words := range [][]string{{"unknown:1", "--image-list"}, {"other:1", "linux/arm64"}, {"signature"}, {"absent@sha256", "drops digests"}, {"registry/", "left out"}} {
		if !hasRemark(c.remarks(), words...) {
			t.Errorf("%q is not remarked: %q", words, c.remarks())
		}
	}
}

func TestMoreBigBlobsThanLayersAreJoined(t *testing.T) {
	s := converttest.NewStorage(t)
	var seeds []string
	for i := range 104 {
		seeds = append(seeds, strings.Repeat("x", i))
	}
	s.Push("library/many", "1", registrytest.Image(t, amd64, 1<<20, seeds...))
	c := convert(t, Options{}, converttest.Image{Platform: amd64, Layers: [][]converttest.File{s.Files()}})
	c.prove(t, amd64)
	if _, m, _ := c.one(t, amd64); len(m.Layers) > 100 {
		t.Errorf("%d layers", len(m.Layers))
	}
}

func TestWhatCannotBeConverted(t *testing.T) {
	damaged := converttest.Sealos(t, amd64)
	damaged.Layers = slices.Clone(damaged.Layers)
	damaged.Layers[1] = slices.Clone(damaged.Layers[1])
	small := damaged
	small.Layers = [][]converttest.File{slices.Clone(damaged.Layers[1])}
	for _, change := range []struct {
		files []converttest.File
		big   bool
	}{{damaged.Layers[1], true}, {small.Layers[0], false}} {
		for i, f := range change.files {
			if strings.HasSuffix(f.Name, "/data") && len(f.Content) > 1<<20 == change.big {
				change.files[i].Content = "!" + f.Content[1:]
				break
			}
		}
	}
	link := converttest.Image{Platform: amd64, Layers: [][]converttest.File{{converttest.Text(converttest.TagPath("a", "1"), "no digest")}}}
	tests := []struct {
		name string
		img  converttest.Image
		want string
	}{
		{"big blob damaged", damaged, "damaged"},
		{"small blob damaged", small, "damaged"},
		{"link that is none", link, "sha256 digest"},
		{"neither tool's", converttest.Image{Platform: amd64, Layers: [][]converttest.File{{converttest.Text("a", "b")}}}, "needs no import"},
		{"layout in the way", converttest.Image{Platform: amd64, Layers: [][]converttest.File{{converttest.Text("images/index.json", "{}")}}}, "already"},
		{"no architecture", converttest.Image{Labels: map[string]string{"sealos.io.type": "application"}, Layers: [][]converttest.File{{converttest.Text("a", "b")}}}, "architecture"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := tryConvert(t, Options{}, test.img)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

func TestOwnImagesAreRefused(t *testing.T) {
	_, err := tryConvert(t, Options{}, converttest.Image{Platform: amd64, Labels: map[string]string{artifact.LabelFormat: artifact.Format}})
	if !errors.Is(err, ErrOurs) {
		t.Error(err)
	}
}
