package kubefile

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestParseRefusesWhatIsTooLarge(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := []struct{ name, text, want string }{
		{"file", strings.Repeat("COPY a b\n", 10<<20/9), "Kubefile:1:1: the file is larger than 1 MiB"},
		{"file of one line", strings.Repeat("x", 10<<20), "Kubefile:1:1: the file is larger than 1 MiB"},
		{"line", "FROM scratch\nRUN " + long + "\n", "Kubefile:2:1: the line is longer than 60 KiB"},
		{"file of one line below the limit", strings.Repeat("x", maxFile), "Kubefile:1:1: the line is longer than 60 KiB"},
		{"line of a heredoc", "FROM scratch\nCOPY <<EOF x\n" + long + "x\nEOF\n", "Kubefile:3:1: the line is longer than 60 KiB"},
		{"instruction", "FROM scratch\nRUN " + long[:maxInstruction] + "\n", "Kubefile:2:1: the instruction is longer than 24 KiB"},
		{"nesting", "FROM scratch\nCOPY " + strings.Repeat("${a:-", 40) + strings.Repeat("}", 40) + " b\n", "Kubefile:2:1: variables are nested more than 16 deep"},
		{"nesting over lines", "FROM scratch\nCOPY \\\n" + strings.Repeat("${a:-\\\n", 40) + " b\n", "Kubefile:19:1: variables are nested more than 16 deep"},
		{"instruction of many lines", "FROM scratch\nRUN \\\n" + strings.Repeat("word \\\n", 8000), "Kubefile:2:1: the instruction is longer than 24 KiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("Kubefile", strings.NewReader(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got error %q, want %q", err, test.want)
			}
		})
	}
}

func TestParseStopsReadingAtTheLimit(t *testing.T) {
	var endless endlessReader
	if _, err := Parse("Kubefile", &endless); err == nil {
		t.Error("an endless file was parsed")
	}
	if limit := int64(4 * maxFile); endless.read > limit {
		t.Errorf("%d bytes were read, want at most %d", endless.read, limit)
	}
}

type endlessReader struct{ read int64 }

func (r *endlessReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	r.read += int64(len(p))
	return len(p), nil
}

// TestParseTakesBoundedTime feeds what makes BuildKit's parser slow: nothing of
// it may take longer than a user waits.
func TestParseTakesBoundedTime(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, maxFile/4/len(s)) }
	nested := strings.Repeat(strings.Repeat("${a:-", maxNesting)+strings.Repeat("}", maxNesting), 120)
	tests := []struct{ name, text string }{
		{"many instructions", fill("ARG a\n")},
		{"many mistakes of ours", fill("X\n")},
		{"many mistakes of BuildKit's parser", fill("ENV a\n")},
		{"comments", fill("#\n")},
		{"open heredocs", fill("RUN <<a\n")},
		{"stray heredocs", fill("X <<a\n")},
		{"continuations", fill("\\\n\n")},
		{"nested variables", fill("COPY " + nested + " <<a b\na\n")},
		{"open variables", fill("COPY " + strings.Repeat("${a:-", maxNesting) + " b\n")},
		{"one instruction", "RUN " + strings.Repeat("<<a ", maxInstruction/4-10)},
		{"brackets", fill("RUN [" + strings.Repeat("[", 20000) + "\n")},
		{"stages", manyStages()},
		{"stages of one name", fill("FROM a AS b\n")},
		{"commands", fill("CMD a\n")},
		{"bases", fill("BASE rootfs cache\n")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Now()
			if _, err := Parse("Kubefile", strings.NewReader(test.text)); err != nil {
				var errs Errors
				if !errors.As(err, &errs) || len(errs) > maxErrors {
					t.Errorf("%d mistakes reported, want at most %d", len(errs), maxErrors)
				}
			}
			took := time.Since(start)
			t.Log(took)
			if took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func manyStages() string {
	var b strings.Builder
	for n := 0; b.Len() < maxFile/4; n++ {
		fmt.Fprintf(&b, "FROM a AS s%d\nCOPY --from=s%d a b\n", n, n-1)
	}
	return b.String()
}

func TestParseReturnsReadErrors(t *testing.T) {
	broken := errors.New("broken disk")
	_, err := Parse("Kubefile", iotest.ErrReader(broken))
	if !errors.Is(err, broken) || err.Error() != "read Kubefile: broken disk" {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func TestParseNeedsNoWholeReads(t *testing.T) {
	f, err := Parse("Kubefile", iotest.OneByteReader(bytes.NewReader([]byte("FROM scratch\nCOPY é b\n"))))
	if err != nil || len(f.Stages) != 1 {
		t.Errorf("got %v, %v", f, err)
	}
}

func TestErrorsUnwrapToError(t *testing.T) {
	_, err := Parse("my/Kubefile", strings.NewReader("FROM scratch\n COPPY a b\nFORM c\n"))
	var first *Error
	if !errors.As(err, &first) {
		t.Fatalf("errors.As finds no *Error in %v", err)
	}
	want := Error{File: "my/Kubefile", Pos: Position{2, 2}, Text: "COPPY", Message: `unknown instruction "COPPY"`, Hint: "did you mean COPY?"}
	if *first != want {
		t.Errorf("got %+v, want %+v", *first, want)
	}
	if got := strings.Count(err.Error(), "\n"); got != 1 {
		t.Errorf("%q has %d newlines, want one between two mistakes", err, got)
	}
}
