package runtime

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

// What a command makes is claimed before it runs, like a file of ours, and
// compared afterwards with what it has to make.

func (a Exec) probes() []string {
	var out []string
	for _, p := range a.Makes {
		out = append(out, ancestors(p)...)
	}
	return out
}

func (a Exec) claim(ctx context.Context, t *target, f *footprint) error {
	for _, p := range a.Makes {
		dirs, err := t.newDirs(ctx, path.Dir(p))
		if err != nil {
			return err
		}
		for _, d := range dirs {
			if !slices.Contains(f.Dirs, d) {
				f.Dirs = append(f.Dirs, d)
			}
		}
	}
	return t.foreign(ctx, a.Makes)
}

// madeAll looks for what the command has to make, and keeps what it is for the
// ledger.
func (a Exec) madeAll(ctx context.Context, t *target) error {
	keys := map[string]string{}
	for _, p := range a.Makes {
		keys[madeFile+p] = ""
	}
	sums, err := t.sums(ctx, []entry{{Made: keys}})
	if err != nil {
		return err
	}
	var missing []string
	for _, p := range a.Makes {
		if sums[p] == "" {
			missing = append(missing, p)
		}
		keys[madeFile+p] = sums[p]
	}
	if len(missing) > 0 {
		return fmt.Errorf("%s ended well, and did not make %s", words(a.Argv), strings.Join(missing, ", "))
	}
	t.makes = keys
	return nil
}

func (a Exec) made(t *target) map[string]string {
	if len(a.Makes) == 0 {
		return nil
	}
	return t.makes
}
