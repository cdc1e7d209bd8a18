package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// shop is an app image of a version.
func shop(tag string) runtime.Image {
	i := treeImage("shop:"+tag, artifact.TypeApp, map[string]string{
		"manifests/1.yaml":                    object("A"),
		"manifests/2.yaml.tmpl":               object("B") + "tag: {{ .Env.TAG }}\n",
		"scripts/uninstall.sh":                hook,
		"scripts/hooks/pre-upgrade.d/u":       hook,
		"scripts/hooks/pre-install.d/i":       hook,
		"scripts/hooks/pre-delete.master.d/d": hook,
	})
	i.Digest = "sha256:" + strings.Repeat(tag[len(tag)-1:], 64)
	i.Cmd, i.Env = []string{"./install.sh", "now"}, []string{"TAG=" + tag}
	return i
}

func installed(t *testing.T, c *runtime.Cluster, list ...runtime.Replacement) runtime.Plan {
	t.Helper()
	plan, err := lifeOf(t, c).Install(list...)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

func TestAppRunsOnTheFirstMasterInItsTreeWithTheKubeconfig(t *testing.T) {
	app := shop("v7")
	app.Settings = map[string]string{"DOMAIN": "example.com"}
	x := clusterOf(rootfs(nil), app)
	x.Env = map[string]string{"TZ": "UTC"}
	plan := created(t, x)
	found := 0
	for _, phase := range plan.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				exec, ok := s.Do.(runtime.Exec)
				if !ok || !slices.Contains(exec.Argv, "./install.sh") {
					continue
				}
				found++
				line := strings.Join(exec.Argv, " ")
				if task.Member.Hostname != "a" || !strings.HasSuffix(line, " --dir "+app.Rootfs()+" --kubeconfig /etc/fake/admin.conf -- ./install.sh now") || exec.Always {
					t.Errorf("on %s: %s, %+v", task.Member.Hostname, line, exec)
				}
				for _, kv := range []string{
					"TAG=v7", "TZ=UTC", "DOMAIN=example.com", "SEALRT_ROOTFS=" + app.Rootfs(), "SEALRT_RENDERED=" + app.Rendered(), "SEALRT_REGISTRY=http://127.0.0.1:5555",
					"PATH=" + app.Rootfs() + "/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				} {
					if !slices.Contains(exec.Env, kv) {
						t.Errorf("the environment lacks %s: %v", kv, exec.Env)
					}
				}
			}
		}
	}
	if found != 1 {
		t.Errorf("the command is in the plan %d times", found)
	}
	if _, ok := x.Images[0].Settings["DOMAIN"]; ok || slices.Contains(story(plan), "DOMAIN") {
		t.Error("settings of an app are its own")
	}
}

