package swarm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime/host"
)

// session is a command that runs on a host and is talked to.
type session struct {
	in   *io.PipeWriter
	over chan struct{} // closed when the command has ended
	err  error         // how; read it when over is closed

	mu     sync.Mutex
	queue  [][]byte
	more   chan struct{} // has a value when there is something in the queue
	ending bool
}

// errStalled is why a transfer was given up.
var errStalled = errors.New("no sign of life")

// open starts a command; take gets the lines that it says. A command that says
// nothing and takes nothing, though it has been sent something, is not ended
// here: watch does that.
func (s *Swarm) open(ctx context.Context, on Runner, argv []string, take func(line []byte) error) *session {
	r, w := io.Pipe()
	c := &session{in: w, over: make(chan struct{}), more: make(chan struct{}, 1)}
	go func() {
		defer close(c.over)
		c.err = on.Run(ctx, host.Command{Argv: argv, Stdin: r, Stdout: &lineWriter{take: take}})
		r.CloseWithError(errEnded)
	}()
	go c.write()
	return c
}

// errEnded is what a command's input meets when the command has ended.
var errEnded = errors.New("the command on the host has ended")

// say sends a line, after those before it; it does not wait.
func (c *session) say(v any) {
	line, err := json.Marshal(v)
	if err != nil {
		c.in.CloseWithError(fmt.Errorf("write to the command on the host: %w", err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = append(c.queue, append(line, '\n'))
	c.wake()
}

// end closes the command's input behind the last line.
func (c *session) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.wake()
}

func (c *session) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// write passes the queue on.
func (c *session) write() {
	for {
		select {
		case <-c.over:
			return
		case <-c.more:
		}
		c.mu.Lock()
		lines, ending := c.queue, c.ending
		c.queue = nil
		c.mu.Unlock()
		for _, line := range lines {
			if _, err := c.in.Write(line); err != nil {
				return
			}
		}
		if ending {
			_ = c.in.Close() // of a pipe: always nil
			return
		}
	}
}

// wait returns when the command has ended after its input did.
func (c *session) wait(ctx context.Context) error {
	select {
	case <-c.over:
		return c.err
	case <-ctx.Done():
		<-c.over
		return context.Cause(ctx)
	}
}

// watchdog ends a context when nobody reports for a while.
type watchdog struct {
	timer *time.Timer
	every time.Duration
}

// watch returns a context that ends with errStalled unless the watchdog is fed.
func watch(ctx context.Context, every time.Duration) (context.Context, *watchdog, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{every: every}
	w.timer = time.AfterFunc(every, func() {
		cancel(fmt.Errorf("%w for %s: check the network between this machine and the host, and run the same command again", errStalled, every))
	})
	return ctx, w, func() { w.timer.Stop(); cancel(nil) }
}

func (w *watchdog) feed() { w.timer.Reset(w.every) }
