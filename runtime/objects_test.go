package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

// object is the beginning of an object of a kind, which is called alike.
func object(kind string) string {
	return "apiVersion: v1\nkind: " + kind + "\nmetadata: {name: " + strings.ToLower(kind) + "}\n"
}

func TestObjectsInManifests(t *testing.T) {
	o := func(group, kind, namespace, name string) runtime.Object {
		return runtime.Object{Group: group, Kind: kind, Namespace: namespace, Name: name}
	}
	for text, c := range map[string]struct {
		want  []runtime.Object
		wrong string
	}{
		"":                              {},
		"# nothing\n---\n---\n# more\n": {},
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\n---\n" + object("Service"):                                                            {want: []runtime.Object{o("apps", "Deployment", "shop", "web"), o("", "Service", "", "service")}},
		`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"}},{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}]}`: {want: []runtime.Object{o("", "Secret", "", "a"), o("", "Secret", "", "b")}},
		object("A") + "---\n" + object("A"):                       {want: []runtime.Object{o("", "A", "", "a")}},
		object("A") + "data: {a: 1, a: 2}\n":                      {want: []runtime.Object{o("", "A", "", "a")}}, // the API says what it thinks of that
		object("A") + "---\nkind: B\n":                            {wrong: "document 2, line 4: an object of Kubernetes has apiVersion, kind and metadata.name"},
		"apiVersion: v1\nkind: A\nmetadata: {generateName: x-}\n": {wrong: "metadata.name"},
		"apiVersion: v1\nkind: A\nmetadata: {name: x\n":           {wrong: "yaml: "},
		"apiVersion: v1\nkind: A\nmetadata: {name: [x]}\n":        {wrong: "document 1"},
		"just words\n": {wrong: "document 1"},
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: A}]\n": {wrong: "metadata.name"},
	} {
		got, err := runtime.ObjectsIn([]byte(text))
		if diff := cmp.Diff(c.want, got); c.wrong == "" && (diff != "" || err != nil) || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: %v %s", text, err, diff)
		}
	}
}

func TestWhatIsNotBroughtAnyMoreIsDeletedAndWhatHoldsMoreIsLeft(t *testing.T) {
	of := func(names ...string) []runtime.Object {
		var out []runtime.Object
		for _, n := range names {
			var o runtime.Object
			kind, rest, _ := strings.Cut(n, " ")
			o.Kind, o.Group, _ = strings.Cut(kind, ".")
			o.Namespace, o.Name, _ = strings.Cut(rest, "/")
			out = append(out, o)
		}
		return out
	}
	before := of("Namespace /shop", "PersistentVolumeClaim shop/data", "CustomResourceDefinition.apiextensions.k8s.io /things.x.io", "Deployment.apps shop/old",
		"Service /web", "ConfigMap /shared", "ClusterRole.rbac other/reader", "Deployment.apps shop/web")
	now := of("Deployment.apps shop/web", "Service default/web", "ClusterRole.rbac /reader")
	gone, left := runtime.Retired(before, now, of("ConfigMap default/shared"))
	if diff := cmp.Diff(of("Deployment.apps shop/old"), gone); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(append(before[:3:3], before[6]), left); diff != "" {
		t.Error(diff)
	}
}

