package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	tailSize = 4 << 10                // what ExitError keeps of standard error
	grace    = 3 * time.Second        // what a command gets to end by itself after it was told to
	moment   = 200 * time.Millisecond // what a signal gets to show that it has arrived
)

// process is one command line as a transport runs it: as the user who is logged in, nothing added.
type process struct {
	argv           []string
	stdin          io.Reader // nil: empty
	stdout, stderr io.Writer // nil: discarded
	// hunt sends it a signal by way of other commands, which run runs, where the transport's own way does not reach it.
	hunt func(ctx context.Context, run execFunc, signal string) // nil: there is no other way
}

// execFunc runs a process on a machine as the user who is logged in and returns its exit status. The error is for a process
// whose status is not known: ctx.Err(), or one that wraps ErrLost.
type execFunc func(ctx context.Context, p process) (int, error)

// errCut is what a command's late output meets after its Run has returned.
var errCut = errors.New("the command's output is no longer wanted")

// outputs guards the two writers of a command: one write at a time, since both may be the same writer, and none at all once
// Run has returned.
type outputs struct {
	mu  sync.Mutex
	off bool
}

// cut ends all writing; it waits for a write that is under way.
func (o *outputs) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.off = true
}

func (o *outputs) guard(w io.Writer) io.Writer {
	if w == nil {
		w = io.Discard
	}
	return guardedWriter{o, w}
}

type guardedWriter struct {
	o *outputs
	w io.Writer
}

func (g guardedWriter) Write(p []byte) (int, error) {
	g.o.mu.Lock()
	defer g.o.mu.Unlock()
	if g.o.off {
		return 0, errCut
	}
	return g.w.Write(p)
}

// writeError is why a command was stopped: what it said could not be passed on.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }

// stopping returns a writer whose first failure stops the command. From then on it swallows what comes, since a command whose
// output nobody takes would wait for ever.
func stopping(w io.Writer, stop context.CancelCauseFunc) io.Writer {
	if w == nil {
		return nil
	}
	return &stoppingWriter{w: w, stop: stop}
}

type stoppingWriter struct {
	w      io.Writer
	stop   context.CancelCauseFunc
	failed bool
}

func (s *stoppingWriter) Write(p []byte) (int, error) {
	if s.failed {
		return len(p), nil
	}
	if _, err := s.w.Write(p); err != nil {
		s.failed = true
		s.stop(&writeError{err})
	}
	return len(p), nil
}

// tailWriter keeps the end of what is written and passes all of it on.
type tailWriter struct {
	next io.Writer // nil: nothing is passed on
	buf  []byte
	cut  bool
}

func (t *tailWriter) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p[max(0, len(p)-tailSize):]...)
	if over := len(t.buf) - tailSize; over > 0 || len(p) > tailSize {
		t.buf = append(t.buf[:0], t.buf[max(0, over):]...)
		t.cut = true
	}
	if t.next == nil {
		return len(p), nil
	}
	return t.next.Write(p)
}

// String returns the end, from the beginning of a line where there is one.
func (t *tailWriter) String() string {
	if !t.cut {
		return string(t.buf)
	}
	if i := bytes.IndexByte(t.buf, '\n'); i >= 0 && i+1 < len(t.buf) {
		return string(t.buf[i+1:])
	}
	return string(t.buf)
}

// gate is a standard input that holds everything back until it is opened: then it yields the secret's line, then the data.
type gate struct {
	secret io.Reader
	data   io.Reader
	opened chan struct{}
	closed chan struct{}
	open   func()
	close  func()
}

func newGate(secret string, data io.Reader) *gate {
	g := &gate{data: data, opened: make(chan struct{}), closed: make(chan struct{})}
	g.secret = bytes.NewReader([]byte(secret + "\n"))
	g.open = sync.OnceFunc(func() { close(g.opened) })
	g.close = sync.OnceFunc(func() { close(g.closed) })
	return g
}

func (g *gate) Read(p []byte) (int, error) {
	select {
	case <-g.opened:
	case <-g.closed:
		return 0, io.EOF
	}
	select {
	case <-g.closed:
		return 0, io.EOF
	default:
	}
	if n, _ := g.secret.Read(p); n > 0 {
		return n, nil
	}
	if g.data == nil {
		return 0, io.EOF
	}
	return g.data.Read(p)
}

// promptWriter takes a prompt out of a standard error. What comes before the first prompt is the prompting program's own
// talk and is dropped with it, unless no prompt ever comes.
type promptWriter struct {
	next   io.Writer
	prompt []byte
	onSeen func(times int)
	held   []byte
	times  atomic.Int32
}

func (w *promptWriter) Write(p []byte) (int, error) {
	w.held = append(w.held, p...)
	for {
		before, after, found := bytes.Cut(w.held, w.prompt)
		if !found {
			break
		}
		if w.times.Load() > 0 {
			if _, err := w.next.Write(before); err != nil {
				return 0, err
			}
		}
		w.held = bytes.Clone(after)
		w.onSeen(int(w.times.Add(1)))
	}
	if w.times.Load() == 0 {
		w.held = w.held[max(0, len(w.held)-tailSize):]
		return len(p), nil
	}
	keep := overlap(w.held, w.prompt)
	if n := len(w.held) - keep; n > 0 {
		if _, err := w.next.Write(w.held[:n]); err != nil {
			return 0, err
		}
		w.held = bytes.Clone(w.held[n:])
	}
	return len(p), nil
}

// flush passes on what was held back; call it when the process has ended.
func (w *promptWriter) flush() error {
	_, err := w.next.Write(w.held)
	w.held = nil
	return err
}

// overlap is the length of the longest end of s that could be the beginning of prompt.
func overlap(s, prompt []byte) int {
	for n := min(len(s), len(prompt)-1); n > 0; n-- {
		if bytes.HasPrefix(prompt, s[len(s)-n:]) {
			return n
		}
	}
	return 0
}

// watchedReader remembers the error that ended a read, which the program that is fed cannot tell from the end of the data.
type watchedReader struct {
	r   io.Reader
	mu  sync.Mutex
	err error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}
	return n, err
}

func (w *watchedReader) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
