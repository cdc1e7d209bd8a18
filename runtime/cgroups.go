package runtime

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// killTime is how long processes that were killed may take to be gone: those that
// wait for a disk do not go at once.
const killTime = 30 * time.Second

// cgroups ends all processes in the control groups and removes these. Containers
// do not end with the shims that started them: where systemd keeps their groups
// (the driver "systemd" of container runtimes), each is in a scope of its own.
func (a Flush) cgroups(ctx context.Context, t *target) error {
	roots, err := a.cgroupRoots(ctx, t)
	if err != nil || len(roots) == 0 {
		return err
	}
	if err := killAll(ctx, t, roots); err != nil {
		return err
	}
	if err := stopSlices(ctx, t, roots); err != nil {
		return err
	}
	// systemd removes some too, at the same time
	if roots, err = a.cgroupRoots(ctx, t); err != nil || len(roots) == 0 {
		return err
	}
	failed := t.Run(ctx, host.Command{Argv: append(append([]string{"find"}, roots...), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+")})
	if _, exited := exitCode(failed); failed == nil || !exited {
		return failed
	}
	if roots, err = a.cgroupRoots(ctx, t); err != nil || len(roots) == 0 {
		return err
	}
	return failed
}

// cgroupRoots finds the control groups: in version 1 of cgroups one for each
// controller. What lies deeper is another's: a cluster inside of a container.
func (a Flush) cgroupRoots(ctx context.Context, t *target) ([]string, error) {
	if len(a.Cgroups) == 0 {
		return nil, nil
	}
	argv := []string{"find", "/sys/fs/cgroup", "-mindepth", "1", "-maxdepth", "2", "-type", "d", "("}
	for i, name := range a.Cgroups {
		if i > 0 {
			argv = append(argv, "-o")
		}
		argv = append(argv, "-name", name)
	}
	out, err := host.Output(ctx, t.Host, append(argv, ")")...)
	return strings.Fields(string(out)), err
}

// killAll kills what is in the control groups until nothing is.
func killAll(ctx context.Context, t *target, roots []string) error {
	ctx, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		out, err := host.Output(ctx, t.Host, append(append([]string{"find"}, roots...), "-name", "cgroup.procs", "-exec", "cat", "{}", "+")...)
		if code, exited := exitCode(err); err != nil && (!exited || code != 1) { // 1: a group is gone by now
			return fmt.Errorf("processes in %s: %w", words(roots), err)
		}
		ids := processes(string(out))
		if len(ids) == 0 {
			return nil
		}
		// some may have ended meanwhile, of which kill says that there is no such process
		if _, err := t.ask(ctx, append([]string{"kill", "-KILL"}, ids...)...); err != nil {
			if _, exited := exitCode(err); !exited {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("processes %s of pods do not end: restart the host, then do this again: %w", words(ids), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// processes reads the numbers of processes, each once. 0 is a process that this
// host's namespace does not have.
func processes(lists string) []string {
	var out []string
	seen := map[string]bool{"0": true}
	for _, id := range strings.Fields(lists) {
		if _, err := strconv.Atoi(id); err == nil && !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out
}

// stopSlices lets systemd forget groups that it keeps: it would take them for
// running, and not make them again when the host joins again.
func stopSlices(ctx context.Context, t *target, roots []string) error {
	var errs []error
	done := map[string]bool{}
	for _, root := range roots {
		unit := path.Base(root)
		if path.Ext(unit) != ".slice" || done[unit] {
			continue
		}
		done[unit] = true
		const notLoaded = 5 // systemctl(1), "Exit status"
		_, err := t.ask(ctx, "systemctl", "stop", unit)
		if code, exited := exitCode(err); err != nil && (!exited || code != notLoaded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
