package kubefile

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// dump writes a File with all positions and fields that are set.
func dump(f *File) string {
	var b strings.Builder
	if f.Escape != '\\' {
		fmt.Fprintf(&b, "escape %c\n", f.Escape)
	}
	for _, arg := range f.Args {
		dumpInstruction(&b, arg)
	}
	for n, stage := range f.Stages {
		fmt.Fprintf(&b, "stage %d\n", n)
		dumpInstruction(&b, stage.From)
		for _, i := range stage.Instructions {
			dumpInstruction(&b, i)
		}
	}
	fmt.Fprintf(&b, "--- canonical\n%s", Format(f))
	return b.String()
}

func dumpInstruction(b *strings.Builder, i Instruction) {
	fmt.Fprintf(b, "%d:%d %s", i.Pos().Line, i.Pos().Column, i.Keyword())
	v := reflect.ValueOf(i).Elem()
	for n := range v.NumField() {
		if f := v.Type().Field(n); f.Name != "Position" && !v.Field(n).IsZero() {
			fmt.Fprintf(b, " %s=%s", f.Name, strings.ReplaceAll(fmt.Sprintf("%#v", v.Field(n).Interface()), "kubefile.", ""))
		}
	}
	b.WriteString("\n")
}

// golden compares got with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func cases(t testing.TB, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases match %s: %v", pattern, err)
	}
	return paths
}

// equal ignores what a canonical text cannot keep.
func equal(a, b *File) string {
	return cmp.Diff(a, b, cmpopts.IgnoreTypes(Position{}), cmpopts.IgnoreFields(File{}, "Name"), cmpopts.EquateEmpty())
}

func TestParseReadsGoodFiles(t *testing.T) {
	for _, path := range cases(t, "testdata/good/*/Kubefile") {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Parse("Kubefile", bytes.NewReader(data))
			if err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join(dir, "want"), dump(f))
			again, err := Parse("canonical", bytes.NewReader(Format(f)))
			if err != nil {
				t.Fatalf("parse of the canonical text: %v", err)
			}
			if diff := equal(f, again); diff != "" {
				t.Errorf("the canonical text means something else: -file +canonical:\n%s", diff)
			}
		})
	}
}

func TestParseReportsAllMistakes(t *testing.T) {
	for _, path := range cases(t, "testdata/bad/*/Kubefile") {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse("Kubefile", bytes.NewReader(data))
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("Parse returned %v, want Errors", err)
			}
			golden(t, filepath.Join(dir, "want.err"), errs.Error()+"\n")
		})
	}
}

// checkJoin holds what the package computes for itself against BuildKit's
// parser: how lines become an instruction, and where its flags are.
func checkJoin(t *testing.T, data []byte) {
	t.Helper()
	m := &mistakes{}
	src, err := read(bytes.NewReader(data), m)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.list) > 0 {
		return
	}
	src.directives(m)
	for _, node := range nodes(src, m) {
		s := newStatement(src, m, node)
		if s.text.string != node.Original {
			t.Errorf("%q:%d: joined as %q, parser says %q", data, node.StartLine, s.text.string, node.Original)
		}
		if len(s.flagOffsets) != len(node.Flags) {
			t.Errorf("%q:%d: flags at %v, parser says %q", data, node.StartLine, s.flagOffsets, node.Flags)
		}
	}
}

// checkRoundTrip parses data; if that works, its canonical text must mean the same.
func checkRoundTrip(t *testing.T, data []byte) bool {
	t.Helper()
	file, err := Parse("Kubefile", bytes.NewReader(data))
	if err != nil {
		var errs Errors
		if !errors.As(err, &errs) || len(errs) == 0 {
			t.Fatalf("Parse(%q) returned %v, %v", data, file, err)
		}
		for _, e := range errs {
			if e.Pos.Line < 1 || e.Pos.Column < 1 || e.Message == "" || strings.Contains(e.Error(), "\n") {
				t.Errorf("%q: bad error %+v", data, e)
			}
		}
		return false
	}
	text := Format(file)
	again, err := Parse("canonical", bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%q: parse of canonical %q: %v", data, text, err)
	}
	if diff := equal(file, again); diff != "" {
		t.Fatalf("%q: canonical %q: -file +canonical:\n%s", data, text, diff)
	}
	if second := Format(again); !bytes.Equal(text, second) {
		t.Fatalf("%q: Format is not stable: %q, then %q", data, text, second)
	}
	return true
}

