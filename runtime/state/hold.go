package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// ErrLost is wrapped by errors of a hold that no master keeps any more.
var ErrLost = errors.New("the lock of the cluster is lost")

// again is how long taking a lost master again may take.
const again = 30 * time.Second

// Master is one master as the client reaches it.
type Master struct {
	Name string
	Host host.Host // nil: it cannot be reached
}

// Options say how a cluster is held.
type Options struct {
	Cluster string
	Folder  *Folder
	Masters []Master // all of the cluster, as the client knows them
	Holder  Holder   // who holds; ID must be new for each hold
	Argv    []string // the keeper's command on a master
	// Deliver brings sealrt to a master where it is missing or too old; nil:
	// that is an error.
	Deliver func(ctx context.Context, m Master) error
	// KeepLocal decides a conflict: what this client has is the state.
	KeepLocal bool
	Tell      func(message string) // nil: nobody is told
	// Fold returns what is kept of the lines of a journal that has grown; nil:
	// all of them.
	Fold func(lines [][]byte) [][]byte
	// Grace is how long the work waits for a master to be held again when
	// none is; 0: 30 s. It must be shorter than a keeper's patience.
	Grace time.Duration
}

// Hold is a cluster that is this client's to change until Close. Its methods
// may be called concurrently.
type Hold struct {
	o       Options
	ctx     context.Context // of the keepers' connections, which outlive the calls
	cancel  context.CancelFunc
	queue   chan entry
	work    sync.WaitGroup
	refresh bool

	mu      sync.Mutex // what follows, and the order of writes
	journal *journal
	keepers []*connection // as o.Masters; nil: not held
	had     []bool        // as o.Masters: it was held once
	offered string        // digest of what is being saved
	usurper error         // somebody else took a master meanwhile
}

// Take takes the lock of a cluster on its masters, one after another in the
// order of their names, so that of two clients one gets it, and makes all
// copies of the state the same: the highest revision is it. Two copies of the
// same revision that differ are a [ConflictError]. A master that cannot be
// locked is told of as long as most are, or, where fewer can be reached, all
// those; somebody else's lock is a [BusyError]. The caller closes the hold.
func Take(ctx context.Context, o Options) (*Hold, error) {
	o.Masters = slices.Clone(o.Masters)
	slices.SortFunc(o.Masters, func(a, b Master) int { return strings.Compare(a.Name, b.Name) })
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	if o.Grace == 0 {
		o.Grace = 30 * time.Second
	}
	h := &Hold{o: o, queue: make(chan entry, 1024), keepers: make([]*connection, len(o.Masters)), had: make([]bool, len(o.Masters))}
	// a hold ends with Close: what an interrupted command did is still written down
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	err := h.lock(ctx)
	if err == nil {
		err = h.settle(ctx)
	}
	if err == nil {
		h.journal, err = openJournal(o.Folder.dir)
	}
	if err != nil {
		h.letGo()
		return nil, err
	}
	h.work.Go(h.write)
	h.work.Go(h.live)
	return h, nil
}

// Refreshed reports whether the folder was behind and has the masters' state
// now: what was read of it before is old.
func (h *Hold) Refreshed() bool { return h.refresh }

// lock takes the lock of each master.
func (h *Hold) lock(ctx context.Context) error {
	var failed []error
	reachable := 0
	for i, m := range h.o.Masters {
		if m.Host == nil {
			h.o.Tell(fmt.Sprintf("master %s cannot be reached: it is not locked, and catches up later", m.Name))
			continue
		}
		reachable++
		c, err := h.take(ctx, m)
		var busy *BusyError
		if errors.As(err, &busy) {
			return err
		}
		if err != nil {
			failed = append(failed, err)
			continue
		}
		h.keepers[i], h.had[i] = c, true
	}
	held := h.held()
	switch {
	case held == 0 && reachable == 0:
		return fmt.Errorf("cluster %s: no master can be reached: its state cannot be locked: check the hosts and the network", h.o.Cluster)
	case held == 0, held < reachable && held*2 <= len(h.o.Masters):
		return fmt.Errorf("cluster %s: %d of %d masters are locked, which is not enough: %w", h.o.Cluster, held, len(h.o.Masters), errors.Join(failed...))
	}
	for _, err := range failed {
		h.o.Tell(fmt.Sprintf("%v: this master is not locked, and catches up later", err))
	}
	return nil
}

// take starts the keeper of one master and has it lock.
func (h *Hold) take(ctx context.Context, m Master) (*connection, error) {
	return withHelper(ctx, m, h.o.Deliver, func() (*connection, error) {
		c := connect(h.ctx, m.Name, m.Host, h.o.Argv)
		a, err := c.ask(ctx, request{Op: opHold, Protocol: protocol, Cluster: h.o.Cluster, Holder: &h.o.Holder})
		switch {
		case a.Protocol != protocol && a.Error != "":
			err = &NoHelperError{Master: m.Name, Cause: err}
		case err != nil:
			err = explain(m.Name, err)
		case a.Busy == nil && a.Status == nil:
			err = &NoHelperError{Master: m.Name, Cause: errors.New("its answer is not understood")}
		case a.Busy != nil:
			err = &BusyError{Cluster: h.o.Cluster, Master: m.Name, Holder: *a.Busy, Heard: a.Heard}
		}
		if err != nil {
			c.close()
			return nil, err
		}
		c.status, c.last = *a.Status, a.Last
		return c, nil
	})
}

// held counts the masters that are.
func (h *Hold) held() int {
	n := 0
	for _, c := range h.keepers {
		if c.alive() {
			n++
		}
	}
	return n
}

// Release gives the lock back on a master that is one no more: what is saved
// later does not go there.
func (h *Hold) Release(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, c := range h.keepers {
		if h.o.Masters[i].Name == name {
			h.o.Masters[i].Host = nil // it is not taken again
			h.keepers[i] = nil
			if c != nil {
				c.close()
			}
		}
	}
}

// Close gives the lock back. It may be called twice.
func (h *Hold) Close() error {
	h.mu.Lock()
	h.letGo()
	h.mu.Unlock()
	h.work.Wait()
	if h.journal == nil {
		return nil
	}
	err := h.journal.close()
	h.journal = nil
	return err
}

// letGo ends all keepers.
func (h *Hold) letGo() {
	var wg sync.WaitGroup
	for i, c := range h.keepers {
		if c != nil {
			wg.Go(c.close)
			h.keepers[i] = nil
		}
	}
	wg.Wait()
	h.cancel()
}
