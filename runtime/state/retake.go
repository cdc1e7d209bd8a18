package state

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// all does something with every keeper at once. One that fails is let go of.
func (h *Hold) all(do func(c *connection) error) {
	var wg sync.WaitGroup
	for i, c := range h.keepers {
		if c == nil {
			continue
		}
		wg.Go(func() {
			err := do(c)
			if err == nil {
				return
			}
			h.o.Tell(fmt.Sprintf("master %s no longer keeps the journal: %v", c.master, err))
			c.close()
			h.keepers[i] = nil
		})
	}
	wg.Wait()
}

// enough waits for a master to be held when none is.
func (h *Hold) enough() error {
	for late := time.Now().Add(h.o.Grace); ; {
		if h.usurper != nil {
			return fmt.Errorf("%w: %w", ErrLost, h.usurper)
		}
		if h.held() > 0 {
			return nil
		}
		if h.retake(); h.held() > 0 {
			continue
		}
		if h.usurper == nil && time.Now().After(late) {
			return fmt.Errorf("%w: no master keeps it: check the hosts and the network, and run the same command again", ErrLost)
		}
		select {
		case <-h.ctx.Done():
			return ErrLost
		case <-time.After(min(time.Second, h.o.Grace)):
		}
	}
}

// live tells the keepers that the client lives, and takes masters that were
// lost again.
func (h *Hold) live() {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-tick.C:
		}
		h.mu.Lock()
		h.all(func(c *connection) error {
			_, err := c.ask(h.ctx, request{Op: opBeat})
			return err
		})
		missing := h.missing()
		h.mu.Unlock()
		for _, i := range missing { // a master that is slow to answer keeps nobody waiting
			c, err := h.again(i)
			h.mu.Lock()
			h.welcome(i, c, err)
			h.mu.Unlock()
		}
	}
}

// missing returns the masters that could be held and are not.
func (h *Hold) missing() []int {
	var out []int
	for i, m := range h.o.Masters {
		if m.Host != nil && !h.keepers[i].alive() {
			out = append(out, i)
		}
	}
	return out
}

// retake takes the masters that were lost or could not be locked.
func (h *Hold) retake() {
	for _, i := range h.missing() {
		c, err := h.again(i)
		h.welcome(i, c, err)
	}
}

// again takes one master again.
func (h *Hold) again(i int) (*connection, error) {
	ctx, cancel := context.WithTimeout(h.ctx, again)
	defer cancel()
	return h.take(ctx, h.o.Masters[i])
}

// welcome brings a master that was taken again up to date, unless somebody else
// worked on the cluster meanwhile: what this client has is old then.
func (h *Hold) welcome(i int, c *connection, err error) {
	var busy *BusyError
	switch {
	case errors.As(err, &busy):
		h.usurper = err
		return
	case err != nil:
		return
	case h.ctx.Err() != nil || h.keepers[i].alive():
		c.close()
		return
	}
	own, err := readFiles(h.o.Folder.dir)
	if err == nil {
		h.usurper = h.overtaken(i, c, own)
	}
	if err != nil || h.usurper != nil || catchUp(h.ctx, c, own) != nil {
		c.close()
		return
	}
	h.keepers[i], h.had[i] = c, true
	h.o.Tell(fmt.Sprintf("master %s keeps the journal again", c.master))
}

// overtaken reports whether a master was somebody else's since this client had
// it, or has a state that this client does not know of.
func (h *Hold) overtaken(i int, c *connection, own *Snapshot) error {
	st, err := own.Status()
	if err != nil {
		return err
	}
	known := c.status.Digest == st.Digest || c.status.Digest == h.offered || c.status.Revision < st.Revision
	if known && (!h.had[i] || c.last == "" || c.last == h.o.Holder.ID) {
		return nil
	}
	return fmt.Errorf("cluster %s: somebody else worked on it while master %s was not held: run the same command again, which begins with the state that is there now", h.o.Cluster, c.master)
}

// catchUp gives a keeper what the client has.
func catchUp(ctx context.Context, c *connection, own *Snapshot) error {
	a, err := c.ask(ctx, request{Op: opRead})
	if err != nil {
		return err
	}
	files := maps.Clone(own.Files)
	for name := range a.Snapshot.Files {
		if _, ok := files[name]; !ok && compared(name) {
			files[name] = nil // it is gone
		}
	}
	if _, err := c.ask(ctx, request{Op: opSave, Files: files}); err != nil {
		return err
	}
	_, err = c.ask(ctx, request{Op: opJournal, Lines: union([][]byte{own.Journal, a.Snapshot.Journal})})
	return err
}
