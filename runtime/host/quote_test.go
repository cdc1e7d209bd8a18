package host_test

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
)

// shellWords returns what a shell makes of a line.
func shellWords(t *testing.T, shell, line string) []string {
	t.Helper()
	out, err := exec.Command(shell, "-c", `printf '%s\0' `+line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s on %q: %v: %s", shell, line, err, out)
	}
	words := strings.Split(string(out), "\x00")
	return words[:len(words)-1]
}

func TestQuoteGivesAShellTheSameWords(t *testing.T) {
	shells := []string{"/bin/sh"}
	for _, name := range []string{"bash", "zsh", "fish"} { // those that are there
		if path, err := exec.LookPath(name); err == nil {
			shells = append(shells, path)
		}
	}
	alphabet := []rune("ab'\"\\ \t\n$`!*?[]{}()<>|&;#~=%-é^,:/\x01")
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		argv := make([]string, 1+rng.IntN(5))
		for i := range argv {
			var b strings.Builder
			for range rng.IntN(8) {
				b.WriteRune(alphabet[rng.IntN(len(alphabet))])
			}
			argv[i] = b.String()
		}
		shell := shells[i%len(shells)]
		if diff := cmp.Diff(argv, shellWords(t, shell, host.Quote(argv))); diff != "" {
			t.Fatalf("%s: Quote(%q) = %s: words differ (-want +got):\n%s", shell, argv, host.Quote(argv), diff)
		}
	}
}

func TestQuotedFirstWordIsACommandAndNothingElse(t *testing.T) {
	for _, word := range []string{"A=b", "if", "{", "!", "time", "~", "#x"} {
		out, err := exec.Command("/bin/sh", "-c", host.Quote([]string{word})+" 2>/dev/null").CombinedOutput()
		var exit *exec.ExitError
		if e, ok := err.(*exec.ExitError); ok {
			exit = e
		}
		if word == "time" { // a program of that name may exist; it must be looked for, not taken as a reserved word
			continue
		}
		if exit == nil || exit.ExitCode() != 127 {
			t.Errorf("sh took %q for something other than a command: %v %s", word, err, out)
		}
	}
}

func TestQuoteLeavesPlainWordsReadable(t *testing.T) {
	got := host.Quote([]string{"systemctl", "start", "k3s@a.service", "--x=1", "a b", "it's", "", `a\b`, "=x"})
	want := `systemctl start k3s@a.service --x=1 'a b' 'it'\''s' '' 'a'\\'b' '=x'`
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
