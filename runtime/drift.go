package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sealrt/sealrt/runtime/host"
)

// Drift is a difference between what a host's ledger says was made and what is
// there.
type Drift struct {
	Member Member
	Step   string // that made it
	What   string // the thing, and how it differs
	File   string // that differs; "" where the thing is none
}

// Drift compares what the ledgers of the members say with what is on the
// hosts, all at once. Hosts that are not connected are left out, and so is what
// was there of other images than these. It changes nothing.
func (e *Engine) Drift(ctx context.Context, members []Member, images []Image) ([]Drift, error) {
	found := make([][]Drift, len(members))
	errs := make([]error, len(members))
	var wg sync.WaitGroup
	for i, m := range members {
		if e.Hosts[m.Address] == nil {
			continue
		}
		wg.Go(func() {
			t, err := e.target(ctx, "examine", m)
			if err == nil {
				found[i], err = t.drift(ctx, images)
			}
			if err != nil {
				errs[i] = fmt.Errorf("host %s: %w", m.Name(), err)
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...), errors.Join(errs...)
}

// Units returns the services that steps of ours made on a host that is
// connected, sorted.
func (e *Engine) Units(ctx context.Context, m Member) ([]string, error) {
	t, err := e.target(ctx, "examine", m)
	if err != nil {
		return nil, err
	}
	var units []string
	for _, f := range t.ledger.undone() {
		units = append(units, f.Units...)
	}
	slices.Sort(units)
	return slices.Compact(units), nil
}

func (t *target) drift(ctx context.Context, images []Image) ([]Drift, error) {
	standing := t.ledger.standing()
	sums, err := t.sums(ctx, standing)
	if err != nil {
		return nil, err
	}
	var out []Drift
	helper, err := t.says(ctx, host.Command{Argv: []string{"test", "-x", HelperPath}})
	if err != nil {
		return nil, err
	}
	if !helper && len(standing) > 0 {
		out = append(out, Drift{Member: t.member, Step: helperStep, What: HelperPath + " is missing", File: HelperPath})
	}
	for _, e := range standing {
		for _, key := range slices.Sorted(maps.Keys(e.Made)) {
			tree := strings.HasPrefix(key, madeTree)
			if tree && !helper || dropped(strings.TrimPrefix(key, madeTree), images) || dropped(fileOf(key), images) {
				continue // it is the helper who would say of a tree
			}
			what, err := t.examine(ctx, key, e.Made[key], sums)
			if err != nil {
				return nil, err
			}
			if what != "" {
				out = append(out, Drift{Member: t.member, Step: e.Step, What: what, File: fileOf(key)})
			}
		}
	}
	return out, nil
}

// dropped reports whether a path was there for an image that is not one of
// these any more.
func dropped(name string, images []Image) bool {
	if !strings.HasPrefix(name, rootfsDir+"/") && !strings.HasPrefix(name, renderedDir+"/") {
		return false
	}
	return !slices.ContainsFunc(images, func(i Image) bool {
		return name == i.Rootfs() || strings.HasPrefix(name, i.Rendered()+"/")
	})
}

// fileOf is the file that a key of what was made is about, "" for none.
func fileOf(key string) string {
	for _, kind := range []string{madeFile, madeCopy} {
		if name, ok := strings.CutPrefix(key, kind); ok {
			return name
		}
	}
	if name, ok := strings.CutPrefix(key, madeBlock); ok {
		name, _, _ = strings.Cut(name, "#")
		return name
	}
	return ""
}

// standing returns the last lines about steps that are done, in the order in
// which these were done last. What another step made anew since is left out.
func (l *ledger) standing() []entry {
	var out []entry
	seen, steps := map[string]bool{}, map[string]bool{}
	for _, e := range slices.Backward(l.entries) {
		if e.State != stateDone || steps[e.Step] || l.done[e.Step] != e.Hash {
			continue
		}
		steps[e.Step] = true
		own := map[string]string{}
		for key, value := range e.Made {
			if !seen[key] {
				seen[key] = true
				own[key] = value
			}
		}
		e.Made = own
		out = append(out, e)
	}
	slices.Reverse(out)
	return out
}

// sums asks for the digests of all files that matter, in one command. A file
// that is not there has none.
func (t *target) sums(ctx context.Context, entries []entry) (map[string]string, error) {
	var paths []string
	for _, e := range entries {
		for key, value := range e.Made {
			if p, ok := strings.CutPrefix(key, madeFile); ok {
				paths = append(paths, p)
			}
			if p, ok := strings.CutPrefix(key, madeCopy); ok {
				paths = append(paths, p, value)
			}
		}
	}
	if len(paths) == 0 {
		return nil, nil
	}
	slices.Sort(paths)
	var out bytes.Buffer
	err := t.Run(ctx, host.Command{Argv: append([]string{"sha256sum", "--"}, slices.Compact(paths)...), Stdout: &out})
	if _, exited := exitCode(err); err != nil && !exited { // 1: not all are there
		return nil, err
	}
	sums := map[string]string{}
	for line := range strings.Lines(out.String()) {
		if digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  "); ok {
			sums[name] = digest
		}
	}
	return sums, nil
}

// examine says how a thing differs from what was made, "" if it does not.
func (t *target) examine(ctx context.Context, key, value string, sums map[string]string) (string, error) {
	kind, name, _ := strings.Cut(key, ":")
	switch kind + ":" {
	case madeFile:
		return differs(name, value, sums[name]), nil
	case madeCopy:
		if sums[value] == "" { // nothing to compare with
			return differs(name, sums[name], sums[name]), nil
		}
		return differs(name, sums[value], sums[name]), nil
	case madeBlobs:
		return t.examineBlobs(ctx, name)
	case madeTree:
		there, err := (Load{Digest: value}).holds(ctx, t)
		if err == nil && !there {
			return "the tree of the image at " + name + " is not there, or not whole", nil
		}
		return "", err
	case madeBlock:
		return t.examineBlock(ctx, name, value)
	case madeLink:
		there, err := t.exists(ctx, name)
		if err == nil && !there {
			return "the link " + name + " is missing", nil
		}
		return "", err // another one is its user's
	case madeUnit:
		return t.examineUnit(ctx, name, value)
	case madeSysctl:
		raw, err := host.ReadFile(ctx, t.Host, Setting{Name: name}.path())
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if is := strings.Join(strings.Fields(string(raw)), " "); is != strings.Join(strings.Fields(value), " ") {
			return fmt.Sprintf("kernel parameter %s is %q, not %q", name, is, value), nil
		}
	}
	return "", nil
}

// differs says how a file differs by its digests.
func differs(name, want, is string) string {
	switch {
	case is == "":
		return name + " is missing"
	case is != want:
		return name + " was changed"
	}
	return ""
}

func (t *target) examineBlock(ctx context.Context, name, value string) (string, error) {
	file, block, _ := strings.Cut(name, "#")
	raw, err := host.ReadFile(ctx, t.Host, file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	switch text, there := (Block{Name: block}).within(string(raw)); {
	case !there:
		return fmt.Sprintf("the lines %q in %s are missing", block, file), nil
	case sum(text) != value:
		return fmt.Sprintf("the lines %q in %s were changed", block, file), nil
	}
	return "", nil
}

func (t *target) examineUnit(ctx context.Context, unit, want string) (string, error) {
	enabled, err := t.says(ctx, host.Command{Argv: []string{"systemctl", "is-enabled", "--quiet", unit}})
	if err != nil {
		return "", err
	}
	if !enabled {
		return "service " + unit + " does not start at boot", nil
	}
	if want != "running" {
		return "", nil
	}
	active, err := t.says(ctx, host.Command{Argv: []string{"systemctl", "is-active", "--quiet", unit}})
	if err == nil && !active {
		return "service " + unit + " does not run", nil
	}
	return "", err
}
