package kubefile

import (
	"strings"
	"testing"
)

func parseOne(t *testing.T, text string) Instruction {
	t.Helper()
	f, err := Parse("Kubefile", strings.NewReader("FROM scratch\n"+text+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return f.Stages[0].Instructions[0]
}

func TestStringIsCanonical(t *testing.T) {
	tests := []struct{ text, want string }{
		{"copy   --link   a\tb", "COPY --link a b"},
		{`COPY ["a", "b"]`, "COPY a b"},
		{`COPY ["a b", "c"]`, `COPY ["a b", "c"]`},
		{"COPY <<-'X' c\n\tx\n\tX", "COPY <<-\"X\" c\n\tx\nX"},
		{`RUN ["a","b"]`, `RUN ["a", "b"]`},
		{"RUN a \\\n && b", "RUN a  && b"},
		{`CMD ["<a>&"]`, `CMD ["<a>&"]`},
		{"BASE --keep-archives=true ROOTFS cache", "BASE --keep-archives rootfs cache"},
		{"ENV a b  c", "ENV a b  c"},
		{"LABEL a b", "LABEL a=b"},
	}
	for _, test := range tests {
		if got := parseOne(t, test.text).String(); got != test.want {
			t.Errorf("%q: got %q, want %q", test.text, got, test.want)
		}
	}
}

func TestImpliedFromHasText(t *testing.T) {
	f, err := Parse("Kubefile", strings.NewReader("\n  COPY a b\n"))
	if err != nil {
		t.Fatal(err)
	}
	from := f.Stages[0].From
	if got := from.String(); got != "FROM scratch" || !from.Implied || from.Pos() != (Position{2, 3}) {
		t.Errorf("got %q %+v", got, from)
	}
}

func TestHeredocTextDropsTabsOnlyIfAsked(t *testing.T) {
	h := Heredoc{Content: "\tone\n\t\ttwo\n \tthree\n"}
	if got := h.Text(); got != h.Content {
		t.Errorf("got %q", got)
	}
	h.Chomp = true
	if got, want := h.Text(), "one\ntwo\n \tthree\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestScriptIsAWholeHeredoc(t *testing.T) {
	tests := []struct {
		text string
		want bool
	}{
		{"RUN <<EOF\necho\nEOF", true},
		{"RUN <<-'EOF'\necho\nEOF", true},
		{"RUN sh <<EOF\necho\nEOF", false},
		{"RUN <<A <<B\nx\nA\ny\nB", false},
		{"RUN <<EOF cat\nx\nEOF", false},
		{"RUN echo", false},
		{`RUN ["<<EOF"]`, false},
	}
	for _, test := range tests {
		run := parseOne(t, test.text).(*Run)
		h, got := run.Script()
		if got != test.want || got && h.Name != "EOF" {
			t.Errorf("%q: got %+v, %v; want %v", test.text, h, got, test.want)
		}
	}
}