func TestObjectsAreDeletedTheLastFirstAndWithoutTheDefinitionOfTheirKind(t *testing.T) {
	got := runtime.Deletions([]runtime.Object{
		{Kind: "Namespace", Name: "shop"},
		{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition", Name: "things.x.io"},
		{Group: "x.io", Kind: "Thing", Namespace: "shop", Name: "t"},
		{Group: "apps", Kind: "Deployment", Namespace: "shop", Name: "a"},
		{Kind: "Service", Namespace: "shop", Name: "b"},
	})
	want := []runtime.Deletion{
		{Args: strings.Fields("delete --ignore-not-found -n shop Service/b Deployment.apps/a")},
		{Args: strings.Fields("delete --ignore-not-found -n shop Thing.x.io/t"), Follow: true},
		{Args: strings.Fields("delete --ignore-not-found CustomResourceDefinition.apiextensions.k8s.io/things.x.io Namespace/shop")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpgradeOfAnAppDeletesWhatTheNewVersionHasNoMore(t *testing.T) {
	bed := newBed(t)
	old, fresh := shop("v7"), shop("v8")
	x := clusterOf(rootfs(nil), fresh)
	fresh.Brought = []runtime.Object{{Kind: "A", Name: "a"}, {Kind: "Old", Name: "o"}, {Kind: "PersistentVolumeClaim", Name: "data"}}
	x.Images[1] = fresh
	delivered(bed, x)
	plan := installed(t, x, runtime.Replacement{App: fresh, Before: old})
	if diff := cmp.Diff([]string{"a: kubectl delete --ignore-not-found Old/o", "a: ./install.sh now"}, slicesWith(story(plan), "delete", "install.sh")); diff != "" {
		t.Error(diff)
	}
	brought, err := lifeOf(t, x).Bringing(x.Images)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(brought[1].Brought); n != 4 {
		t.Errorf("while it is upgraded, %d objects are known: %v", n, brought[1].Brought)
	}
	want := []runtime.Object{{Kind: "A", Name: "a"}, {Kind: "B", Name: "b"}, {Kind: "PersistentVolumeClaim", Name: "data"}}
	if diff := cmp.Diff(want, brought[1].Settled().Brought); diff != "" {
		t.Error(diff)
	}
	for range 2 { // and again, for as long as it is known
		if err := bed.engine().Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(bed.a, "kubectl delete --ignore-not-found Old/o"); n != 2 {
		t.Errorf("deleted %d times", n)
	}
}

func TestObjectsThatAnotherImageBroughtTooStay(t *testing.T) {
	app, other := shop("v7"), treeImage("other:v1", artifact.TypeApp, nil)
	app.Brought = []runtime.Object{{Kind: "Namespace", Name: "both"}, {Kind: "A", Name: "a"}}
	other.Brought = []runtime.Object{{Kind: "Namespace", Name: "both"}}
	x := clusterOf(rootfs(nil), app, other)
	if diff := cmp.Diff([]runtime.Object{{Kind: "A", Name: "a"}}, lifeOf(t, x).Leaving(x.Images[1])); diff != "" {
		t.Error(diff)
	}
}

func TestManifestThatIsNoObjectIsToldBeforeAnythingIsDone(t *testing.T) {
	x := clusterOf(rootfs(map[string]string{"manifests/b.yaml.tmpl": "apiVersion: v1\nkind: A\nmetadata: {name: {{ .Env.NAME }}\n"}))
	x.Env = map[string]string{"NAME": "x"}
	if _, err := lifeOf(t, x).Create(); err == nil || !strings.Contains(err.Error(), "k3s:v1: manifests/b.yaml.tmpl: yaml: line ") {
		t.Error(err)
	}
}

// slicesWith returns the lines with any of the words.
func slicesWith(lines []string, words ...string) []string {
	var out []string
	for _, l := range lines {
		for _, w := range words {
			if strings.Contains(l, w) {
				out = append(out, l)
				break
			}
		}
	}
	return out
}

func TestUpgradeRendersAndRetiresObjectsOfTheRootfs(t *testing.T) {
	x := clusterOf(rootfs(nil))
	to := rootfs(map[string]string{"manifests/a.yaml.tmpl": object("A") + "tz: {{ .Env.TZ }}\n", "etc/sysctl.d/9.conf": "vm.swappiness = 1\n"})
	to.Digest, to.Brought = "sha256:"+strings.Repeat("e", 64), []runtime.Object{{Kind: "Old", Name: "o"}}
	x.Env = map[string]string{"TZ": "UTC"}
	life, err := runtime.New(x, plain{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := life.Upgrade(to)
	if err != nil {
		t.Fatal(err)
	}
	var steps strings.Builder
	if _, err := plan.WriteTo(&steps); err != nil {
		t.Fatal(err)
	}
	last := 0
	for _, want := range []string{"set vm.swappiness=1", "write " + to.Rendered() + "/manifests/a.yaml", "-f " + to.Rendered() + "/manifests/a.yaml", "delete --ignore-not-found Old/o"} {
		at := strings.Index(steps.String(), want)
		if at < last {
			t.Errorf("%s is not there, or not in its place:\n%s", want, steps.String())
		}
		last = at
	}
}
