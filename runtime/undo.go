package runtime

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// apply unmounts what is mounted below the paths, the deepest first, and
// removes them.
func (a Remove) apply(ctx context.Context, t *target) error {
	raw, err := host.ReadFile(ctx, t.Host, "/proc/self/mounts")
	if err != nil {
		return fmt.Errorf("read the mounts: %w", err)
	}
	for _, dir := range mountsBelow(string(raw), a.Paths) {
		if err := t.Run(ctx, host.Command{Argv: []string{"umount", "-l", dir}}); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	argv := append([]string{"rm", "-rf", "--one-file-system", "--"}, a.Paths...)
	return t.Run(ctx, host.Command{Argv: argv})
}

// mountsBelow returns the mount points at or below the paths, the last mounted
// first, out of the text of /proc/self/mounts (proc_pid_mounts(5)).
func mountsBelow(mounts string, paths []string) []string {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var out []string
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		dir := unescape.Replace(fields[1])
		for _, p := range paths {
			if dir == p || strings.HasPrefix(dir, p+"/") {
				out = append(out, dir)
				break
			}
		}
	}
	slices.Reverse(out)
	return out
}

// apply undoes as much as it can: one thing that resists does not keep the
// rest, and all of them are in the error. The ledger goes last, and only when
// nothing is left, so that a repeated reset knows what to do.
func (Undo) apply(ctx context.Context, t *target) error {
	var errs []error
	feet := t.ledger.undone()
	for _, f := range feet {
		errs = append(errs, t.undo(ctx, f))
	}
	errs = append(errs, t.incomplete(ctx))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%w (run reset again when that is mended)", err)
	}
	if slices.ContainsFunc(feet, func(f footprint) bool { return len(f.Units) > 0 }) {
		if err := t.Run(ctx, host.Command{Argv: []string{"systemctl", "daemon-reload"}}); err != nil {
			return err
		}
	}
	if err := (Remove{Paths: ours[:]}).apply(ctx, t); err != nil {
		return err
	}
	if err := t.leave(ctx, feet); err != nil {
		return err
	}
	t.engine.forget(t.member)
	return t.tellOfDirs(ctx, feet)
}

// tellOfDirs names the directories that were made and stay, since there is
// something in them that nobody made here.
func (t *target) tellOfDirs(ctx context.Context, feet []footprint) error {
	var dirs []string
	for _, f := range feet {
		dirs = append(dirs, slices.DeleteFunc(slices.Clone(f.Dirs), func(d string) bool { return strings.HasPrefix(d+"/", Home+"/") })...)
	}
	left, err := t.present(ctx, dirs)
	if err != nil || len(left) == 0 {
		return err
	}
	ev := t.event(t.step)
	ev.State, ev.Note = Warned, fmt.Sprintf("%s stays, with what somebody else put there", strings.Join(left, ", "))
	t.engine.tell(ev)
	return nil
}

// undo takes one footprint back.
func (t *target) undo(ctx context.Context, f footprint) error {
	var errs []error
	for _, u := range f.Units {
		errs = append(errs, t.ununit(ctx, u))
	}
	for _, argv := range slices.Backward(f.Inverse) {
		errs = append(errs, t.Run(ctx, host.Command{Argv: argv}))
	}
	for _, b := range f.Blocks {
		errs = append(errs, t.unblock(ctx, b))
	}
	for _, l := range f.Links {
		errs = append(errs, t.unlink(ctx, l))
	}
	if paths := slices.Concat(f.Paths, f.Trees); len(paths) > 0 {
		errs = append(errs, Remove{Paths: paths}.apply(ctx, t))
	}
	errs = append(errs, t.unkernel(ctx, f), t.sweep(ctx, f))
	for _, d := range f.Dirs { // the deepest first
		errs = append(errs, t.rmdir(ctx, d))
	}
	return errors.Join(errs...)
}

// ununit stops a unit, and has it start no more. One whose file is gone, or was
// never made, may run still, and have links that enable it: systemctl removes
// them too, and says that there is no such unit.
func (t *target) ununit(ctx context.Context, unit string) error {
	known, err := t.exists(ctx, unitFile(unit))
	if err != nil {
		return err
	}
	if known {
		return t.Run(ctx, host.Command{Argv: []string{"systemctl", "disable", "--now", unit}})
	}
	for _, verb := range []string{"stop", "disable"} {
		if _, err := t.says(ctx, host.Command{Argv: []string{"systemctl", verb, unit}}); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a write that was cut off left beside the files of a
// footprint.
func (t *target) sweep(ctx context.Context, f footprint) error {
	var dirs []string
	for _, p := range f.Paths {
		dirs = append(dirs, path.Dir(p))
	}
	for _, b := range f.Blocks {
		dirs = append(dirs, path.Dir(b.Path))
	}
	slices.Sort(dirs)
	dirs, err := t.present(ctx, slices.Compact(dirs))
	if err != nil || len(dirs) == 0 {
		return err
	}
	return t.Run(ctx, host.Command{Argv: unfinished(dirs...)})
}

// unfinished is the command that removes from directories what a write that was
// cut off left there.
func unfinished(dirs ...string) []string {
	return slices.Concat([]string{"find"}, dirs, []string{"-maxdepth", "1", "-type", "f", "-name", host.Unfinished, "-delete"})
}

// rmdir removes a directory that may be missing, unless something is in it, or
// a file system of the host's is mounted there.
func (t *target) rmdir(ctx context.Context, dir string) error {
	there, err := t.exists(ctx, dir)
	if err != nil || !there {
		return err
	}
	refused := t.Run(ctx, host.Command{Argv: []string{"rmdir", "--ignore-fail-on-non-empty", dir}})
	if refused == nil || lost(refused) {
		return refused
	}
	raw, err := host.ReadFile(ctx, t.Host, "/proc/self/mounts")
	if err == nil && slices.Contains(mountsBelow(string(raw), []string{dir}), dir) {
		return nil
	}
	return refused
}

// forget drops what the engine remembers of a member's ledger.
func (e *Engine) forget(m Member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ledgers, m.Address)
}
