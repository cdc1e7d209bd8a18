package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// claimer is an action that makes paths and must not take over what is
// somebody else's.
type claimer interface {
	// claim adds to the footprint what only the host can tell, and returns an
	// error that names every path which is there and not ours.
	claim(ctx context.Context, t *target, f *footprint) error
}

// exists reports whether the path is there, a dangling link included.
func (t *target) exists(ctx context.Context, path string) (bool, error) {
	for _, test := range []string{"-e", "-L"} {
		err := t.Run(ctx, host.Command{Argv: []string{"test", test, path}})
		if err == nil {
			return true, nil
		}
		if code, exited := exitCode(err); !exited || code != 1 {
			return false, err
		}
	}
	return false, nil
}

// exitCode returns the status of a command that ran and failed.
func exitCode(err error) (code int, exited bool) {
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return exit.Code, true
	}
	return 0, false
}

// present returns those of the paths that are there, dangling links included.
func (t *target) present(ctx context.Context, paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	var out strings.Builder
	argv := slices.Concat([]string{"find"}, paths, []string{"-maxdepth", "0", "-print0"})
	err := t.Run(ctx, host.Command{Argv: argv, Stdout: &out})
	if code, exited := exitCode(err); err != nil && (!exited || code != 1) { // 1: not all are there
		return nil, err
	}
	return strings.FieldsFunc(out.String(), func(r rune) bool { return r == 0 }), nil
}

// foreign returns an error that names those of the paths which exist and
// which no step of ours made.
func (t *target) foreign(ctx context.Context, paths []string) error {
	theirs, err := t.present(ctx, slices.DeleteFunc(slices.Clone(paths), t.ledger.owns))
	if err != nil {
		return err
	}
	if len(theirs) > 0 {
		return fmt.Errorf("%s: already there and not made by sealrt: remove it, or use another host", strings.Join(theirs, ", "))
	}
	return nil
}

func (a Claim) claim(ctx context.Context, t *target, f *footprint) error {
	for _, p := range a.IfAbsent {
		there, err := t.exists(ctx, p)
		if err != nil {
			return err
		}
		if !there || t.ledger.owns(p) {
			f.Trees = append(f.Trees, p)
		}
	}
	return t.foreign(ctx, a.Paths)
}

func (a Claim) apply(context.Context, *target) error { return nil }

// newDirs returns the directories that have to be made before dir exists, the
// deepest last.
func (t *target) newDirs(ctx context.Context, dir string) ([]string, error) {
	var out []string
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		there, err := t.exists(ctx, dir)
		if err != nil {
			return nil, err
		}
		if there {
			break
		}
		out = append(out, dir)
	}
	slices.Reverse(out)
	return out, nil
}

func (a Write) claim(ctx context.Context, t *target, f *footprint) error {
	dirs, err := t.newDirs(ctx, path.Dir(a.Path))
	if err != nil {
		return err
	}
	f.Dirs = dirs
	return t.foreign(ctx, []string{a.Path})
}

func (a Write) apply(ctx context.Context, t *target) error {
	if err := t.Run(ctx, host.Command{Argv: []string{"mkdir", "-p", path.Dir(a.Path)}}); err != nil {
		return err
	}
	return host.Put(ctx, t.Host, a.Path, a.Mode, strings.NewReader(t.engine.fill(a.Data)))
}

// paths lists the files that Install makes.
func (a Install) paths() []string {
	out := make([]string, len(a.Names))
	for i, n := range a.Names {
		out[i] = path.Join(a.To, n)
	}
	return out
}

// unfinished is the name of a copy until it is whole.
func (a Install) unfinished(name string) string { return path.Join(a.To, "."+name+".sealrt") }

func (a Install) footprint() footprint {
	f := footprint{Paths: a.paths()}
	for _, n := range a.Names {
		f.Paths = append(f.Paths, a.unfinished(n))
	}
	return f
}

func (a Install) claim(ctx context.Context, t *target, f *footprint) (err error) {
	if f.Dirs, err = t.newDirs(ctx, a.To); err != nil {
		return err
	}
	return t.foreign(ctx, a.paths())
}

