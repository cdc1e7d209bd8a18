package clusterfile_test

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

var update = flag.Bool("update", false, "write the wanted files of testdata and the schema in docs anew")

// golden compares with a file, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-update writes it):\n%s", file, diff)
	}
}

func inputs(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	found, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(found) == 0 {
		t.Fatal(found, err)
	}
	out := map[string][]byte{}
	for _, name := range found {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// again parses what Format writes of a document, which is the document.
func again(t *testing.T, d *clusterfile.Document) []byte {
	t.Helper()
	text, err := clusterfile.Format(d)
	if err != nil {
		t.Fatal(err)
	}
	back, err := clusterfile.Parse("again", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if diff := cmp.Diff(plain(d), plain(back)); diff != "" {
		t.Errorf("what was written is read otherwise:\n%s\n%s", diff, text)
	}
	return text
}

// plain is a document without what writing it may change.
func plain(d *clusterfile.Document) clusterfile.Document {
	out := *d
	out.Others = nil
	for _, o := range d.Others {
		o.Line, o.Raw = 0, strings.TrimLeft(strings.TrimRight(o.Raw, "\n"), " \n")
		out.Others = append(out.Others, o)
	}
	// an empty list says what no list says
	for i := range out.Spec.Hosts {
		if len(out.Spec.Hosts[i].Taints) == 0 {
			out.Spec.Hosts[i].Taints = nil
		}
	}
	if len(out.Spec.Taints) == 0 {
		out.Spec.Taints = nil
	}
	return out
}

func TestGoodClusterfilesAreReadAndWrittenBack(t *testing.T) {
	for name, text := range inputs(t, "good") {
		d, err := clusterfile.Parse(filepath.Base(name), text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		golden(t, strings.TrimSuffix(name, ".yaml")+".want", again(t, d))
	}
}

func TestMistakesAreToldTogetherWithTheirLines(t *testing.T) {
	for name, text := range inputs(t, "bad") {
		d, err := clusterfile.Parse(filepath.Base(name), text)
		var all clusterfile.Errors
		if !errors.As(err, &all) || d != nil {
			t.Errorf("%s: %v, %v", name, d, err)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats a secret:\n%v", name, err)
		}
		golden(t, strings.TrimSuffix(name, ".yaml")+".err", append([]byte(err.Error()), '\n'))
	}
}

func TestDocumentsOfDistributionsAreKeptAsTheyStand(t *testing.T) {
	text := inputs(t, "good")["testdata/good/with-documents-of-distributions.yaml"]
	d, err := clusterfile.Parse("x", text)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range d.Others {
		kinds = append(kinds, o.APIVersion+"/"+o.Kind)
		if !bytes.Contains(text, []byte(strings.TrimSpace(o.Raw))) {
			t.Errorf("not as it stood: %q", o.Raw)
		}
	}
	want := []string{"kubeadm.k8s.io/v1beta4/ClusterConfiguration", "k0s.k0sproject.io/v1beta1/ClusterConfig", "/", "kubelet.config.k8s.io/v1beta1/KubeletConfiguration"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Error(diff)
	}
	if d.Others[1].Line != 19 {
		t.Errorf("the second document begins in line %d", d.Others[1].Line)
	}
}

func TestALargeOrDeepFileIsAnError(t *testing.T) {
	head := "apiVersion: sealrt.io/v1\nkind: Cluster\nspec:\n  config:\n  - path: x\n    data:\n"
	bomb := head + "      a: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += "      " + string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 10), ",") + "]\n"
	}
	for name, text := range map[string]string{
		"aliases of aliases": bomb,
		"a large file":       strings.Repeat("# comment\n", 1<<20),
		"an alias of itself": head + "      a: &a [*a]\n",
	} {
		if _, err := clusterfile.Parse("x", []byte(text)); err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		for _, text := range inputs(f, dir) {
			f.Add(text)
		}
	}
	check := schema(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := clusterfile.Parse("f", text)
		if err != nil {
			return
		}
		out, err := clusterfile.Format(d)
		if err != nil {
			t.Fatal(err)
		}
		alone, err := clusterfile.Format(&clusterfile.Document{File: d.File})
		if err != nil {
			t.Fatal(err)
		}
		if err := check(string(alone)); err != nil {
			t.Fatalf("the schema refuses it: %v\n%s", err, alone)
		}
		back, err := clusterfile.Parse("f", out)
		if err != nil {
			t.Fatalf("what Format wrote is refused: %v\n%s", err, out)
		}
		twice, err := clusterfile.Format(back)
		if err != nil || !bytes.Equal(out, twice) {
			t.Fatalf("written twice it differs: %v\n%s\n%s", err, out, twice)
		}
	})
}
