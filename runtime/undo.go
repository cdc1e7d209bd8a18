package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// marks returns the lines between which a block of ours stands.
func (a Block) marks() (begin, end string) {
	return "# begin sealrt " + a.Name, "# end sealrt " + a.Name
}

// without returns the text of a file with the block taken out.
func (a Block) without(text string) string {
	begin, end := a.marks()
	var out strings.Builder
	inside := false
	for line := range strings.Lines(text) {
		switch strings.TrimSuffix(line, "\n") {
		case begin:
			inside = true
		case end:
			inside = false
		default:
			if !inside {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

func (a Block) apply(ctx context.Context, t *target) error {
	return a.rewrite(ctx, t, func(old string) string {
		begin, end := a.marks()
		old = a.without(old)
		if old != "" && !strings.HasSuffix(old, "\n") {
			old += "\n"
		}
		return old + begin + "\n" + strings.TrimSuffix(t.engine.fill(a.Text), "\n") + "\n" + end + "\n"
	})
}

// rewrite changes the file and keeps its mode.
func (a Block) rewrite(ctx context.Context, t *target, change func(string) string) error {
	raw, err := host.ReadFile(ctx, t.Host, a.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := change(string(raw))
	if text == string(raw) {
		return nil
	}
	mode := fs.FileMode(0o644)
	if err == nil {
		out, err := host.Output(ctx, t.Host, "stat", "-c", "%a", a.Path)
		if err != nil {
			return err
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(string(out)), 8, 12)
		if err != nil {
			return fmt.Errorf("mode of %s: %w", a.Path, err)
		}
		mode = fs.FileMode(bits)
	}
	return host.Put(ctx, t.Host, a.Path, mode, strings.NewReader(text))
}

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
	if err := t.rmdir(ctx, Home); err != nil {
		return err
	}
	t.engine.forget(t.member)
	return nil
}

// undo takes one footprint back.
func (t *target) undo(ctx context.Context, f footprint) error {
	var errs []error
	for _, u := range f.Units {
		known, err := t.exists(ctx, path.Join("/etc/systemd/system", u+".service"))
		if err == nil && known {
			err = t.Run(ctx, host.Command{Argv: []string{"systemctl", "disable", "--now", u}})
		}
		errs = append(errs, err)
	}
	for _, b := range f.Blocks {
		errs = append(errs, b.rewrite(ctx, t, b.without))
	}
	if paths := slices.Concat(f.Paths, f.Trees); len(paths) > 0 {
		errs = append(errs, Remove{Paths: paths}.apply(ctx, t))
	}
	errs = append(errs, t.sweep(ctx, f))
	for _, d := range f.Dirs { // the deepest first
		errs = append(errs, t.rmdir(ctx, d))
	}
	return errors.Join(errs...)
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
	argv := slices.Concat([]string{"find"}, dirs, []string{"-maxdepth", "1", "-type", "f", "-name", host.Unfinished, "-delete"})
	return t.Run(ctx, host.Command{Argv: argv})
}

// rmdir removes a directory that may be missing, unless something is in it.
func (t *target) rmdir(ctx context.Context, dir string) error {
	there, err := t.exists(ctx, dir)
	if err != nil || !there {
		return err
	}
	return t.Run(ctx, host.Command{Argv: []string{"rmdir", "--ignore-fail-on-non-empty", dir}})
}

// forget drops what the engine remembers of a member's ledger.
func (e *Engine) forget(m Member) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.ledgers, m.Address)
}
