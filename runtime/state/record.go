package state

import (
	"context"
	"slices"
)

// entry is a line on its way into the journal.
type entry struct {
	line []byte
	done chan error
}

// Record adds a line to the journal. It returns when the line is on the disk of
// the client and of every master that is held; lines that come at the same
// time share the way there. When no master is held any more, the error wraps
// [ErrLost].
func (h *Hold) Record(ctx context.Context, line []byte) error {
	if err := checkLine(line); err != nil {
		return err
	}
	e := entry{line: slices.Clone(line), done: make(chan error, 1)}
	select {
	case h.queue <- e:
	case <-h.ctx.Done():
		return ErrLost
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-e.done:
		return err
	case <-h.ctx.Done():
		return ErrLost
	case <-ctx.Done():
		return ctx.Err()
	}
}

// write takes all lines that wait to all sides at once.
func (h *Hold) write() {
	for {
		var batch []entry
		select {
		case <-h.ctx.Done():
			return
		case e := <-h.queue:
			batch = append(batch, e)
		}
		for more := true; more; {
			select {
			case e := <-h.queue:
				batch = append(batch, e)
			default:
				more = false
			}
		}
		lines := make([][]byte, len(batch))
		for i, e := range batch {
			lines[i] = e.line
		}
		err := h.commit(lines)
		for _, e := range batch {
			e.done <- err
		}
	}
}

func (h *Hold) commit(lines [][]byte) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.journal.add(lines); err != nil {
		return err
	}
	h.all(func(c *connection) error {
		_, err := c.ask(h.ctx, request{Op: opRecord, Lines: lines})
		return err
	})
	return h.enough()
}
