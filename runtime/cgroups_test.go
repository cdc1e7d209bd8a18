package runtime

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// TestProcessesOfPodsEndThatOutliveTheirShims flushes a host where containers run
// in slices of systemd, and one takes a moment to end.
func TestProcessesOfPodsEndThatOutliveTheirShims(t *testing.T) {
	h := hosttest.New("10.0.0.1")
	const root = "/sys/fs/cgroup/kubepods.slice"
	there, running := true, []string{"1062", "1153"}
	var calls []string
	h.Serve([]string{"find"}, func(_ context.Context, c host.Command) error {
		switch {
		case slices.Contains(c.Argv, "cat"):
			_, err := fmt.Fprintln(c.Stdout, strings.Join(append(slices.Clone(running), "0"), "\n"))
			return err
		case slices.Contains(c.Argv, "rmdir"):
			if len(running) > 0 || c.Argv[1] != root {
				return &host.ExitError{Code: 1}
			}
			calls = append(calls, "rmdir")
			there = false
		case c.Argv[1] == "/sys/fs/cgroup" && there:
			_, err := fmt.Fprintln(c.Stdout, root)
			return err
		}
		return nil
	})
	h.Serve([]string{"kill"}, func(_ context.Context, c host.Command) error {
		calls = append(calls, strings.Join(c.Argv, " "))
		running = running[:len(running)-1] // one by one
		return &host.ExitError{Code: 1}    // another process ended by itself
	})
	h.Serve([]string{"systemctl"}, func(_ context.Context, c host.Command) error {
		calls = append(calls, strings.Join(c.Argv, " "))
		return nil
	})
	if err := (Flush{Cgroups: []string{"kubepods", "kubepods.slice"}}).cgroups(t.Context(), &target{Host: h}); err != nil {
		t.Fatal(err)
	}
	want := []string{"kill -KILL 1062 1153", "kill -KILL 1062", "systemctl stop kubepods.slice", "rmdir"}
	if !slices.Equal(calls, want) {
		t.Errorf("calls are %q, want %q", calls, want)
	}
}
