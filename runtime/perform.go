package runtime

import (
	"context"
	"errors"
	"slices"
	"time"
)

// batchSize is how many files are made between two lines of the ledger at most.
const batchSize = 32

// batched says which steps may share their lines of the ledger with their
// neighbours: those which only make files. Making them again after they were
// broken off does no harm.
func batched(s Step) bool {
	switch s.Do.(type) {
	case Claim, Install, Link, Write, Block:
		return s.About == ""
	}
	return false
}

// joins reports whether a step may be done in one go with a batch.
func joins(batch []Step, s Step) bool {
	return len(batch) < batchSize && batched(batch[0]) && batched(s)
}

// perform does the steps of a batch and records them. It returns how many were
// done, and the failure of the one after them. The steps that follow, to clear
// up, are recorded as begun from now on: whatever happens, they will be done.
func (t *target) perform(ctx context.Context, batch, follow []Step) (done int, failure *StepError) {
	w := &work{target: t}
	for _, s := range batch {
		if err := w.add(s); err != nil {
			return 0, t.failure(ctx, s, err)
		}
	}
	for _, s := range follow {
		e, err := w.entry(s)
		if err != nil {
			return 0, t.failure(ctx, s, err)
		}
		w.follow = append(w.follow, e)
	}
	t.step = batch[0]
	if err := w.begin(ctx); err != nil {
		t.told(t.event(batch[0]), err, 0)
		return 0, t.failure(ctx, batch[0], err)
	}
	var err error
	for done < len(batch) && err == nil {
		if err = w.do(ctx, done); err == nil {
			done++
		}
	}
	if end := w.end(ctx, done, err); err == nil && end != nil {
		err, done = end, 0
	}
	if err != nil {
		return done, t.failure(ctx, batch[done], err)
	}
	return done, nil
}

// work is a batch of steps while it is done.
type work struct {
	*target
	steps   []Step
	entries []entry // of the ledger; the step has none where State is ""
	follow  []entry // of the steps that clear up
	lines   []JournalEntry
}

// add takes a step in. Steps that leave nothing and are repeated anyway are not
// in the ledger.
func (w *work) add(s Step) error {
	e, err := w.entry(s)
	if err != nil {
		return err
	}
	w.lines = append(w.lines, JournalEntry{Phase: w.phase, Host: w.member.Name(), Step: s.ID, Hash: e.Hash, State: OutcomeBegun})
	if asks(s.Do) && (e.Footprint.empty() && !w.clears(s) || w.ledger.holds(s.ID, e.Hash)) {
		e.State = ""
	}
	w.steps = append(w.steps, s)
	w.entries = append(w.entries, e)
	return nil
}

// clears reports whether the step clears up after another, and was recorded
// with it.
func (w *work) clears(s Step) bool { return s.With != "" && w.ledger.broken(s.ID) }

// entry is the line of the ledger that says that a step begins.
func (w *work) entry(s Step) (entry, error) {
	hash, err := s.hash()
	foot := s.Do.footprint()
	return entry{Cluster: w.engine.Cluster, Step: s.ID, Hash: hash, State: stateBegun, Footprint: &foot}, err
}

// begin cleans up after an attempt that was broken off, makes sure that nothing
// of somebody else's is taken over, and records that the steps begin.
func (w *work) begin(ctx context.Context) error {
	err := w.again(ctx, func() error {
		for _, s := range w.steps {
			if w.ledger.broken(s.ID) {
				if err := w.mend(ctx, s); err != nil {
					return err
				}
			}
		}
		return w.claim(ctx)
	})
	if err != nil {
		return err
	}
	return w.both(func() error { return w.engine.record(ctx, w.lines...) }, func() error {
		return w.recorded(ctx, slices.Concat(w.entries, w.follow))
	})
}

// claim asks once for all paths that the steps make. What is there before them,
// and is not ours, stops them before the ledger could call it ours.
func (w *work) claim(ctx context.Context) error {
	var paths []string
	for _, s := range w.steps {
		if p, ok := s.Do.(prober); ok {
			paths = append(paths, p.probes()...)
		}
	}
	slices.Sort(paths)
	forget, err := w.look(ctx, slices.Compact(paths))
	if err != nil {
		return err
	}
	defer forget()
	for i, s := range w.steps {
		if c, ok := s.Do.(claimer); ok {
			if err := c.claim(ctx, w.target, w.entries[i].Footprint); err != nil {
				return err
			}
		}
	}
	return nil
}

// do applies one step and tells of it.
func (w *work) do(ctx context.Context, i int) error {
	s := w.steps[i]
	w.step = s
	ev := w.event(s)
	ev.State = Started
	w.engine.tell(ev)
	start, was := time.Now(), *w.sent
	w.said = ""
	err := w.persist(ctx, s)
	took := time.Since(start)
	line := &w.lines[i]
	line.State, line.Seconds = OutcomeDone, took.Seconds()
	if err != nil {
		line.State, line.Error = OutcomeFailed, err.Error()
	}
	ev.Bytes, ev.Says = *w.sent-was, w.engine.conceal(w.said)
	if err != nil && (s.Tolerate || tolerated(s.Do)) && ctx.Err() == nil {
		line.State = OutcomeTolerated
		ev.State, ev.Took, ev.Err = Tolerated, took, err
		w.engine.tell(ev)
		return nil
	}
	w.told(ev, err, took)
	return err
}

// told tells how a step ended.
func (t *target) told(ev Event, err error, took time.Duration) {
	ev.State, ev.Took, ev.Err = Done, took, err
	if err != nil {
		ev.State = Failed
	}
	t.engine.tell(ev)
}

// end records how the steps ended: those before done well, the one after them,
// if any was begun, with the failure.
func (w *work) end(ctx context.Context, done int, failed error) error {
	lines := w.lines[:min(len(w.lines), done+1)]
	if failed == nil {
		lines = w.lines[:done]
	}
	var over []entry
	for i, e := range w.entries[:done] {
		if e.State != "" && !lost(failed) {
			e := entry{Cluster: e.Cluster, Step: e.Step, Hash: e.Hash, State: stateDone}
			if m, ok := w.steps[i].Do.(maker); ok {
				e.Made = m.made(w.target)
			}
			over = append(over, e)
		}
	}
	if ctx.Err() != nil { // what was done was done
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
		defer cancel()
		ctx = last
	}
	return w.both(func() error { return w.engine.record(ctx, lines...) }, func() error { return w.recorded(ctx, over) })
}

// recorded writes those entries to the ledger that have a state. A host that is
// lost is waited for: a line that is there twice does no harm.
func (w *work) recorded(ctx context.Context, entries []entry) error {
	entries = slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.State == "" })
	return w.again(ctx, func() error { return w.ledger.write(ctx, w.Host, entries...) })
}

// both does two things at once: the journal and the ledger do not wait for each
// other.
func (w *work) both(a, b func() error) error {
	if w.engine.Journal == nil {
		return b()
	}
	other := make(chan error, 1)
	go func() { other <- a() }()
	err := b()
	return errors.Join(err, <-other)
}

// tolerated says which steps may fail.
func tolerated(a Action) bool {
	switch a := a.(type) {
	case Exec:
		return a.Tolerate
	case Modules:
		return true
	}
	return false
}
