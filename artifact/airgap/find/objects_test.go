package find

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
)

var update = flag.Bool("update", false, "write what is found into the shapes")

// TestShapes looks into the objects that people have. Each file of
// testdata/shapes is one shape: a sentence, the text, and what is found in it,
// "line image"; "env" before a line is what only Options.EnvImages finds, "note"
// what the user is told, "error" what fails.
func TestShapes(t *testing.T) {
	names, err := filepath.Glob("testdata/shapes/*.txtar")
	if err != nil || len(names) < 60 {
		t.Fatalf("%d shapes, %v", len(names), err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil || len(a.Files) != 2 || len(a.Comment) == 0 {
				t.Fatalf("a comment, a text and what is wanted, not %d files: %v", len(a.Files), err)
			}
			got := shape(a.Files[0].Data)
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(a.Files[1].Data), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// shape returns what is found in a text, one line each.
func shape(text []byte) string {
	var b strings.Builder
	line := func(n int) string { return fmt.Sprint(n) }
	note := func(s string) { fmt.Fprintln(&b, "note", s) }
	images, err := inObjects(text, line, nil, Options{Note: note})
	without := map[airgap.Image]bool{}
	for _, i := range images {
		without[i] = true
		fmt.Fprintln(&b, i.Where, i.Ref)
	}
	more, eerr := inObjects(text, line, nil, Options{EnvImages: true})
	for _, i := range more {
		if !without[i] {
			fmt.Fprintln(&b, "env", i.Where, i.Ref)
		}
	}
	if err != nil {
		fmt.Fprintln(&b, "error", strings.ReplaceAll(err.Error(), "\n", "\nerror "))
	}
	if fmt.Sprint(err) != fmt.Sprint(eerr) {
		fmt.Fprintln(&b, errors.Join(errors.New("another error with EnvImages"), eerr))
	}
	return b.String()
}

// TestEncodings has what a file of testdata would lose in an editor.
func TestEncodings(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: a:1\n"
	wide := func(s string) string {
		b := []byte{0xff, 0xfe}
		for _, r := range utf16.Encode([]rune(s)) {
			b = append(b, byte(r), byte(r>>8))
		}
		return string(b)
	}
	for name, c := range map[string]struct{ text, want string }{
		"plain":           {pod, "6 docker.io/library/a:1\n"},
		"carriage return": {strings.ReplaceAll(pod+"---\n"+pod, "\n", "\r\n"), "6 docker.io/library/a:1\n13 docker.io/library/a:1\n"},
		"byte order mark": {"\ufeff" + pod, "6 docker.io/library/a:1\n"},
		"two of them":     {"\ufeff---\n" + pod + "---\n\ufeff" + pod, "7 docker.io/library/a:1\n14 docker.io/library/a:1\n"},
		"utf-16":          {wide(pod), "6 docker.io/library/a:1\n"},
		"no newline":      {strings.TrimSpace(pod), "6 docker.io/library/a:1\n"},
		"json stream": {"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"x\":\"\\ud83d\\ude00 \\/\",\n\"spec\":{\"containers\":[{\"image\":\"a:1\"}]}}\n\n" +
			"{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"spec\":{\"containers\":[\n{\"image\":\"b:1\"}]}}", "2 docker.io/library/a:1\n5 docker.io/library/b:1\n"},
		"empty":     {"", ""},
		"no text":   {"\x00\x01", "error 1: no YAML: control characters are not allowed: correct it, or name the file in .imageignore\n"},
		"half json": {"{\"apiVersion\":\"v1\",\n\"kind\":", "error 2: no YAML: did not find expected node content: correct it, or name the file in .imageignore\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, shape([]byte(c.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDocumentTooLarge(t *testing.T) {
	text := []byte("apiVersion: v1\nkind: Pod\nspec: {containers: [{image: a}]}\n---\n# " + strings.Repeat("x", maxDocument))
	images, err := inObjects(text, lineOf("f"), nil, Options{})
	if len(images) != 1 || err == nil || !strings.Contains(err.Error(), "f:4: a document of") {
		t.Errorf("got %v, %v", images, err)
	}
}

// TestObjectsIgnored has ignored text that is no reference.
func TestObjectsIgnored(t *testing.T) {
	skip, err := readIgnore(fstest.MapFS{}, []byte("$*\nghcr.io/example/*\nNginx\n"))
	if err != nil {
		t.Fatal(err)
	}
	text := `{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": "${IMAGE}"}, {"image": "Nginx"}, {"image": "ghcr.io/example/a:1"}, {"image": "b:1"}]}}
---
{"apiVersion": "example.com/v1", "kind": "A", "a": {"repository": "ghcr.io/example/a", "tag": "1"}, "image": "ghcr.io/example/c:1", "b": {"command": [], "image": "Nginx"}}`
	images, err := inObjects([]byte(text), lineOf("f"), skip, Options{Note: func(s string) { t.Error(s) }})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"f:1 docker.io/library/b:1"}, texts(images)); diff != "" {
		t.Error(diff)
	}
}

// TestObjectsLinear looks into texts that would take minutes if the time grew
// with the square of the size.
func TestObjectsLinear(t *testing.T) {
	many := func(n int, head, each, tail string) string { return head + strings.Repeat(each, n) + tail }
	nest := func(n int) string {
		return "apiVersion: example.com/v1\nkind: A\nspec: " + strings.Repeat("[", n) + strings.Repeat("]", n)
	}
	var merged strings.Builder // each merges the one before twice
	merged.WriteString("apiVersion: example.com/v1\nkind: A\na0: &a0 {x: 1}\n")
	for i := range 60 {
		fmt.Fprintf(&merged, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i)
	}
	for name, text := range map[string]string{
		"containers":    many(20_000, "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n", "  - {name: a, image: a}\n", ""),
		"documents":     many(20_000, "", "apiVersion: v1\nkind: Pod\n---\n", ""),
		"same key":      many(20_000, "apiVersion: example.com/v1\nkind: A\n", "image: a:1\n", ""),
		"empty images":  many(20_000, "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n", "  - {image: ''}\n", ""),
		"merges":        many(2_000, "apiVersion: example.com/v1\nkind: A\na: &a {image: 'a:1'}\nl:\n", "- {<<: [*a, *a, *a]}\n", ""),
		"templates":     many(20_000, "", "{{- a }}\n---\n", ""),
		"flow of depth": nest(5_000),
		"merged merges": merged.String(),
	} {
		t.Run(name, func(t *testing.T) {
			_, _ = inObjects([]byte(text), lineOf("f"), nil, Options{EnvImages: true, Note: func(string) {}})
		})
	}
}

// FuzzObjects looks for texts that stop the program, and for findings that are
// no references.
func FuzzObjects(f *testing.F) {
	names, err := filepath.Glob("testdata/shapes/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Count(string(text), "\n") + strings.Count(string(text), "\r") + 1
		where := func(line int) string {
			if line < 1 || line > 2*lines+1 {
				t.Errorf("line %d of %d", line, lines)
			}
			return fmt.Sprintf("f:%d", line)
		}
		images, _ := inObjects(text, where, nil, Options{EnvImages: true, Note: func(string) {}})
		for _, i := range images {
			if r, err := artifact.ParseReference(i.Ref.String()); err != nil || r != i.Ref {
				t.Errorf("%v: %v", i.Ref, err)
			}
		}
	})
}
