package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
)

// Limits say how long things may take. A field that is 0 stands for the
// default, or for what a step says itself.
type Limits struct {
	Connect time.Duration // to a host
	Silence time.Duration // of a host that does not answer, until its connection is given up
	Command time.Duration // of one command on a host
	Ready   time.Duration // until a host or the cluster is Ready
	Drain   time.Duration // of a node
	// Return is how long a host that is lost may take to come back, as one
	// that restarts does, before its work is given up. Negative: not waited for.
	Return time.Duration
	// Retry is how long a command that does no harm when it is repeated is tried
	// again after it failed. Negative: not at all.
	Retry time.Duration
}

// The defaults of Limits, where a step says nothing.
const (
	commandLimit = 30 * time.Minute
	readyLimit   = 10 * time.Minute
	returnLimit  = 5 * time.Minute
	// retryLimit is longer than an API server takes to start again, or its store
	// to find another leader.
	retryLimit = 30 * time.Second
)

// LimitsOf reads the limits of a Clusterfile.
func LimitsOf(t clusterfile.Timeouts) (Limits, error) {
	var l Limits
	var errs []error
	for _, f := range []struct {
		name, text string
		into       *time.Duration
	}{
		{"connect", t.Connect, &l.Connect}, {"silence", t.Silence, &l.Silence}, {"command", t.Command, &l.Command}, {"ready", t.Ready, &l.Ready}, {"drain", t.Drain, &l.Drain}, {"return", t.Return, &l.Return},
	} {
		if f.text == "" {
			continue
		}
		d, err := time.ParseDuration(f.text)
		if err != nil || d <= 0 {
			errs = append(errs, fmt.Errorf("timeouts.%s: %q is no duration: write 90s, 10m or 1h30m", f.name, f.text))
		}
		*f.into = d
	}
	return l, errors.Join(errs...)
}

// command is how long a command may take that says own itself.
func (l Limits) command(own time.Duration) time.Duration {
	return cmp.Or(l.Command, own, commandLimit)
}

// ready is how long a condition may take that says own itself.
func (l Limits) ready(own time.Duration) time.Duration { return cmp.Or(l.Ready, own, readyLimit) }

// LimitError says that something took longer than it may, and was ended.
type LimitError struct {
	After   time.Duration
	Setting string // of the Clusterfile's timeouts, that says how long it may take
}

// Error names the limit, and how it is raised.
func (e *LimitError) Error() string {
	return fmt.Sprintf("not done after %s, and ended (timeouts.%s of the Clusterfile raises the limit)", e.After, e.Setting)
}

// within runs a command that is ended when it takes longer than limit; 0 is no
// limit.
func within(ctx context.Context, h host.Host, limit time.Duration, c host.Command) error {
	if limit <= 0 {
		return h.Run(ctx, c)
	}
	over := &LimitError{After: limit, Setting: "command"}
	timed, cancel := context.WithTimeoutCause(ctx, limit, over)
	defer cancel()
	err := h.Run(timed, c)
	if err != nil && ctx.Err() == nil && timed.Err() != nil {
		return fmt.Errorf("%s: %w", host.Quote(c.Argv), over)
	}
	return err
}
