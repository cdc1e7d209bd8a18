package runtime

import (
	"context"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// Link makes a symbolic link, unless something is there already, or at one of
// the paths in Unless: what the host's user calls by that name stays what it is.
// At reset it goes if it still leads where it did.
type Link struct {
	Path   string   `json:"path"`
	To     string   `json:"to"`
	Unless []string `json:"unless,omitempty"`
}

func (a Link) String() string {
	return "link " + a.Path + " to " + a.To + ", unless the host has its own"
}

// footprint is filled in by claim, which knows whether it is made at all.
func (a Link) footprint() footprint { return footprint{} }

func (a Link) probes() []string { return append(slices.Clone(a.Unless), a.Path) }

func (a Link) claim(ctx context.Context, t *target, f *footprint) error {
	there, err := t.present(ctx, a.probes())
	if err != nil {
		return err
	}
	if len(there) == 0 || t.ledger.linked(a) {
		f.Links = []Link{{Path: a.Path, To: a.To}}
	}
	return nil
}

func (a Link) apply(ctx context.Context, t *target) error {
	if !t.ledger.linked(a) {
		return nil
	}
	there, err := t.exists(ctx, a.Path)
	if err != nil || there {
		return err
	}
	return t.Run(ctx, host.Command{Argv: []string{"ln", "-s", a.To, a.Path}})
}

func (a Link) made(t *target) map[string]string {
	if !t.ledger.linked(a) {
		return nil
	}
	return map[string]string{madeLink + a.Path: a.To}
}

// linked reports whether a step of ours made the link, or is about to.
func (l *ledger) linked(a Link) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.entries, func(e entry) bool {
		return e.Footprint != nil && slices.ContainsFunc(e.Footprint.Links, func(o Link) bool { return o.Path == a.Path && o.To == a.To })
	})
}

// unlink removes a link that leads where it did when it was made.
func (t *target) unlink(ctx context.Context, l Link) error {
	there, err := t.exists(ctx, l.Path)
	if err != nil || !there {
		return err
	}
	out, err := host.Output(ctx, t.Host, "readlink", l.Path)
	if _, exited := exitCode(err); exited { // it is none
		return nil
	}
	if err != nil || strings.TrimSpace(string(out)) != l.To {
		return err
	}
	return t.Run(ctx, host.Command{Argv: []string{"rm", "-f", l.Path}})
}
