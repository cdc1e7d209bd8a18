package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// The time between two attempts, to reach a host that is lost or to have a
// command done that failed: first little, then more and more.
const (
	firstPause   = 500 * time.Millisecond
	longestWait  = 3 * time.Second  // for a host: one that restarts is back within seconds
	longestRetry = 15 * time.Second // of a command
)

// line is the connection to a host as steps use it: every command ends in time,
// and one that was never sent, because the host is away, is sent when the host
// is back.
type line struct {
	host.Host
	limit   time.Duration // of a command; 0: none
	patient func(ctx context.Context, lost error, do func() error) error
}

// Run implements host.Host. Input of a command that was never sent has not been
// read.
func (l line) Run(ctx context.Context, c host.Command) error {
	err := within(ctx, l.Host, l.limit, c)
	if !errors.Is(err, host.ErrUnreached) {
		return err
	}
	return l.patient(ctx, err, func() error { return within(ctx, l.Host, l.limit, c) })
}

// lost reports whether an error says that the host went away, and not that what
// was to be done there failed.
func lost(err error) bool {
	return errors.Is(err, host.ErrLost) || errors.Is(err, host.ErrUnreached)
}

// patience repeats do, which was lost, until it is not any more, or until the
// host has been away for too long; then the last loss is the error.
func (e *Engine) patience(ctx context.Context, tell func(error), was error, do func() error) error {
	limit := e.Limits.Return
	if limit == 0 {
		limit = returnLimit
	}
	until := time.Now().Add(limit)
	for pause := firstPause; time.Now().Before(until); pause = min(2*pause, longestWait) {
		tell(was)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(pause, time.Until(until))):
		}
		if was = do(); !lost(was) {
			return was
		}
	}
	if limit < 0 {
		return was
	}
	return fmt.Errorf("%w (the host did not come back within %s)", was, limit)
}

// again does what does no harm when it is repeated, as often as the host is
// lost over it.
func (t *target) again(ctx context.Context, do func() error) error {
	err := do()
	if !errors.Is(err, host.ErrLost) {
		return err
	}
	return t.patient(ctx, err, do)
}

// retry repeats a command that exited with a failure, since what it asked may
// only have been busy. What is wrong for good fails when the time is over.
func (t *target) retry(ctx context.Context, err error, do func() error) error {
	until := time.Now().Add(cmp.Or(t.engine.Limits.Retry, retryLimit))
	for pause := firstPause; time.Now().Add(pause).Before(until); pause = min(2*pause, longestRetry) {
		if _, exited := exitCode(err); !exited {
			return err
		}
		ev := t.event(t.step)
		ev.State, ev.Note = Warned, fmt.Sprintf("is tried again in %s: %s", pause, t.engine.conceal(err.Error()))
		t.engine.tell(ev)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
		}
		err = do()
	}
	return err
}

// repeatable says which steps may be done again though it is not known how far
// they came.
func repeatable(s Step) bool {
	exec, ok := s.Do.(Exec)
	return !ok || s.Again || exec.Retry || exec.Always || exec.Capture != "" || len(exec.Recover) > 0
}

// persist applies the step. When the host is lost meanwhile, a step that may be
// repeated is, after what it left running has been ended; others fail.
func (t *target) persist(ctx context.Context, s Step) error {
	err := s.Do.apply(ctx, t)
	if !errors.Is(err, host.ErrLost) || !repeatable(s) {
		return err
	}
	return t.patient(ctx, err, func() error {
		if err := host.EndMarked(ctx, t.Host, t.engine.mark()); err != nil {
			return err
		}
		if err := t.mend(ctx, s); err != nil {
			return err
		}
		return s.Do.apply(ctx, t)
	})
}

// mend cleans up after an attempt at a step that did not come to its end.
func (t *target) mend(ctx context.Context, s Step) error {
	if batched(s) {
		return t.sweep(ctx, s.Do.footprint())
	}
	exec, ok := s.Do.(Exec)
	if !ok {
		return nil
	}
	for _, a := range exec.Recover {
		if err := a.apply(ctx, t); err != nil {
			return fmt.Errorf("clean up after the attempt before: %w", err)
		}
	}
	return nil
}
