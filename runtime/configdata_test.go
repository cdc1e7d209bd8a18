package runtime_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// treeImage is an image of files; those whose content begins with #! are programs.
func treeImage(name, kind string, files map[string]string) runtime.Image {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		panic(err)
	}
	i := runtime.Image{
		Ref: ref, Digest: "sha256:" + strings.Repeat(string("0123456789abcdef"[len(name)%16]), 64),
		Kind: artifact.Kind{Type: kind, Distro: map[bool]string{true: "fake"}[kind == artifact.TypeRootfs], Version: "v1"},
	}
	tree := fstest.MapFS{}
	for p, text := range files {
		tree[p] = &fstest.MapFile{Data: []byte(text), Mode: 0o644}
	}
	i.Files = tree
	err = fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			i.Paths = append(i.Paths, p)
			if strings.HasPrefix(files[p], "#!") {
				i.Programs = append(i.Programs, p)
			}
		}
		return err
	})
	if err != nil {
		panic(err)
	}
	return i
}

func clusterOf(images ...runtime.Image) *runtime.Cluster {
	return &runtime.Cluster{Name: "test", Images: images, Members: []runtime.Member{memberA, memberB}}
}

func rootfs(files map[string]string) runtime.Image {
	return treeImage("k3s:v1", artifact.TypeRootfs, files)
}

func TestConfigDocumentsAreMergedIntoFiles(t *testing.T) {
	type data = map[string]any
	for name, c := range map[string]struct {
		path, file, strategy string
		data                 data
		want, wrong          string
	}{
		"YAML keeps its order and comments": {
			path: "etc/a.yaml", file: "# top\nz: 1 # last letter\nm:\n  keep: yes\n  drop: 1\nlist: [a, b]\n",
			data: data{"m": data{"drop": nil, "more": false, "empty": ""}, "list": []any{"c"}, "n": float64(10000000), "r": 0.5},
			want: "# top\nz: 1 # last letter\nm:\n  keep: yes\n  empty: \"\"\n  more: false\nlist:\n  - c\n\"n\": 10000000\nr: 0.5\n",
		},
		"a map takes the place of a word": {path: "etc/a.yml", file: "a: word\n", data: data{"a": data{"b": "c", "gone": nil}}, want: "a:\n  b: c\n"},
		"what an anchor means elsewhere stays": {
			path: "etc/a.yaml", file: "one: &x {k: 1}\ntwo: *x\n", data: data{"two": data{"k": 2}}, want: "one: &x {k: 1}\ntwo: {k: 2}\n",
		},
		"the document of the same kind": {
			path: "etc/a.yaml", file: "kind: A\nx: 1\n---\nkind: B\nx: 1\n", data: data{"kind": "B", "x": 2}, want: "kind: A\nx: 1\n---\nkind: B\nx: 2\n",
		},
		"a document of a new kind":   {path: "etc/a.yaml", file: "kind: A\n---\nkind: B\n", data: data{"kind": "C", "x": 2}, want: "kind: A\n---\nkind: B\n---\nkind: C\nx: 2\n"},
		"an empty file":              {path: "etc/a.yaml", file: "", data: data{"x": true}, want: "x: true\n"},
		"a file of comments":         {path: "etc/a.yaml", file: "# nothing\n", data: data{"x": true}, want: "x: true\n"},
		"YAML replaced":              {path: "etc/a.yaml", file: "a: 1\n", strategy: "replace", data: data{"b": 2}, want: "b: 2\n"},
		"JSON":                       {path: "etc/daemon.json", file: `{"a": {"b": 1, "big": 12345678901234567890}, "c": 1}`, data: data{"a": data{"b": float64(2)}, "c": nil}, want: "{\n  \"a\": {\n    \"b\": 2,\n    \"big\": 12345678901234567890\n  }\n}\n"},
		"JSON replaced":              {path: "etc/daemon.json", file: `{"a": 1}`, strategy: "replace", data: data{}, want: "{}\n"},
		"TOML":                       {path: "etc/c.toml", file: "version = 3\n[plugins]\nx = 1\n", data: data{"plugins": data{"x": float64(2), "y": "z"}}, want: "version = 3\n\n[plugins]\n  x = 2\n  y = \"z\"\n"},
		"text":                       {path: "etc/a.conf", file: "old", strategy: "replace", data: data{"text": "new"}, want: "new"},
		"named as a template":        {path: "etc/a.yaml.tmpl", file: "a: 1\n", data: data{"a": 2}, want: "a: 2\n"},
		"text cannot be merged":      {path: "etc/a.conf", file: "old", data: data{"text": "new"}, wrong: "neither YAML, JSON nor TOML"},
		"text that is no string":     {path: "etc/a.conf", file: "old", strategy: "replace", data: data{"text": 1}, wrong: "data: {text: ...}"},
		"an unknown strategy":        {path: "etc/a.yaml", file: "a: 1\n", strategy: "append", data: data{}, wrong: `strategy "append"`},
		"several documents, no kind": {path: "etc/a.yaml", file: "kind: A\n---\nkind: B\n", data: data{"x": 2}, wrong: "kind: A or B"},
		"a list":                     {path: "etc/a.yaml", file: "- a\n", data: data{"x": 2}, wrong: "no map"},
		"broken JSON":                {path: "etc/a.json", file: "{", data: data{"x": 2}, wrong: "config of etc/a.json"},
	} {
		t.Run(name, func(t *testing.T) {
			x := clusterOf(rootfs(map[string]string{strings.TrimSuffix(c.path, ".tmpl"): c.file}))
			x.Config = []clusterfile.Config{{Path: c.path, Strategy: c.strategy, Data: c.data}}
			_, err := runtime.New(x, fakeDriver{})
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("error is %v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := x.ConfigFile(strings.TrimSuffix(c.path, ".tmpl"), memberA)
			if diff := cmp.Diff(c.want, string(got)); diff != "" || err != nil {
				t.Error(diff, err)
			}
			again, err := fs.ReadFile(x.Image().Files, strings.TrimSuffix(c.path, ".tmpl"))
			if diff := cmp.Diff(c.want, string(again)); diff != "" || err != nil {
				t.Error("whoever reads the tree sees another file", diff, err)
			}
		})
	}
}

func TestConfigOfATemplateGoesIntoWhatItBecomes(t *testing.T) {
	x := clusterOf(rootfs(map[string]string{"etc/a.yaml.tmpl": "host: {{ .Host.Hostname }}\nx: {{ 1 }}\n"}))
	x.Config = []clusterfile.Config{{Path: "etc/a.yaml", Data: map[string]any{"x": false}}}
	for _, name := range []string{"etc/a.yaml", "etc/a.yaml.tmpl"} {
		got, err := x.ConfigFile(name, memberB)
		if string(got) != "host: b\nx: false\n" || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := x.ConfigFile("etc/none.yaml", memberA); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestConfigForAFileThatNoImageHasNamesWhatIsLikeIt(t *testing.T) {
	for path, want := range map[string]string{
		"etc/k3.yaml":        "is etc/k3s.yaml meant?",
		"etc/k3s/k3s.yaml":   "is etc/k3s.yaml meant?",
		"etc/something.yaml": "sealrt inspect --files",
	} {
		x := clusterOf(rootfs(map[string]string{"etc/k3s.yaml.tmpl": "", "etc/registries.yaml": ""}))
		x.Config = []clusterfile.Config{{Path: path}}
		if _, err := runtime.New(x, fakeDriver{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}
