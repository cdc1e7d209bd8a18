package runtime

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// claimer is an action that makes paths and must not take over what is
// somebody else's.
type claimer interface {
	// claim adds to the footprint what only the host can tell, and returns an
	// error that names every path which is there and not ours.
	claim(ctx context.Context, t *target, f *footprint) error
}

// prober is a claimer that says beforehand for which paths it will ask, so that
// several ask together.
type prober interface {
	claimer
	probes() []string
}

func (a Claim) probes() []string   { return slices.Concat(a.Paths, a.IfAbsent, a.IfEmpty) }
func (a Write) probes() []string   { return ancestors(a.Path) }
func (a Install) probes() []string { return append(a.paths(), ancestors(a.To)...) }

// exists reports whether the path is there, a dangling link included.
func (t *target) exists(ctx context.Context, path string) (bool, error) {
	there, err := t.present(ctx, []string{path})
	return len(there) > 0, err
}

// present returns those of the paths that are there, dangling links included.
func (t *target) present(ctx context.Context, paths []string) ([]string, error) {
	var unknown []string
	for _, p := range paths {
		if _, known := t.seen[p]; !known {
			unknown = append(unknown, p)
		}
	}
	found, err := t.find(ctx, unknown)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return !t.seen[p] && !slices.Contains(found, p) }), nil
}

// find asks the host which of the paths are there.
func (t *target) find(ctx context.Context, paths []string) ([]string, error) {
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

// look asks for all paths at once whether they are there. Until forget is
// called, present knows the answers.
func (t *target) look(ctx context.Context, paths []string) (forget func(), err error) {
	found, err := t.find(ctx, paths)
	if err != nil {
		return nil, err
	}
	t.seen = map[string]bool{}
	for _, p := range paths {
		t.seen[p] = slices.Contains(found, p)
	}
	return func() { t.seen = nil }, nil
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
	may := slices.Concat(a.IfAbsent, a.IfEmpty)
	there, err := t.present(ctx, may)
	if err != nil {
		return err
	}
	for n, p := range may {
		switch {
		case slices.Contains(there, p) && !t.ledger.owns(p):
		case n < len(a.IfAbsent):
			f.Trees = append(f.Trees, p)
		default:
			f.Dirs = append(f.Dirs, p)
		}
	}
	if err := t.foreign(ctx, a.Paths); err != nil {
		return err
	}
	f.Sysctls, err = t.parameters(ctx, a.Parameters)
	return err
}

// newDirs returns the directories that have to be made before dir exists, the
// deepest last.
func (t *target) newDirs(ctx context.Context, dir string) ([]string, error) {
	way := ancestors(dir)
	there, err := t.present(ctx, way)
	if err != nil {
		return nil, err
	}
	out := slices.DeleteFunc(way, func(d string) bool { return slices.Contains(there, d) })
	slices.Reverse(out)
	return out, nil
}

// ancestors returns a directory and those above it, but for the root.
func ancestors(dir string) []string {
	var out []string
	for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
		out = append(out, dir)
	}
	return out
}

func (a Write) claim(ctx context.Context, t *target, f *footprint) error {
	dirs, err := t.newDirs(ctx, path.Dir(a.Path))
	if err != nil {
		return err
	}
	f.Dirs = dirs
	return t.foreign(ctx, []string{a.Path})
}

func (a Install) claim(ctx context.Context, t *target, f *footprint) (err error) {
	if f.Dirs, err = t.newDirs(ctx, a.To); err != nil {
		return err
	}
	return t.foreign(ctx, a.paths())
}
