package distros

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A driver says what is true of its distribution. What it says as another one
// does is no fact of it, and belongs into package runtime: the lines of runs of
// four, alike but for what things are called, may be this part of all lines.
const (
	runLength = 4
	mostAlike = 0.03
)

// codeLine is a line of code without its names and values.
type codeLine struct {
	file string
	at   int
	form string
}

func TestDriversShareNoCode(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	drivers := map[string][][]codeLine{}
	all := 0
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "distrotest" {
			continue
		}
		files, err := codeBelow(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			all += len(f)
		}
		drivers[e.Name()] = files
	}
	if len(drivers) < 3 {
		t.Fatalf("found the drivers %v only", slices.Sorted(maps.Keys(drivers)))
	}
	alike := alikeRuns(drivers)
	share := float64(len(alike)) / float64(all)
	t.Logf("%d of %d lines, %.1f %%, are in runs of %d that another driver has too", len(alike), all, 100*share, runLength)
	for _, place := range places(alike) {
		t.Log(place)
	}
	if share >= mostAlike {
		t.Errorf("the drivers share %.1f %% of their lines, and should share less than %.0f %%: what several of them do belongs into package runtime", 100*share, 100*mostAlike)
	}
}

func TestRunsAreAlikeWhateverThingsAreCalled(t *testing.T) {
	one := "package one\nimport \"a\"\n// why\nfunc f(a int) string {\n\tb := g(a, \"x\")\n\n\tif b == nil {\n\t\treturn b.String()\n\t}\n\treturn \"\"\n}\n"
	two := strings.NewReplacer("\"x\"", "\"other\"", "f(", "h(", "b", "result", "// why", "").Replace(one)
	three := strings.Replace(one, "b == nil", "b != nil", 1)
	for _, tc := range []struct {
		name, other string
		want        int
	}{
		{"other names, values and comments", two, 5},
		{"another operator in the middle", three, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			drivers := map[string][][]codeLine{}
			for name, text := range map[string]string{"one": one, "two": tc.other} {
				lines, err := codeOf(name+".go", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				drivers[name] = [][]codeLine{lines}
			}
			if got := len(alikeRuns(drivers)); got != 2*tc.want {
				t.Errorf("%d lines are alike, want %d of each", got, tc.want)
			}
		})
	}
}

// codeBelow returns the code of each file of a folder, and of those below it,
// but for tests.
func codeBelow(dir string) ([][]codeLine, error) {
	var files [][]codeLine
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		lines, err := codeOf(name, raw)
		files = append(files, lines)
		return err
	})
	return files, err
}

// codeOf returns the lines of a file that are neither blank nor comments,
// imports, or braces alone. Names are all the same there, and so are values of a
// kind; keywords and operators stay what they are.
func codeOf(name string, raw []byte) ([]codeLine, error) {
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, name, raw, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	begin := parsed.Name.End()
	for _, d := range parsed.Decls {
		if d, ok := d.(*ast.GenDecl); ok && d.Tok == token.IMPORT {
			begin = max(begin, d.End())
		}
	}
	first := set.Position(begin).Line
	file := token.NewFileSet().AddFile(name, -1, len(raw))
	var s scanner.Scanner
	s.Init(file, raw, nil, 0)
	forms := map[int]*bytes.Buffer{}
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		at := file.Line(pos)
		if at <= first || tok == token.SEMICOLON && text == "\n" {
			continue
		}
		if forms[at] == nil {
			forms[at] = &bytes.Buffer{}
		}
		fmt.Fprintf(forms[at], "%s ", tok)
	}
	var lines []codeLine
	for _, at := range slices.Sorted(maps.Keys(forms)) {
		if form := forms[at].String(); strings.Trim(form, "{}(), ") != "" {
			lines = append(lines, codeLine{file: name, at: at, form: form})
		}
	}
	return lines, nil
}

// alikeRuns returns the lines of runs that more than one driver has.
func alikeRuns(drivers map[string][][]codeLine) map[codeLine]bool {
	runs := func(files [][]codeLine, see func(form string, run []codeLine)) {
		for _, f := range files {
			for i := 0; i+runLength <= len(f); i++ {
				var form strings.Builder
				for _, l := range f[i : i+runLength] {
					form.WriteString(l.form + "\n")
				}
				see(form.String(), f[i:i+runLength])
			}
		}
	}
	owners := map[string]map[string]bool{}
	for name, files := range drivers {
		runs(files, func(form string, _ []codeLine) {
			if owners[form] == nil {
				owners[form] = map[string]bool{}
			}
			owners[form][name] = true
		})
	}
	alike := map[codeLine]bool{}
	for _, files := range drivers {
		runs(files, func(form string, run []codeLine) {
			if len(owners[form]) > 1 {
				for _, l := range run {
					alike[l] = true
				}
			}
		})
	}
	return alike
}

// places names the lines, neighbours together.
func places(lines map[codeLine]bool) []string {
	sorted := slices.SortedFunc(maps.Keys(lines), func(a, b codeLine) int {
		if c := strings.Compare(a.file, b.file); c != 0 {
			return c
		}
		return a.at - b.at
	})
	var out []string
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].file == sorted[i].file && sorted[j].at <= sorted[j-1].at+2 {
			j++
		}
		out = append(out, fmt.Sprintf("%s:%d-%d", sorted[i].file, sorted[i].at, sorted[j-1].at))
		i = j
	}
	return out
}
