package host_test

import (
	"os/exec"
	"testing"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// start runs a command with one variable more, and tells of its end.
func start(t *testing.T, kv string, argv ...string) <-chan error {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(cmd.Environ(), kv)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended
}

func TestEndMarkedEndsWhatHasTheMarkAndNothingElse(t *testing.T) {
	both(t, func(t *testing.T, h host.Host) {
		ours := start(t, "SEALRT_TEST_MARK=one", "sleep", "300")
		stubborn := start(t, "SEALRT_TEST_MARK=one", "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
		other := start(t, "SEALRT_TEST_MARK=one-more", "sleep", "300")
		time.Sleep(200 * time.Millisecond) // the trap stands
		if err := host.EndMarked(t.Context(), h, "SEALRT_TEST_MARK=one"); err != nil {
			t.Fatal(err)
		}
		for name, ended := range map[string]<-chan error{"the command": ours, "the stubborn command": stubborn} {
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Errorf("%s still runs", name)
			}
		}
		select {
		case <-other:
			t.Error("a command with another mark was ended")
		default:
		}
	})
}
