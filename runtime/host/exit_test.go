package host_test

import (
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
)

func TestExitErrorTellsTheCauseThatIsNotOnTheLastLine(t *testing.T) {
	for stderr, want := range map[string]string{
		"":           "kubeadm join: exit status 1",
		"  one line": "kubeadm join: exit status 1: one line",
		"error: a Node with name \"b\" exists\nTo see the stack trace use --v=5\n\n": "kubeadm join: exit status 1\n    error: a Node with name \"b\" exists\n    To see the stack trace use --v=5",
		"[preflight] errors:\n\t[ERROR Swap]: swap is on\n":                          "kubeadm join: exit status 1\n    [preflight] errors:\n      [ERROR Swap]: swap is on",
	} {
		err := &host.ExitError{Host: "h", Argv: []string{"kubeadm", "join"}, Code: 1, Stderr: stderr}
		if err.Error() != want {
			t.Errorf("%q: got\n%s\nwant\n%s", stderr, err, want)
		}
	}
}
