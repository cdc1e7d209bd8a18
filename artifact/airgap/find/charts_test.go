package find

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
)

// TestCharts looks into each folder of testdata/charts, a tree, and compares
// what is found, noted and wrong with its file want; -update writes it. The
// files kubernetes and environment hold options.
func TestCharts(t *testing.T) {
	dirs, err := filepath.Glob("testdata/charts/*")
	if err != nil || len(dirs) == 0 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			got := lookInto(t, os.DirFS(dir))
			if *update {
				if err := os.WriteFile(filepath.Join(dir, "want"), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(filepath.Join(dir, "want"))
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// lookInto writes what is found in the charts of a tree.
func lookInto(t *testing.T, tree fs.FS) string {
	t.Helper()
	var notes []string
	o := Options{Note: func(text string) { notes = append(notes, text) }}
	if version, err := fs.ReadFile(tree, "kubernetes"); err == nil {
		o.KubeVersion = strings.TrimSpace(string(version))
	}
	if env, err := fs.ReadFile(tree, "environment"); err == nil {
		name, value, _ := strings.Cut(strings.TrimSpace(string(env)), "=")
		o.Env = map[string]string{name: value}
	}
	skip, err := readIgnore(tree, nil)
	if err != nil {
		t.Fatal(err)
	}
	images, err := inCharts(context.Background(), tree, skip, o)
	lines := texts(images)
	for _, text := range notes {
		lines = append(lines, "note: "+text)
	}
	if err != nil {
		lines = append(lines, "error: "+strings.ReplaceAll(err.Error(), "\n", "\nerror: "))
	}
	return strings.Join(lines, "\n") + "\n"
}

// packing are the files of an archive: name, content.
type packing [][2]string

// pack returns the archive of a chart.
func pack(t *testing.T, files packing) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// aChart is Chart.yaml of a chart.
func aChart(name string) string { return "apiVersion: v2\nname: " + name + "\nversion: 1.0.0\n" }

// aPod is a template with one image, in its third line.
func aPod(image string) string {
	return "apiVersion: v1\nkind: Pod\nspec: {containers: [{image: '" + image + "'}]}\n"
}

func TestPackedCharts(t *testing.T) {
	inner := pack(t, packing{{"inner/Chart.yaml", aChart("inner")}, {"inner/templates/a.yaml", aPod("inner:{{ .Values.tag }}")}, {"inner/values.yaml", "tag: 1"}})
	app := pack(t, packing{
		{"app/Chart.yaml", aChart("app")},
		{"app/values.yaml", "a: own:1\nb: own:1\nc: own:1\n"},
		{"app/templates/a.yaml", aPod("{{ .Values.a }}")},
		{"app/templates/b.yaml", "# {{ .Chart.Name }}\n" + aPod("{{ .Values.b }}")},
		{"app/templates/c.yaml", aPod("{{ .Values.c }}")},
		{"app/charts/inner-1.0.0.tgz", string(inner)},
		{"app/charts/inner-1.0.0.tgz.prov", "signed"},
		{"app/charts/README.md", "none"},
		{"app/charts/other/Chart.yaml", aChart("other")},
		{"app/charts/other/templates/a.yaml", aPod("other:1")},
	})
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
	got := lookInto(t, fstest.MapFS{
		"charts/app-1.0.0.tgz":         {Data: app},
		"charts/app-1.0.0.tgz.prov":    file("signed"),
		"charts/app.values.yaml":       file("a: beside:1\nb: beside:1\n"),
		"charts/app-1.0.0.values.yaml": file("a: version:1\n"),
		"charts/app.values":            file("inner.tag=2\n"),
		"charts/a/b/more.tar.gz":       {Data: pack(t, packing{{"x/Chart.yaml", aChart("more")}, {"x/templates/a.yaml", aPod("more:1")}})},
	})
	want := `charts/a/b/more.tar.gz!x/templates/a.yaml:3 docker.io/library/more:1
charts/app-1.0.0.tgz!app/charts/inner-1.0.0.tgz!inner/templates/a.yaml:3 docker.io/library/inner:2
charts/app-1.0.0.tgz!app/charts/other/templates/a.yaml:3 docker.io/library/other:1
charts/app-1.0.0.tgz!app/templates/a.yaml:3 docker.io/library/version:1
charts/app-1.0.0.tgz!app/templates/b.yaml:4 docker.io/library/beside:1
charts/app-1.0.0.tgz!app/templates/c.yaml:3 docker.io/library/own:1
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPackedChartsThatAreNone(t *testing.T) {
	good := pack(t, packing{{"app/Chart.yaml", aChart("app")}, {"app/templates/a.yaml", aPod("a:1")}})
	zeros := strings.Repeat("\x00", maxChart+1)
	bomb := pack(t, packing{{"app/Chart.yaml", aChart("app")}, {"app/zeros", zeros}})
	half := pack(t, packing{{"half/Chart.yaml", aChart("half")}, {"half/zeros", zeros[:maxChart/2]}})
	tests := []struct {
		name, want string
		raw        []byte
	}{
		{"text", "no packed chart: gzip: invalid header", []byte("apiVersion: v2\n")},
		{"empty", "no packed chart", nil},
		{"truncated", "no packed chart: unexpected EOF", good[:len(good)/2]},
		{"nothing in it", "no files in chart archive", pack(t, nil)},
		{"no chart", "charts/app.tgz!data: no chart: it has no Chart.yaml", pack(t, packing{{"data/x", "y"}})},
		{"no folder", "chart yaml not in base directory", pack(t, packing{{"Chart.yaml/x", aChart("app")}})},
		{"parent", "illegally", pack(t, packing{{"app/Chart.yaml", aChart("app")}, {"app/../../etc/passwd", "x"}})},
		{"absolute", "illegally", pack(t, packing{{"app//etc/passwd", "x"}})},
		{"other system", "illegally", pack(t, packing{{`app\..\..\etc`, "x"}})},
		{"bomb", "its files have more than 64 MiB", bomb},
		{"bomb inside", "app/charts/b.tgz: its files have more than 64 MiB", pack(t, packing{
			{"app/Chart.yaml", aChart("app")}, {"app/charts/a.tgz", string(half)}, {"app/charts/b.tgz", string(half)}})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := lookInto(t, fstest.MapFS{"charts/app.tgz": {Data: tt.raw}})
			if !strings.HasPrefix(got, "error: charts/app.tgz") || !strings.Contains(got, tt.want) || !strings.Contains(got, "name charts/app.tgz in .imageignore") {
				t.Errorf("got %s", got)
			}
			if strings.Count(got, "\n") != 1 {
				t.Errorf("one chart has one error: %s", got)
			}
		})
	}
}

func TestChartOfTooMuch(t *testing.T) {
	got := lookInto(t, fstest.MapFS{
		"charts/big/Chart.yaml": {Data: []byte(aChart("big"))},
		"charts/big/video":      {Data: make([]byte, maxChart+1)},
	})
	if !strings.Contains(got, "charts/big: its files have more than 64 MiB: name what is no part of it in its .helmignore") {
		t.Error(got)
	}
}

func TestChartsFollowLinks(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("lib/Chart.yaml", aChart("lib"))
	write("lib/templates/pod.yaml", aPod("lib:1"))
	write("charts/app/Chart.yaml", aChart("app"))
	write("charts/app/charts/.keep", "")
	link("../../../lib", "charts/app/charts/lib")
	link("../lib", "charts/linked")
	link("nowhere", "charts/dangling")
	want := "charts/app/charts/lib/templates/pod.yaml:3 docker.io/library/lib:1\ncharts/linked/templates/pod.yaml:3 docker.io/library/lib:1\n"
	if diff := cmp.Diff(want, lookInto(t, os.DirFS(dir))); diff != "" {
		t.Error(diff)
	}
	link(".", "charts/app/round")
	link("..", "charts/app/about")
	if got := lookInto(t, os.DirFS(dir)); !strings.Contains(got, "error: charts/app: ") || !strings.Contains(got, "charts/linked/templates/pod.yaml:3") {
		t.Error(got)
	}
	link(".", "charts/round")
	link(".", "charts/about")
	if got := lookInto(t, os.DirFS(dir)); !strings.Contains(got, "error: look for charts: ") {
		t.Error(got)
	}
}

// TestChartsOfManyLinks has 15 folders, each with two links to the next one, that
// make 32,767 of them. Systems follow 40 links at most.
func TestChartsOfManyLinks(t *testing.T) {
	dir := t.TempDir()
	for i := range 14 {
		for _, name := range []string{"a", "b"} {
			at := filepath.Join(dir, "many", strconv.Itoa(i), name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink("../"+strconv.Itoa(i+1), at)); err != nil {
				t.Fatal(err)
			}
		}
	}
	app := filepath.Join(dir, "charts", "app")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, "many", "14"), 0o755), os.MkdirAll(app, 0o755),
		os.WriteFile(filepath.Join(app, "Chart.yaml"), []byte(aChart("app")), 0o644), os.Symlink("../../many/0", filepath.Join(app, "many"))); err != nil {
		t.Fatal(err)
	}
	if got := lookInto(t, os.DirFS(dir)); !strings.Contains(got, "error: charts/app: more than 10000 files; or name charts/app") {
		t.Error(got)
	}
	if err := errors.Join(os.Remove(filepath.Join(app, "many")), os.Symlink("../many/0", filepath.Join(dir, "charts", "many"))); err != nil {
		t.Fatal(err)
	}
	if got := lookInto(t, os.DirFS(dir)); !strings.Contains(got, "error: look for charts: ") {
		t.Error(got)
	}
}

func TestChartsStopWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stop := errors.New("enough")
	cancel(stop)
	_, err := inCharts(ctx, os.DirFS("testdata/charts/defaults"), nil, Options{})
	if !errors.Is(err, stop) {
		t.Error(err)
	}
}

func TestChartsWantAVersion(t *testing.T) {
	_, err := inCharts(context.Background(), fstest.MapFS{}, nil, Options{KubeVersion: "latest"})
	if err == nil || !strings.Contains(err.Error(), "charts: version of Kubernetes: ") {
		t.Error(err)
	}
}

// TestLinesOfTemplates renders templates in which a text says in which line it
// is, from texts, values and named templates.
func TestLinesOfTemplates(t *testing.T) {
	const q = "`"
	tests := []struct {
		name, text string
		want       []int // for each rendered line
	}{
		{"text", "1\n2\n\n4", []int{1, 2, 0, 4}},
		{"no text", "", []int{0}},
		{"carriage returns", "1\r\n2\r\n", []int{1, 2, 0}},
		{"actions", "{{ 1 }}\n{{ 2 }} 2\n  {{ 3 }}", []int{1, 2, 3}},
		{"actions that remove blanks", "1\n\n{{- if true }}\n4\n{{- end -}}\n\n  7\n{{- 8 }}", []int{1, 4}},
		{"several lines of a value", "1\n{{- list 1 2 | toYaml | nindent 2 }}\n3", []int{1, 2, 2, 3}},
		{"branches", "{{ if false }}\n2\n{{ else if true }}\n4\n{{- else }}\n6\n{{ end }}", []int{0, 4}},
		{"loops", "{{ range $i := until 2 -}}\n2\n{{ else }}\n4\n{{ end -}}", []int{2, 2, 0}},
		{"with", "{{ with .Values.none }}{{ else }}\n2\n{{ end }}", []int{0, 2, 0}},
		{"comments", "{{/* 1\n2 {{ */}}3\n{{- /* 3 */ -}}\n4", []int{2}},
		{"strings", "{{ \"{{\" }}\n{{ " + q + "2 {{\n3" + q + " }}\n4", []int{1, 2, 2, 4}},
		{"strings before actions", "{{ $x := \"{{\" }}{{ $x }}\n{{- \"{{- 2\" | nindent 0 }}\n3", []int{1, 2, 3}},
		{"named templates", "{{ define \"a\" }}2\n2{{ end }}\n2\n{{ template \"a\" }}\n{{- include \"a\" . | nindent 2 }}", []int{0, 3, 4, 4, 5, 5}},
		{"named templates after blanks", "{{ define \"n\" }}\n2{{ end }}1\n{{- template \"n\" }}", []int{2, 3}},
		{"blocks", "1\n{{ block \"b\" . }}2\n3{{ end }}\n4", []int{1, 2, 2, 4}},
		{"variables", "{{- $a := 1 -}}\n{{ $a = 2 }}{{ $a }}\n3", []int{2, 3}},
		{"not ASCII", "é\n{{ \"ü\" }}ä\n\U0001F600", []int{1, 2, 3}},
		{"not UTF-8", "1\n\xff\n3", []int{1, 2, 3}},
		{"what looks like a mark", "1\n⟦7⟧2\n3", []int{1, 0, 3}},
		{"the size of another one", "1\n{{ include (print .Template.BasePath \"/b.yaml\") . | len }}\n3", []int{1, 0, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{
				"charts/a/Chart.yaml":       {Data: []byte(aChart("a"))},
				"charts/a/templates/a.yaml": {Data: []byte(tt.text)},
				"charts/a/templates/b.yaml": {Data: []byte("b")},
			}
			places := map[*common.File]string{}
			s := &chartSearch{tree: tree, capabilities: common.DefaultCapabilities}
			r := &rendering{search: s, at: "charts/a"}
			var err error
			if r.files, err = s.readChart("charts/a"); err != nil {
				t.Fatal(err)
			}
			c, err := r.files.load(places)
			if err != nil {
				t.Fatal(err)
			}
			_, texts, err := r.template(context.Background(), c, places)
			if err != nil {
				t.Fatal(err)
			}
			const name = "a/templates/a.yaml"
			if diff := cmp.Diff(tt.want, linesOf(texts[name], r.templateMarked(context.Background())[name])); diff != "" {
				t.Errorf("%s\n%q", diff, r.templateMarked(context.Background())[name])
			}
		})
	}
}