func (a Install) apply(ctx context.Context, t *target) error {
	if err := t.Run(ctx, host.Command{Argv: []string{"mkdir", "-p", a.To}}); err != nil {
		return err
	}
	for _, n := range a.Names {
		// a copy beside its place and a rename: a program that runs is
		// replaced, never written into
		tmp := a.unfinished(n)
		for _, argv := range [][]string{
			{"cp", "-a", path.Join(a.Rootfs, a.From, n), tmp},
			{"mv", "-f", tmp, path.Join(a.To, n)},
		} {
			if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
				return err
			}
		}
	}
	// the ledger must not know of files that a power failure then empties
	return t.Run(ctx, host.Command{Argv: slices.Concat([]string{"sync"}, a.paths(), []string{a.To})})
}

func (a Exec) apply(ctx context.Context, t *target) error {
	if a.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, a.Timeout, fmt.Errorf("not done after %s", a.Timeout))
		defer cancel()
	}
	argv := make([]string, len(a.Argv))
	for i, w := range a.Argv {
		argv[i] = t.engine.fill(w)
	}
	var out strings.Builder
	err := t.work(ctx, host.Command{Argv: argv, Env: a.Env, Stdout: &out})
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && ctx.Err() != nil {
			return fmt.Errorf("%w (%w)", cause, err)
		}
		return err
	}
	if a.Capture != "" {
		t.engine.capture(a.Capture, strings.TrimSpace(out.String()))
	}
	return nil
}

// pause is the time between two attempts of Await.
const pause = 500 * time.Millisecond

func (a Await) apply(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	var last error
	for {
		err := t.Run(ctx, host.Command{Argv: a.Argv, Env: a.Env})
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) && last != nil {
				return fmt.Errorf("still not after %s: %w", a.Timeout, last)
			}
			return errors.Join(ctx.Err(), last)
		case <-time.After(pause):
		}
	}
}

func (a Service) apply(ctx context.Context, t *target) error {
	same, err := a.recorded(t)
	if err != nil {
		return err
	}
	commands := [][]string{{"systemctl", "daemon-reload"}, {"systemctl", "enable", a.Unit}}
	switch {
	case a.Running && same:
		commands = append(commands, []string{"systemctl", "start", a.Unit})
	case a.Running:
		commands = append(commands, []string{"systemctl", "restart", a.Unit})
	}
	for _, argv := range commands {
		if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
			return fmt.Errorf("%w (what the service says: journalctl -u %s)", err, a.Unit)
		}
	}
	return nil
}

// ServiceID is the ID of the step that runs a unit.
func ServiceID(unit string) string { return "service " + unit }

// ServiceStep returns the step that makes a unit run, or only start at boot.
// config is the text of everything that the unit reads when it starts.
func ServiceStep(unit string, running bool, config ...string) Step {
	sum := sha256.Sum256([]byte(strings.Join(config, "\x00")))
	return Step{ID: ServiceID(unit), Do: Service{Unit: unit, Running: running, Revision: hex.EncodeToString(sum[:8])}}
}

// missing returns the names that the host's container runtime does not know.
func (a Present) missing(ctx context.Context, t *target) ([]string, error) {
	out, err := host.Output(ctx, t.Host, a.Argv...)
	if err != nil {
		return nil, err
	}
	have := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		have[strings.TrimSpace(line)] = true
	}
	return slices.DeleteFunc(slices.Clone(a.Names), func(n string) bool { return have[n] }), nil
}

func (a Present) apply(ctx context.Context, t *target) error {
	missing, err := a.missing(ctx, t)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return fmt.Errorf("container images are missing after the import: %s", strings.Join(missing, ", "))
	}
	return nil
}

func (a Feed) apply(ctx context.Context, t *target) error {
	argv := append([]string{HelperPath, "feed", a.Layout, "--"}, a.Argv...)
	if err := t.work(ctx, host.Command{Argv: argv, Env: a.Env}); err != nil {
		return err
	}
	return t.flush(ctx, a.Into)
}

// flush brings what was written to a file system to its disk: a power failure
// must not take back what the ledger calls done.
func (t *target) flush(ctx context.Context, dir string) error {
	return t.Run(ctx, host.Command{Argv: []string{"sync", "-f", dir}})
}
