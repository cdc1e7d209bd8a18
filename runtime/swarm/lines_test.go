package swarm

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestCommandsOfASilentClientEnd(t *testing.T) {
	in, client := io.Pipe()
	defer client.Close()
	go func() { _, _ = client.Write([]byte("{}\n")) }() // and nothing more
	heard := 0
	err := listen(t.Context(), in, 50*time.Millisecond, func(serveLine) error { heard++; return nil })
	if err == nil || !strings.Contains(err.Error(), "has said nothing for 50ms") || heard != 1 {
		t.Errorf("after %d lines: %v", heard, err)
	}
}

func TestLinesOfAnyLengthAndPart(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []string
		want  string
		fails bool
	}{
		{"whole", []string{"a\nb\n"}, "a|b|", false},
		{"in parts", []string{"a", "", "b\nc", "\n"}, "ab|c|", false},
		{"empty", []string{"\n\n"}, "||", false},
		{"an end without a newline is no line", []string{"a\nb"}, "a|", false},
		{"endless", []string{strings.Repeat("x", maxLine), "x"}, "", true},
	} {
		var got strings.Builder
		l := &lineWriter{take: func(line []byte) error {
			got.Write(line)
			got.WriteByte('|')
			return nil
		}}
		var err error
		for _, p := range c.parts {
			if _, werr := l.Write([]byte(p)); werr != nil {
				err = werr
			}
		}
		if got.String() != c.want || (err != nil) != c.fails {
			t.Errorf("%s: %q, %v", c.name, got.String(), err)
		}
	}
}

func TestSourceThatEndsEarlyIsToldFromAWholeOne(t *testing.T) {
	short := &rest{r: strings.NewReader("ab"), left: 3}
	if _, err := io.ReadAll(short); !errors.Is(err, io.ErrUnexpectedEOF) || short.err == nil {
		t.Errorf("error is %v", err)
	}
	more := &rest{r: strings.NewReader("abcd"), left: 3}
	if b, err := io.ReadAll(more); err != nil || string(b) != "abc" || more.err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