func TestAppIsInstalledAgainEachTimeThatItIsAskedFor(t *testing.T) {
	bed := newBed(t)
	app := shop("v7")
	x := clusterOf(rootfs(nil), app)
	delivered(bed, x)
	if err := bed.engine().Run(t.Context(), created(t, x)); err != nil {
		t.Fatal(err)
	}
	if err := bed.engine().Run(t.Context(), created(t, x)); err != nil {
		t.Fatal(err)
	}
	if n := count(bed.a, "./install.sh"); n != 1 {
		t.Errorf("the command ran %d times for a cluster that stands, want once", n)
	}
	for range 2 {
		if err := bed.engine().Run(t.Context(), installed(t, x, runtime.Replacement{App: app, Before: app})); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(bed.a, "./install.sh"); n != 3 {
		t.Errorf("the command ran %d times, want 3", n)
	}
	if n := count(bed.a, "pre-upgrade.d/u"); n != 0 {
		t.Error("the same version is no upgrade")
	}
	if data, _, err := bed.a.File(app.Rendered() + "/manifests/2.yaml"); string(data) != object("B")+"tag: v7\n" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, _, err := bed.b.File(app.Rendered() + "/manifests/2.yaml"); err == nil {
		t.Error("a node has the objects of an app")
	}
}

func TestNewerAppTakesThePlaceOfTheOneBefore(t *testing.T) {
	bed := newBed(t)
	old, fresh := shop("v7"), shop("v8")
	x := clusterOf(rootfs(nil), old, fresh)
	delivered(bed, x)
	if err := bed.Run(t.Context(), installed(t, x, runtime.Replacement{App: fresh, Before: old})); err != nil {
		t.Fatal(err)
	}
	for what, want := range map[string]int{fresh.Rootfs() + "/scripts/hooks/pre-upgrade.d/u": 1, "pre-install.d/i": 0, "host drop " + x.Images[0].Digest + " " + fresh.Digest: 1} {
		if n := count(bed.a, what); n != want {
			t.Errorf("%s: %d times, want %d", what, n, want)
		}
	}
	if _, _, err := bed.b.File(fresh.Rootfs() + "/Metadata"); err != nil {
		t.Error(err)
	}
}

func TestUninstallTakesBackWhatTheAppDid(t *testing.T) {
	bed := newBed(t)
	app := shop("v7")
	x := clusterOf(rootfs(nil), app)
	delivered(bed, x)
	if err := bed.engine().Run(t.Context(), created(t, x)); err != nil {
		t.Fatal(err)
	}
	brought, err := lifeOf(t, x).Bringing(x.Images)
	if err != nil {
		t.Fatal(err)
	}
	x.Images = brought
	x.Images[1].Files, x.Images[0].Files = nil, nil // the image is not at hand
	plan, err := lifeOf(t, x).Uninstall(x.Images[1])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a: " + strings.TrimPrefix(app.Rootfs(), runtime.Home+"/") + "/scripts/hooks/pre-delete.master.d/d",
		"a: ./scripts/uninstall.sh",
		"a: kubectl delete --ignore-not-found B/b A/a",
	}
	if diff := cmp.Diff(want, story(plan)); diff != "" {
		t.Error(diff)
	}
	bed.a.Fail([]string{"kubectl", "delete"}, errors.New("the API is away"), 1)
	if err := bed.engine().Run(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "the API is away") {
		t.Fatal(err)
	}
	if _, _, err := bed.a.File(app.Rootfs() + "/Metadata"); err != nil {
		t.Error("the tree went before the app was taken away")
	}
	if err := bed.engine().Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	for _, h := range []hostFiles{bed.a, bed.b} {
		for _, f := range h.Files() {
			if strings.HasPrefix(f, app.Rendered()) {
				t.Errorf("%s is left", f)
			}
		}
	}
	if _, err := lifeOf(t, x).Uninstall(x.Images[0]); err == nil || !strings.Contains(err.Error(), "sealrt reset") {
		t.Errorf("the rootfs image: %v", err)
	}
}

type hostFiles interface{ Files() []string }

func TestUninstallerOfAnApp(t *testing.T) {
	for name, c := range map[string]struct {
		label string
		files map[string]string
		want  []string
		wrong string
	}{
		"a script":               {files: map[string]string{"scripts/uninstall.sh": hook}, want: []string{"./scripts/uninstall.sh"}},
		"a label counts":         {label: `["helm","uninstall","shop"]`, files: map[string]string{"scripts/uninstall.sh": hook}, want: []string{"helm", "uninstall", "shop"}},
		"nothing":                {},
		"a label of words":       {label: "helm uninstall shop", wrong: "JSON array"},
		"an empty label":         {label: "[]", wrong: "JSON array"},
		"a script of no program": {files: map[string]string{"scripts/uninstall.sh": "text"}, wrong: "not executable"},
	} {
		i := treeImage("shop:v7", artifact.TypeApp, c.files)
		i.Labels = map[string]string{runtime.LabelUninstall: c.label}
		got, err := i.Uninstaller()
		if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != (c.wrong != "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %s %v", name, diff, err)
		}
	}
}

func TestOnlyAppsArePutOnAClusterThatStands(t *testing.T) {
	x := clusterOf(rootfs(nil))
	for _, i := range []runtime.Image{rootfs(nil), treeImage("fix:1", artifact.TypePatch, nil)} {
		if _, err := lifeOf(t, x).Install(runtime.Replacement{App: i}); err == nil || !strings.Contains(err.Error(), "only app images") {
			t.Errorf("%s: %v", i.Ref.Familiar(), err)
		}
	}
}

