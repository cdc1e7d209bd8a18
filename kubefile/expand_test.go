package kubefile

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

func lookup(env map[string]string) Lookup {
	return func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}
}

func TestExpand(t *testing.T) {
	env := lookup(map[string]string{"x": "X", "empty": "", "spaces": "a  b", "file": "a/b/c.tar.gz", "ARCH": "arm64"})
	tests := []struct{ word, want, err string }{
		{word: "plain", want: "plain"},
		{word: "$x-${x}", want: "X-X"},
		{word: "${ARCH}/*", want: "arm64/*"},
		{word: "a$unset.b", want: "a.b"},
		{word: "${unset:-d} ${empty:-d} ${x:-d}", want: "d d X"},
		{word: "${unset-d} ${empty-d}", want: "d "},
		{word: "${unset:-${x}}", want: "X"},
		{word: "${unset:+o}${empty:+o}${x:+o}", want: "o"},
		{word: "${empty+o}", want: "o"},
		{word: "$spaces", want: "a  b"},
		{word: `"$x" '$x' \$x`, want: "X $x $x"},
		{word: `"a \"b\""`, want: `a "b"`},
		{word: `a\ b`, want: "a b"},
		{word: "${file##*/}", want: "c.tar.gz"},
		{word: "${file%%.*}", want: "a/b/c"},
		{word: "${file/b/B}", want: "a/B/c.tar.gz"},
		{word: "${unset:?must be given}", err: `expand "${unset:?must be given}": unset: must be given`},
		{word: "${x", err: `expand "${x": a ${ is not closed`},
		{word: `"x`, err: `expand "\"x": a double quote is not closed`},
		{word: "'x", err: `expand "'x": a single quote is not closed`},
		{word: "${}", err: `expand "${}": ${ } without the name of a variable`},
	}
	var e Expander
	for _, test := range tests {
		got, err := e.Expand(test.word, env)
		if fmt.Sprint(err) != test.err && (err != nil || test.err != "") || got != test.want {
			t.Errorf("Expand(%s) = %q, %v; want %q, %s", test.word, got, err, test.want, test.err)
		}
	}
}

func TestExpanderUsesTheFilesEscape(t *testing.T) {
	f, err := Parse("Kubefile", strings.NewReader("# escape=`\nFROM scratch\n"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Expander().Expand("C:\\`$x\\$x", lookup(map[string]string{"x": "X"}))
	if err != nil || got != `C:\$x\X` {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExpandTextKeepsQuotes(t *testing.T) {
	text := "name: \"$x\"\nit's ${y:-\"d\"}: \\$x\n"
	got, err := new(Expander).ExpandText(text, lookup(map[string]string{"x": "X"}))
	if want := "name: \"X\"\nit's \"d\": $x\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

func TestExpandWithoutLookupLeavesEverythingUnset(t *testing.T) {
	if got, err := new(Expander).Expand("a${x}b", nil); err != nil || got != "ab" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestExpanderIsConcurrent(t *testing.T) {
	var e Expander
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			want := strings.Repeat(fmt.Sprint(n), 100)
			got, err := e.Expand(strings.Repeat("$n", 100), lookup(map[string]string{"n": fmt.Sprint(n)}))
			if err != nil || got != want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
	wg.Wait()
}
