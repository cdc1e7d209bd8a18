package state

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// NoHelperError says that a master has no sealrt that can keep the state: it is
// to be sent there first.
type NoHelperError struct {
	Master string
	Cause  error
}

func (e *NoHelperError) Error() string {
	return fmt.Sprintf("host %s: no sealrt is there that keeps the state: %v", e.Master, e.Cause)
}

func (e *NoHelperError) Unwrap() error { return e.Cause }

// connection is a keeper that runs on a master. Its methods may be called
// concurrently.
type connection struct {
	master string
	status Status // when the lock was taken
	last   string // ID of who had it before; "": nobody, or it is not known
	in     *io.PipeWriter
	out    chan answer   // closed when the keeper has ended
	ended  chan struct{} // closed when the command has
	err    error         // why, once ended is closed
	stop   context.CancelFunc

	mu  sync.Mutex // one request at a time
	seq int64
}

// connect starts the keeper on a master. argv is its command there.
func connect(ctx context.Context, name string, h host.Host, argv []string) *connection {
	ctx, stop := context.WithCancel(ctx)
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	c := &connection{master: name, in: inWrite, out: make(chan answer), ended: make(chan struct{}), stop: stop}
	go func() {
		var said bytes.Buffer
		err := h.Run(ctx, host.Command{Argv: argv, Stdin: inRead, Stdout: outWrite, Stderr: &said})
		if err == nil {
			err = errors.New("the keeper has ended")
		}
		c.err = err
		close(c.ended)
		inRead.CloseWithError(err)
		outWrite.CloseWithError(err)
	}()
	go func() {
		defer close(c.out)
		lines := bufio.NewScanner(outRead)
		lines.Buffer(nil, maxRequest)
		for lines.Scan() {
			var a answer
			if json.Unmarshal(lines.Bytes(), &a) != nil {
				continue // what a login prints before the program begins
			}
			select {
			case c.out <- a:
			case <-ctx.Done():
				return
			}
		}
		outRead.CloseWithError(errors.New("nobody reads"))
	}()
	return c
}

// ask sends a request and returns the answer. An error that the keeper answered
// leaves it alive; after any other, alive says no.
func (c *connection) ask(ctx context.Context, r request) (answer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	c.seq++
	r.Seq = c.seq
	raw, err := json.Marshal(r)
	if err != nil {
		return answer{}, err
	}
	sent := make(chan error, 1)
	go func() { _, err := c.in.Write(append(raw, '\n')); sent <- err }()
	for {
		select {
		case err := <-sent:
			if err != nil {
				return answer{}, c.lost(err)
			}
			sent = nil
		case a, ok := <-c.out:
			if !ok {
				return answer{}, c.lost(io.ErrUnexpectedEOF)
			}
			if a.Seq != c.seq {
				continue // of a request that nobody waited for
			}
			if a.Error != "" {
				return a, errors.New(a.Error)
			}
			return a, nil
		case <-ctx.Done():
			return answer{}, c.lost(ctx.Err())
		}
	}
}

// lost ends a connection that does not work, and returns why it does not.
func (c *connection) lost(err error) error {
	c.stop()
	c.in.CloseWithError(io.ErrClosedPipe)
	<-c.ended
	if c.err != nil && !errors.Is(c.err, context.Canceled) {
		err = c.err
	}
	return err
}

// alive reports whether the keeper still runs.
func (c *connection) alive() bool {
	if c == nil {
		return false
	}
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// close lets the keeper end: it gives the lock back when its input ends.
func (c *connection) close() {
	c.in.Close()
	select {
	case <-c.ended:
	case <-time.After(5 * time.Second):
	}
	c.stop()
	<-c.ended
}

// withHelper carries out what needs a keeper on a master; where sealrt is not
// there, or is another version, deliver brings it, once.
func withHelper[T any](ctx context.Context, m Master, deliver func(context.Context, Master) error, do func() (T, error)) (T, error) {
	found, err := do()
	var missing *NoHelperError
	if err == nil || !errors.As(err, &missing) || deliver == nil {
		return found, err
	}
	if err := deliver(ctx, m); err != nil {
		return found, fmt.Errorf("host %s: sealrt is not there: %w", m.Name, err)
	}
	return do()
}

// explain tells a missing helper from other failures of its first answer: there
// is no such program, it cannot be run, or it does not know the command.
func explain(master string, err error) error {
	var exit *host.ExitError
	if errors.As(err, &exit) && slices.Contains([]int{2, 126, 127}, exit.Code) {
		return &NoHelperError{Master: master, Cause: err}
	}
	return fmt.Errorf("host %s: %w", master, err)
}

// Fetch returns the state as a master has it, without the lock. argv is the
// keeper's command there; deliver, if not nil, brings sealrt where it is
// missing.
func Fetch(ctx context.Context, m Master, argv []string, deliver func(context.Context, Master) error) (*Snapshot, error) {
	return withHelper(ctx, m, deliver, func() (*Snapshot, error) {
		c := connect(ctx, m.Name, m.Host, argv)
		defer c.close()
		a, err := c.ask(ctx, request{Op: opShow})
		if err != nil {
			return nil, explain(m.Name, err)
		}
		return a.Snapshot, nil
	})
}
