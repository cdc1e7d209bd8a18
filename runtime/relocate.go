package runtime

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Relocate makes Home a link to a directory, which is made too: what sealrt
// keeps on the host lies there, and all paths stay the same. A Home that is a
// directory already is an error.
type Relocate struct{ To string }

// moved is what Relocate made.
type moved struct {
	To   string   `json:"to"`
	Dirs []string `json:"dirs,omitempty"` // those made for it, the deepest last
}

func (a Relocate) String() string { return "keep " + Home + " in " + a.To }

func (a Relocate) footprint() footprint { return footprint{Moved: &moved{To: a.To}} }

// dataDir is the step that puts what sealrt keeps where the user wants it.
func (c *Cluster) dataDir() []Step {
	to := c.DataDir.Sealrt
	if to == "" || path.Clean(to) == Home {
		return nil
	}
	return []Step{{ID: "data directory", Do: Relocate{To: path.Clean(to)}}}
}

// homeLink returns where Home leads to, "" where it is no link.
func (t *target) homeLink(ctx context.Context) (string, error) {
	is, err := t.says(ctx, host.Command{Argv: []string{"test", "-L", Home}})
	if err != nil || !is {
		return "", err
	}
	out, err := host.Output(ctx, t.Host, "readlink", "-f", Home)
	return strings.TrimSuffix(string(out), "\n"), err
}

func (a Relocate) holds(ctx context.Context, t *target) (bool, error) {
	to, err := t.homeLink(ctx)
	return err == nil && to == a.To, err
}

// free reports whether something is at Home: the link, since anything else is an
// error.
func (a Relocate) free(ctx context.Context, t *target) (there bool, err error) {
	to, err := t.homeLink(ctx)
	if err != nil {
		return false, err
	}
	if to != "" && to != a.To {
		return false, fmt.Errorf("%s is a link to %s already: remove it, or say dataDir.sealrt: %s", Home, to, to)
	}
	there, err = t.exists(ctx, Home)
	if err == nil && there && to == "" {
		err = fmt.Errorf("%s is a directory already: move what is in it to %s and remove it, or leave dataDir.sealrt out", Home, a.To)
	}
	return there, err
}

// home makes Home on a member where it is to be, before there is a plan.
// Something that is in its place already is left to the plan.
func (e *Engine) home(ctx context.Context, c *Cluster, m Member) error {
	for _, s := range c.dataDir() {
		t, err := e.target(ctx, "begin", m)
		if err != nil {
			return err
		}
		if there, err := t.exists(ctx, Home); err != nil || there {
			return err
		}
		if _, failure := t.perform(ctx, []Step{s}, nil); failure != nil {
			return failure
		}
	}
	return nil
}

// claim makes the link: the ledger, which is to know of it, lies behind it.
func (a Relocate) claim(ctx context.Context, t *target, f *footprint) error {
	there, err := a.free(ctx, t)
	if err != nil {
		return err
	}
	if f.Moved.Dirs, err = t.newDirs(ctx, a.To); err != nil || there {
		return err
	}
	for _, argv := range [][]string{
		{"mkdir", "-p", a.To, path.Dir(Home)},
		{"ln", "-s", a.To, Home},
		{"sync", path.Dir(Home), a.To},
	} {
		if err := t.Run(ctx, host.Command{Argv: argv}); err != nil {
			return err
		}
	}
	return nil
}

func (a Relocate) apply(context.Context, *target) error { return nil }

// leave removes Home when all that was in it is gone, and what Relocate made. A
// link that somebody else made stays.
func (t *target) leave(ctx context.Context, feet []footprint) error {
	feet = slices.DeleteFunc(slices.Clone(feet), func(f footprint) bool { return f.Moved == nil })
	if len(feet) == 0 {
		to, err := t.homeLink(ctx)
		if err != nil || to != "" {
			return err
		}
		return t.rmdir(ctx, Home)
	}
	if err := t.Run(ctx, host.Command{Argv: []string{"rm", "-f", Home}}); err != nil {
		return err
	}
	for _, f := range feet { // the first attempt made the directories
		for _, dir := range slices.Backward(f.Moved.Dirs) {
			if err := t.rmdir(ctx, dir); err != nil {
				return err
			}
		}
	}
	return nil
}
