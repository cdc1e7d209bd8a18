package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/preflight"
)

// preflightFlags say how the hosts are looked at before anything is changed.
type preflightFlags struct {
	fix  bool
	skip []string
}

func (f *preflightFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.fix, "fix", false, "mend on the hosts what preflight finds and can mend: kernel modules and settings, swap, firewall; reset undoes it")
	flags.Var((*checkNames)(&f.skip), "skip-check", "pass over the errors of the preflight check `NAME`; repeatable")
}

// checkNames are those of preflight checks. Another name is refused before any
// registry or host is asked for anything.
type checkNames []string

func (n *checkNames) String() string { return strings.Join(*n, ",") }

func (n *checkNames) Type() string { return "name" }

func (n *checkNames) Set(name string) error {
	*n = append(*n, name)
	return preflight.Skippable(name)
}

// preflight looks at the hosts of a cluster, or of a part of one, of which those in k.unreached
// have no connection. It returns the steps that mend what was asked to be
// mended; the error, a *preflight.RefusedError, holds everything that stands in
// the way.
//
// lacks is how many bytes of the images hosts lack, where that is known.
func (k *known) preflight(ctx context.Context, c *runtime.Cluster, f preflightFlags, lacks map[string]int64) (runtime.Plan, error) {
	c.Images = k.engine().Measure(ctx, c.Images)
	r, err := preflight.Run(ctx, c, k.driver, k.hosts, preflight.Options{Fix: f.fix, Skip: f.skip, Unreached: k.unreached, Lacks: lacks})
	if err != nil {
		return runtime.Plan{}, err
	}
	for _, level := range []preflight.Level{preflight.Warning, preflight.Skipped, preflight.Mended} {
		for _, found := range r.At(level) {
			if level == preflight.Warning {
				k.env.note("warning: %s", found)
				continue
			}
			k.env.note("%s", found)
		}
	}
	return r.Fixes, r.Err()
}

// unchanged wraps what hosts were found to lack before anything was done.
func unchanged(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("preflight, nothing was changed:\n%w", err)
}

// checked plans, and looks for what is in the plan's way. Where preflight has
// found something, all of it is told together; of a host that did not answer
// nothing more can be known.
func (k *known) checked(ctx context.Context, found error, plan func() (runtime.Plan, error)) (runtime.Plan, error) {
	var refused *preflight.RefusedError
	if found != nil && (!errors.As(found, &refused) || !refused.Answered()) {
		return runtime.Plan{}, unchanged(found)
	}
	p, err := plan()
	if err != nil && refused == nil {
		return runtime.Plan{}, err
	}
	if err == nil {
		err = k.engine().Check(ctx, p)
	}
	if refused != nil {
		err = errors.Join(err, refused)
	}
	return p, unchanged(err)
}

// approach connects the hosts. Those that cannot be reached are left to preflight,
// which tells of them with all else, unless there is none to be looked at.
func (k *known) approach(ctx context.Context) error {
	err := k.connect(ctx)
	var lost *unreachedError
	if errors.As(err, &lost) && len(k.hosts) > 0 {
		k.unreached = lost.why
		return nil
	}
	return err
}