func TestOrderOfImages(t *testing.T) {
	base, app := rootfs(nil), shop("v7")
	patch := treeImage("fix:1", artifact.TypePatch, nil)
	of := func(distro, version string) runtime.Image {
		p := patch
		p.Kind.Distro, p.Kind.Version = distro, version
		return p
	}
	patch = of("", "")
	for name, c := range map[string]struct {
		images []runtime.Image
		want   string
	}{
		"all kinds":             {[]runtime.Image{base, patch, patch, app, app}, ""},
		"apps alone":            {[]runtime.Image{app, app}, ""},
		"a patch that fits":     {[]runtime.Image{base, of("fake", "1")}, ""},
		"a patch behind an app": {[]runtime.Image{base, app, patch}, "fix:1 is a patch: name it before the app shop:v7"},
		"two rootfs images":     {[]runtime.Image{base, base}, "are both rootfs images"},
		"the rootfs image last": {[]runtime.Image{app, base}, "k3s:v1 is a rootfs image: name it first, before shop:v7"},
		"a patch alone":         {[]runtime.Image{patch}, "name the rootfs image that it goes over in front of it"},
		"a patch of an app":     {[]runtime.Image{app, patch}, "before the app"},
		"another distribution":  {[]runtime.Image{base, of("k0s", "")}, "fix:1 is a patch for k0s, and k3s:v1 is fake"},
		"another version":       {[]runtime.Image{base, of("fake", "v2")}, "fix:1 is a patch for fake v2, and k3s:v1 has v1"},
	} {
		err := runtime.CheckOrder(c.images)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestPatchesAreInTheClusterfile(t *testing.T) {
	base := rootfs(nil)
	base.Patches = []artifact.Reference{treeImage("fix:1", artifact.TypePatch, nil).Ref}
	want := []string{"docker.io/library/k3s:v1", "docker.io/library/fix:1", "docker.io/library/shop:v7"}
	if diff := cmp.Diff(want, clusterOf(base, shop("v7")).Clusterfile().Spec.Image); diff != "" {
		t.Error(diff)
	}
}

func TestImagesOfObjectsAreNamedAfterTheRegistry(t *testing.T) {
	const digest = "@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	inside := []string{"docker.io/library/nginx:1.25", "quay.io/op/operator:v1", "docker.io/library/nginx" + digest, "docker.io/library/redis:latest"}
	view := runtime.RegistryView{Prefix: "harbor.lan/mine"}
	for text, c := range map[string]struct {
		want   string
		others []string
	}{
		"spec: {containers: [{image: nginx:1.25}]}\n":                     {"spec: {containers: [{image: 'harbor.lan/mine/library/nginx:1.25'}]}\n", nil},
		"# c\nimage: docker.io/library/nginx:1.25 # web\n":                {"# c\nimage: harbor.lan/mine/library/nginx:1.25 # web\n", nil},
		"image: nginx:1.25" + digest + "\n":                               {"image: harbor.lan/mine/library/nginx:1.25" + digest + "\n", nil},
		"image: redis\n":                                                  {"image: harbor.lan/mine/library/redis:latest\n", nil},
		"sidecarImage: quay.io/op/operator:v1\n":                          {"sidecarImage: harbor.lan/mine/op/operator:v1\n", nil},
		"env: [{name: RELATED_IMAGE, value: 'quay.io/op/operator:v1'}]\n": {"env: [{name: RELATED_IMAGE, value: 'harbor.lan/mine/op/operator:v1'}]\n", nil},
		"env: [{name: CACHE, value: redis}]\n":                            {"env: [{name: CACHE, value: redis}]\n", nil},
		"image: other:2\n":                                                {"image: other:2\n", []string{"other:2"}},
		"image: harbor.lan/mine/library/nginx:1.25\n":                     {"image: harbor.lan/mine/library/nginx:1.25\n", nil},
		"image: {repository: nginx, tag: '1.25'}\n":                       {"image: {repository: nginx, tag: '1.25'}\n", nil},
		"a: 1\n---\nimage: nginx:1.25\n---\n":                             {"a: 1\n---\nimage: harbor.lan/mine/library/nginx:1.25\n---\n\n", nil},
	} {
		out, others, err := runtime.RewriteImages([]byte(text), inside, view)
		if diff := cmp.Diff(c.want, string(out)); diff != "" || !slices.Equal(c.others, others) || err != nil {
			t.Errorf("%s: %s %v %v", text, diff, others, err)
		}
	}
	if _, _, err := runtime.RewriteImages([]byte("a: [\n"), inside, view); err == nil {
		t.Error("broken YAML is no error")
	}
}