func TestParseReturnsWhatItUnderstood(t *testing.T) {
	f, err := Parse("Kubefile", strings.NewReader("FROM scratch\nCOPPY a b\nADD a b\nCOPY --form=x a b\nRUN true\n"))
	if err == nil || f == nil || len(f.Stages) != 1 {
		t.Fatalf("got %v, %v", f, err)
	}
	var got []string
	for _, i := range f.Stages[0].Instructions {
		got = append(got, fmt.Sprint(i.Pos().Line, " ", i))
	}
	if diff := cmp.Diff([]string{"3 ADD a b", "4 COPY a b", "5 RUN true"}, got); diff != "" {
		t.Error(diff)
	}
	if f, err := Parse("Kubefile", strings.NewReader("\x00")); f != nil || err == nil {
		t.Errorf("of what is no text: %v, %v", f, err)
	}
}

func TestPositionsAgreeWithParser(t *testing.T) {
	for _, pattern := range []string{"testdata/good/*/Kubefile", "testdata/bad/*/Kubefile"} {
		for _, path := range cases(t, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			checkJoin(t, data)
		}
	}
}

// TestFormatKeepsRandomFiles puts together what is awkward, which a fuzzer that
// turns bytes over seldom does.
func TestFormatKeepsRandomFiles(t *testing.T) {
	starts := []string{"FROM ", "FROM a AS ", "ARG ", "ENV ", "ENV a=", "LABEL ", "MAINTAINER ", "COPY ", "COPY --exclude=", "COPY <<A ",
		"COPY --from=a ", "ADD ", "RUN ", "RUN --mount=type=cache,target=", "WORKDIR ", "USER ", "SHELL ", "CMD ", "ENTRYPOINT ", "BASE ", "BASE --list=", "COPY [\"a\", "}
	tokens := []string{"a", "b=c", " ", "  ", "\t", "\"", "'", "\\", "`", "\\\n", "`\n", "--", "-", "[", "]", "[\"", "\"]", ",", "\"a b\"", "<<A", "<<-'A'", "<<", "\n", "\nA\n",
		"\r\n", "\u00a0", "\u3000", "é", "加", "$", "${", "}", "$x", "${x:-y}", "#", "\n# c\n", "=", "rootfs cache", "none", "--link", "x y", "1<<3", "\"\\\\\"", "\v", "\\ "}
	r := rand.New(rand.NewPCG(1, 2))
	good := 0
	for range 5000 {
		var b strings.Builder
		if r.IntN(4) == 0 {
			b.WriteString("# escape=`\n")
		}
		for range 1 + r.IntN(3) {
			b.WriteString(starts[r.IntN(len(starts))])
			for range r.IntN(6) {
				b.WriteString(tokens[r.IntN(len(tokens))])
			}
			b.WriteString("\n")
		}
		if strings.Contains(b.String(), "<<") {
			b.WriteString("\tx\nA\n")
		}
		checkJoin(t, []byte(b.String()))
		if checkRoundTrip(t, []byte(b.String())) {
			good++
		}
	}
	if good < 250 {
		t.Errorf("only %d of the files were good: the test tests little", good)
	}
}

func FuzzParseFormat(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*/Kubefile", "testdata/bad/*/Kubefile"} {
		for _, path := range cases(f, pattern) {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkRoundTrip(t, data)
		checkJoin(t, data)
	})
}
