package find

import (
	"context"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// treeOf makes a tree of an archive of files.
func treeOf(archive string) fstest.MapFS {
	tree := fstest.MapFS{}
	for _, f := range txtar.Parse([]byte(archive)).Files {
		tree[f.Name] = &fstest.MapFile{Data: f.Data, Mode: 0o644}
	}
	return tree
}

const (
	deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: nginx
`
	pod = `apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {containers: [{name: p, image: 'pod:1'}]}
`
	crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: apps.example.com
spec:
  group: example.com
  versions:
  - name: v1
    schema:
      openAPIV3Schema: {type: object}
status:
- column: zero

# end
`
)

// TestWithoutSchemas tells what kustomize is spared.
func TestWithoutSchemas(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{pod, pod},
		{"spec: 1\n---\n" + crd + "---\n" + pod, "spec: 1\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: apps.example.com\n" + strings.Repeat("\n", 10) + "---\n" + pod},
		{"spec:\n  a: b\nkind: x\nkind: CustomResourceDefinition", "\n\nkind: x\nkind: CustomResourceDefinition"},
	} {
		if diff := cmp.Diff(c.want, string(withoutSchemas([]byte(c.text)))); diff != "" {
			t.Error(diff)
		}
	}
}

// TestKustomizations looks into trees with kustomizations: what is found, what
// the user is told and what fails.
func TestKustomizations(t *testing.T) {
	for _, c := range []struct{ name, tree, want, notes, err string }{
		{
			name: "resources and images",
			tree: "-- manifests/app/kustomization.yaml --\nresources: [web.yaml, ../pod.yaml]\nimages:\n- name: nginx\n  newName: registry.example.com/nginx\n  newTag: '1.25'\n" +
				"-- manifests/app/web.yaml --\n" + deployment +
				"-- manifests/pod.yaml --\n" + pod +
				"-- manifests/app/unused.yaml --\n" + strings.ReplaceAll(pod, "pod:1", "unused:1"),
			want: "manifests/app/kustomization.yaml:3: manifests/app/web.yaml:11 registry.example.com/nginx:1.25\n" +
				"manifests/app/kustomization.yaml: manifests/pod.yaml:4 docker.io/library/pod:1\n" +
				"manifests/app/unused.yaml:4 docker.io/library/unused:1",
		},
		{
			name: "overlay of a base, with a prefix and a new container",
			tree: "-- manifests/over/kustomization.yml --\nresources: [../base]\nnamePrefix: x-\npatches:\n- path: more.yaml\n- patch: |\n    {apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {template: {spec: {initContainers: [{name: i, image: 'inline:1'}]}}}}\n" +
				"-- manifests/over/more.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [\n  {name: side, image: 'side:1'}]}}}\n" +
				"-- manifests/base/Kustomization --\nkind: Kustomization\nresources:\n- web.yaml\n" +
				"-- manifests/base/web.yaml --\n" + deployment,
			want: "manifests/over/kustomization.yml: manifests/over/more.yaml:5 docker.io/library/side:1\n" +
				"manifests/over/kustomization.yml: manifests/base/web.yaml:11 docker.io/library/nginx:latest\n" +
				"manifests/over/kustomization.yml docker.io/library/inline:1",
		},
		{
			name: "old fields",
			tree: "-- manifests/over/kustomization.yaml --\nbases: [../base]\ncommonLabels: {a: b}\npatchesStrategicMerge:\n- web.yaml\n- |-\n  {apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: p, image: 'inline:1'}]}}\n" +
				"patchesJson6902:\n- target: {kind: Deployment, name: web, version: v1, group: apps}\n  path: op.json\nimageTags: [{name: a, newTag: b}]\nconfigMapGenerator: [{name: e, env: e.env}]\n" +
				"-- manifests/over/web.yaml --\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: b, image: 'b:1'}]}}}\n" +
				"-- manifests/over/op.json --\n[{\"op\": \"add\", \"path\": \"/spec/template/spec/containers/-\", \"value\": {\"name\": \"op\", \"image\": \"op:1\"}}]\n" +
				"-- manifests/over/e.env --\nA=B\n" +
				"-- manifests/base/kustomization.yaml --\nresources: [web.yaml, pod.yaml]\n" +
				"-- manifests/base/web.yaml --\n" + deployment + "-- manifests/base/pod.yaml --\n" + pod,
			want: "manifests/over/kustomization.yaml: manifests/over/web.yaml:4 docker.io/library/b:1\n" +
				"manifests/over/kustomization.yaml: manifests/base/web.yaml:11 docker.io/library/nginx:latest\n" +
				"manifests/over/kustomization.yaml docker.io/library/op:1\n" +
				"manifests/over/kustomization.yaml: manifests/base/pod.yaml:4 docker.io/library/inline:1",
		},
		{
			name: "images of config maps are data, generators read files",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\nconfigMapGenerator:\n- name: c\n  files: [x=data/deploy.yaml, bin]\n  envs: [e]\ngenerators: [gen.yaml]\n" +
				"-- manifests/gen.yaml --\napiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: g}\nfiles: [data/more.txt]\n-- manifests/data/more.txt --\nx\n" +
				"-- manifests/data/deploy.yaml --\n" + deployment + "-- manifests/bin --\nx\n-- manifests/e --\nA=B\n-- manifests/pod.yaml --\n" + pod,
			want: "manifests/kustomization.yaml: manifests/pod.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "replacement from a config map",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\nconfigMapGenerator:\n- name: versions\n  literals: [pod=replaced:2]\nreplacements:\n- path: r.yaml\n" +
				"-- manifests/r.yaml --\nsource: {kind: ConfigMap, name: versions, fieldPath: data.pod}\ntargets:\n- select: {kind: Pod}\n  fieldPaths: [\"spec.containers.[name=p].image\"]\n" +
				"-- manifests/pod.yaml --\n" + pod,
			want: "manifests/kustomization.yaml: manifests/pod.yaml:4 docker.io/library/replaced:2",
		},
		{
			name: "component",
			tree: "-- manifests/app/kustomization.yaml --\nresources: [pod.yaml]\ncomponents: [../comp]\n-- manifests/app/pod.yaml --\n" + pod +
				"-- manifests/comp/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [web.yaml]\n-- manifests/comp/web.yaml --\n" + deployment +
				"-- manifests/lonely/kustomization.yaml --\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources: [../x.yaml]\n-- manifests/x.yaml --\n" + pod,
			want: "manifests/app/kustomization.yaml: manifests/comp/web.yaml:11 docker.io/library/nginx:latest\n" +
				"manifests/app/kustomization.yaml: manifests/app/pod.yaml:4 docker.io/library/pod:1",
			notes: "manifests/lonely/kustomization.yaml is a component that no kustomization here refers to: its images are not collected",
		},
		{
			name: "a base outside of manifests",
			tree: "-- manifests/kustomization.yaml --\nresources: [../deploy]\n-- deploy/kustomization.yaml --\nresources: [pod.yaml]\n-- deploy/pod.yaml --\n" + pod,
			want: "manifests/kustomization.yaml: deploy/pod.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "names that kustomize has trouble with",
			tree: "-- manifests/a+b c/kustomization.yaml --\nresources: [../1.21+, ../empty.yaml]\n-- manifests/1.21+/kustomization.yaml --\nresources: [p+d.yaml]\n-- manifests/1.21+/p+d.yaml --\n" + pod + "-- manifests/empty.yaml --\n",
			want: "manifests/a+b c/kustomization.yaml: manifests/1.21+/p+d.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "a patch of an image has the line of the patch",
			tree: "-- manifests/kustomization.yaml --\nresources: [a.yaml]\npatches: [{path: z.yaml}]\n-- manifests/a.yaml --\n" + pod +
				"-- manifests/z.yaml --\n\n" + strings.ReplaceAll(pod, "pod:1", "pod:2"),
			want: "manifests/kustomization.yaml: manifests/z.yaml:5 docker.io/library/pod:2",
		},
		{
			name: "vars in an image",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\nconfigMapGenerator:\n- name: v\n  literals: [tag=3]\n" +
				"vars:\n- name: TAG\n  objref: {kind: ConfigMap, name: v, apiVersion: v1}\n  fieldref: {fieldpath: data.tag}\nconfigurations: [c.yaml]\n" +
				"-- manifests/c.yaml --\nvarReference:\n- {path: spec/containers/image, kind: Pod}\n-- manifests/pod.yaml --\n" + strings.ReplaceAll(pod, "pod:1", "pod:$(TAG)"),
			want: "manifests/kustomization.yaml docker.io/library/pod:3",
		},
		{
			name: "specs of definitions are left out",
			tree: "-- manifests/kustomization.yaml --\nresources: [all.yaml]\npatches: [{path: p.yaml}]\n" +
				"-- manifests/all.yaml --\n" + pod + "---\n" + crd + "---\n" + deployment +
				"-- manifests/p.yaml --\n" + crd,
			want: "manifests/kustomization.yaml: manifests/all.yaml:31 docker.io/library/nginx:latest\n" +
				"manifests/kustomization.yaml: manifests/all.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "but for a patch that needs them",
			tree: "-- manifests/kustomization.yaml --\nresources: [crd.yaml, pod.yaml]\npatches:\n- target: {kind: CustomResourceDefinition}\n  patch: '[{\"op\": \"remove\", \"path\": \"/spec/versions/0/schema\"}]'\n" +
				"-- manifests/crd.yaml --\n" + crd + "-- manifests/pod.yaml --\n" + pod,
			want: "manifests/kustomization.yaml: manifests/pod.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "remote resource",
			tree: "-- manifests/kustomization.yaml --\nresources:\n- pod.yaml\n- https://example.com/install.yaml\n-- manifests/pod.yaml --\n" + pod,
			err:  "manifests/kustomization.yaml:3: https://example.com/install.yaml is fetched from elsewhere, and nothing is fetched to look for images: put a copy below manifests/ and refer to that, or name the kustomization in .imageignore and its images in manifests/imageList",
		},
		{
			name: "remote base of a base",
			tree: "-- manifests/a/kustomization.yaml --\nresources: [../b]\n-- manifests/b/kustomization.yaml --\nresources: ['github.com/example/repo//deploy?ref=v1']\n",
			err:  "manifests/b/kustomization.yaml:1: github.com/example/repo//deploy?ref=v1 is fetched",
		},
		{
			name: "remote patch in the configuration of a transformer",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\ntransformers:\n- t.yaml\n-- manifests/t.yaml --\napiVersion: builtin\nkind: PatchTransformer\nmetadata: {name: p}\npath: http://127.0.0.1:1/p.yaml\n-- manifests/pod.yaml --\n" + pod,
			err:  "manifests/t.yaml:4: http://127.0.0.1:1/p.yaml is fetched",
		},
		{
			name: "remote file of an inline generator",
			tree: "-- manifests/kustomization.yaml --\ngenerators:\n- |-\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: g}\n  files: ['a=git@example.com:x/y']\n",
			err:  "manifests/kustomization.yaml:2: git@example.com:x/y is fetched",
		},
		{
			name: "charts",
			tree: "-- manifests/kustomization.yaml --\nhelmCharts:\n- name: web\n  repo: https://charts.example.com\n",
			err:  "manifests/kustomization.yaml:2: charts of a kustomization are not rendered: put the chart into charts/",
		},
		{
			name: "programs",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\ntransformers: [t.yaml]\n-- manifests/t.yaml --\napiVersion: example.com/v1\nkind: Program\nmetadata:\n  name: t\n  annotations: {config.kubernetes.io/function: 'exec: {path: ./program}'}\n-- manifests/program --\n-- manifests/pod.yaml --\n" + pod,
			err:  "manifests/kustomization.yaml: ",
		},
		{
			name: "missing file",
			tree: "-- manifests/kustomization.yaml --\nresources: [none.yaml]\n",
			err:  "manifests/kustomization.yaml: accumulating resources: ",
		},
		{
			name: "unknown field",
			tree: "-- manifests/kustomization.yaml --\nresource: [a.yaml]\n",
			err:  "manifests/kustomization.yaml: ",
		},
		{
			name: "no YAML",
			tree: "-- manifests/kustomization.yaml --\nresources:\n- a\n b\n\tc\n",
			err:  "manifests/kustomization.yaml:2: no YAML: ",
		},
		{
			name: "those that refer to each other",
			tree: "-- manifests/a/kustomization.yaml --\nresources: [../b]\n-- manifests/b/kustomization.yaml --\nresources: [../a]\n",
			err:  "cycle",
		},
		{
			name: "bad schema",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\nopenapi: {path: s.json}\npatches: [{path: pod.yaml}]\n-- manifests/s.json --\n{{{\n-- manifests/pod.yaml --\n" + pod,
			err:  "manifests/kustomization.yaml: ",
		},
		{
			name: "bad image",
			tree: "-- manifests/kustomization.yaml --\nresources: [pod.yaml]\nimages: [{name: pod, newName: Pod}]\n-- manifests/pod.yaml --\n" + pod,
			err:  `manifests/kustomization.yaml: image reference "Pod:1"`,
		},
		{
			name: "ignored",
			tree: "-- .imageignore --\nmanifests/kustomization.yaml\n-- manifests/kustomization.yaml --\nresources: ['https://example.com/x']\n-- manifests/pod.yaml --\n" + pod,
			want: "manifests/pod.yaml:4 docker.io/library/pod:1",
		},
		{
			name: "an ignored part",
			tree: "-- .imageignore --\nmanifests/pod.yaml\n-- manifests/kustomization.yaml --\nresources: [pod.yaml, web.yaml]\n-- manifests/pod.yaml --\n" + pod + "-- manifests/web.yaml --\n" + deployment,
			want: "manifests/kustomization.yaml: manifests/web.yaml:11 docker.io/library/nginx:latest",
		},
		{
			name: "Flux has the same kind",
			tree: "-- manifests/kustomization.yaml --\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\nspec: {path: ./a}\n-- manifests/pod.yaml --\n" + pod,
			want: "manifests/pod.yaml:4 docker.io/library/pod:1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var notes []string
			images, err := Images(context.Background(), treeOf(c.tree), Options{Note: func(s string) { notes = append(notes, s) }})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("%q is not in %v", c.err, err)
			}
			if err != nil && strings.Contains(err.Error(), "'/manifests") {
				t.Errorf("a path of nowhere: %v", err)
			}
			if diff := cmp.Diff(c.want, strings.Join(texts(images), "\n")); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.notes, strings.Join(notes, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
