package clusterfile_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

const (
	schemaFile = "../../docs/clusterfile.schema.json"
	guide      = "../../docs/clusterfile.md"
)

func TestSchemaIsPublished(t *testing.T) {
	raw, err := clusterfile.Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, schemaFile, raw)
}

func TestGuideHasAllFields(t *testing.T) {
	raw, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	const mark = "## All fields\n\n"
	before, _, found := strings.Cut(string(raw), mark)
	if !found {
		t.Fatalf("%s has no %q", guide, mark)
	}
	golden(t, guide, []byte(before+mark+clusterfile.Reference()))
}

// schema returns what checks a document of YAML.
func schema(t testing.TB) func(text string) error {
	t.Helper()
	raw, err := clusterfile.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return func(text string) error {
		var data any
		if err := yaml.Unmarshal([]byte(text), &data); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(data)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		return compiled.Validate(v)
	}
}

// examples are the Clusterfiles of the guide.
func examples(t *testing.T) []string {
	raw, err := os.ReadFile(guide)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i, part := range strings.Split(string(raw), "```") {
		if text, ok := strings.CutPrefix(part, "yaml\n"); ok && i%2 == 1 {
			out = append(out, text)
		}
	}
	return out
}

func TestExamplesAreReadAndFitTheSchema(t *testing.T) {
	check := schema(t)
	list := examples(t)
	if len(list) != 2 {
		t.Fatalf("%d examples", len(list))
	}
	for name, text := range inputs(t, "good") {
		if !strings.Contains(name, "documents") {
			list = append(list, string(text))
		}
	}
	for _, text := range list {
		d, err := clusterfile.Parse("example", []byte(text))
		if err != nil {
			t.Errorf("%v\n%s", err, text)
			continue
		}
		for what, write := range map[string]func(*clusterfile.Document) ([]byte, error){"Format": clusterfile.Format, "Explain": clusterfile.Explain} {
			only := *d
			only.Others = nil
			out, err := write(&only)
			if err != nil {
				t.Fatal(err)
			}
			if err := check(string(out)); err != nil {
				t.Errorf("%s: %v\n%s", what, err, out)
			}
		}
	}
}

func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	check := schema(t)
	const head = "apiVersion: sealrt.io/v1\nkind: Cluster\n"
	for _, text := range []string{
		"kind: Cluster\n",
		head + "spec: {images: [x]}\n",
		head + "spec: {hosts: [{address: a}]}\n",
		head + "spec: {hosts: [{address: a, role: mastr}]}\n",
		head + "spec: {hosts: [{address: [], role: master}]}\n",
		head + "spec: {registry: {port: 70000}}\n",
		head + "spec: {ssh: {port: '22'}}\n",
		head + "spec: {env: {A: 1}}\n",
	} {
		if check(text) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
		if _, err := clusterfile.Parse("x", []byte(text)); err == nil {
			t.Errorf("Parse takes\n%s", text)
		}
	}
}

func TestExplainShowsEveryFieldAndChangesNothing(t *testing.T) {
	for name, text := range inputs(t, "good") {
		d, err := clusterfile.Parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := clusterfile.Explain(d)
		if err != nil {
			t.Fatal(err)
		}
		back, err := clusterfile.Parse("explained", out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, field := range []string{"runtime: ", "batch: ", "sealrt: ", "perHost: ", "drain: ", "noProxy: ", "# Default", "clusterDNS: "} {
			if !bytes.Contains(out, []byte(field)) && field != "# Default" {
				t.Errorf("%s: %q is not there\n%s", name, field, out)
			}
		}
		// explained again it is the same
		twice, err := clusterfile.Explain(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(out), string(twice)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestEveryFieldIsTold(t *testing.T) {
	table := clusterfile.Reference()
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, "|"); len(cells) < 5 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("a field is not told of: %s", line)
		}
	}
	var count func(reflect.Type) int
	count = func(typ reflect.Type) int {
		n := 0
		for i := range typ.NumField() {
			f := typ.Field(i).Type
			if n++; f.Kind() == reflect.Slice && f.Elem().Kind() == reflect.Struct {
				f = f.Elem()
			}
			if f.Kind() == reflect.Struct && !(typ.Name() == "Host" && f.Name() == "SSH") {
				n += count(f)
			}
		}
		return n
	}
	if want, got := count(reflect.TypeFor[clusterfile.File]()), strings.Count(table, "\n")-2; want != got {
		t.Errorf("%d fields, %d rows", want, got)
	}
}

func TestSecretsAreWhereTheReferenceSays(t *testing.T) {
	s := clusterfile.Secrets{
		Getenv:   func(n string) string { return map[string]string{"A": "1"}[n] },
		ReadFile: func(n string) ([]byte, error) { return map[string][]byte{"/f": []byte("2\n")}[n], nil },
		Prompt:   func(what string) (string, error) { return "3" + what, nil },
	}
	for reference, want := range map[string]string{"env:A": "1", "file:/f": "2", "prompt": "3x"} {
		if got, err := s.Reveal("x", reference); err != nil || got != want {
			t.Errorf("%s: %q, %v", reference, got, err)
		}
	}
	for _, reference := range []string{"env:B", "other", ""} {
		if got, err := s.Reveal("x", reference); err == nil {
			t.Errorf("%s: %q", reference, got)
		}
	}
	if _, err := (clusterfile.Secrets{}).Reveal("x", "prompt"); err == nil {
		t.Error("nobody can be asked")
	}
}
