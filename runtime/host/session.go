package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"
)

// standardSilence is how long a machine may say nothing before its connection is given up, unless told otherwise: what people
// get who set ServerAliveInterval 5 in their ssh_config(5).
const standardSilence = 15 * time.Second

// asked is how many questions whether the machine is still there fit into the silence that is allowed.
const asked = 3

// link is a living route: it knows when it has died.
type link struct {
	route *route
	done  chan struct{} // closed when the connection has ended, whoever ended it
	spare bool          // for one command
}

func newLink(r *route) *link {
	l := &link{route: r, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		_ = r.client.Wait() // that it ended is all there is to know
	}()
	if r.silence > 0 {
		tick := time.NewTicker(r.silence / asked)
		go func() {
			defer tick.Stop()
			l.watch(tick.C)
		}()
	}
	return l
}

func (l *link) dead() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *link) close() error { return l.route.close() }

// watch asks at each tick whether the machine is still there, and ends the connection when a question waits for the third tick
// and the machine has said nothing since. Any answer will do (OpenSSH answers that it does not know the question), and so will
// anything else: on a slow line the question stands behind the data that is sent.
func (l *link) watch(ticks <-chan time.Time) {
	var waits atomic.Bool // for an answer
	silent, heard := 0, l.route.heard.Load()
	for {
		select {
		case <-l.done:
			return
		case <-ticks:
		}
		now := l.route.heard.Load()
		if silent++; now != heard || !waits.Load() {
			silent, heard = 0, now
		}
		if silent == asked-1 {
			_ = l.close() // its commands now learn that it is lost
			return
		}
		if waits.CompareAndSwap(false, true) {
			go func() {
				_, _, _ = l.route.client.SendRequest("keepalive@openssh.com", true, nil) // done says when the connection has ended
				waits.Store(false)
			}()
		}
	}
}

// exec implements execFunc over a session of the connection.
func (h *SSH) exec(ctx context.Context, p process) (int, error) {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	l, s, err := h.session(ctx)
	if err != nil {
		return 0, err
	}
	if l.spare {
		defer func() { _ = l.close() }() // its one command has ended
	}
	return h.drive(ctx, l, s, p)
}

// session opens a session, over a new connection when the one there was turns out to be broken. Nothing has been sent yet, so
// that trying again is safe.
func (h *SSH) session(ctx context.Context) (*link, *ssh.Session, error) {
	var broken *link
	for {
		l, err := h.connect(ctx, broken)
		if err != nil {
			return nil, nil, err
		}
		s, err := openSession(ctx, l)
		if err == nil {
			return l, s, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		var refused *ssh.OpenChannelError
		if errors.As(err, &refused) {
			return h.spareSession(ctx)
		}
		if broken != nil {
			return nil, nil, unreached{fmt.Errorf("open a session: %w: the connection broke twice: check the network and try again", err)}
		}
		broken = l
	}
}

// spareSession opens a session over a connection of its own: the server allows no more of them over the one that there is. Such
// connections are made one by one: who allows few sessions may allow few logins at a time too (MaxStartups).
func (h *SSH) spareSession(ctx context.Context) (*link, *ssh.Session, error) {
	r, err := h.spareRoute(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("one more connection, since the server allows few sessions over one (MaxSessions in its sshd_config): %w", err)
	}
	l := newLink(r)
	l.spare = true
	s, err := openSession(ctx, l)
	if err != nil {
		_ = l.close() // the error is the one to tell
		return nil, nil, fmt.Errorf("open a session: %w: the server allows none: set MaxSessions in its sshd_config to 10", err)
	}
	return l, s, nil
}

func (h *SSH) spareRoute(ctx context.Context) (*route, error) {
	select {
	case h.mu <- struct{}{}:
		defer func() { <-h.mu }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.closed {
		return nil, errClosed
	}
	return h.dialer.connect(ctx, h.dialer.o.Address, true, 0)
}

// openSession is NewSession that ends with ctx, and with the connection: a request that is sent in the moment in which the
// connection ends is never answered.
func openSession(ctx context.Context, l *link) (*ssh.Session, error) {
	type result struct {
		s   *ssh.Session
		err error
	}
	opened := make(chan result, 1)
	go func() {
		s, err := l.route.client.NewSession()
		opened <- result{s, err}
	}()
	var err error
	select {
	case r := <-opened:
		return r.s, r.err
	case <-l.done:
		err = io.EOF
	case <-ctx.Done():
		err = ctx.Err()
	}
	go func() {
		if r := <-opened; r.err == nil {
			_ = r.s.Close() // nobody wants it any more
		}
	}()
	return nil, err
}

// drive runs p in s to its end, or to ctx's.
func (h *SSH) drive(ctx context.Context, l *link, s *ssh.Session, p process) (int, error) {
	defer s.Close()
	var out outputs
	defer out.cut()
	s.Stdout, s.Stderr = out.guard(p.stdout), out.guard(p.stderr)
	stdin, err := s.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("open standard input: %w", err)
	}
	fed := make(chan *watchedReader, 1)
	ended := make(chan error, 1)
	go func() {
		if err := s.Start(Quote(p.argv)); err != nil {
			ended <- err
			return
		}
		fed <- feed(stdin, p.stdin)
		ended <- s.Wait()
	}()
	select {
	case err := <-ended:
		return status(err, fed)
	case <-ctx.Done():
		h.end(ctx, l, s, p, ended)
		return 0, ctx.Err()
	}
}

// end ends the command of a session with all that it started: by a signal, by hunting it where the signal has no effect, by
// force, also where the command itself has ended and left somebody behind, and by closing the session. It waits for the end,
// though not for ever.
func (h *SSH) end(ctx context.Context, l *link, s *ssh.Session, p process, ended <-chan error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*grace)
	defer cancel()
	over := func(patience time.Duration) bool {
		t := time.NewTimer(patience)
		defer t.Stop()
		select {
		case <-ended:
		case <-l.done:
		case <-t.C:
			return false
		}
		return true
	}
	hunt := func(signal string) {
		if p.hunt != nil {
			p.hunt(ctx, func(ctx context.Context, p process) (int, error) { return h.aside(ctx, l, p) }, signal)
		}
	}
	_ = s.Signal(ssh.SIGTERM) // OpenSSH refuses it for root's commands, and before 7.9 for all
	gone := over(moment)
	if !gone {
		hunt("TERM")
		gone = over(grace)
	}
	hunt("KILL")
	if !gone {
		over(grace)
	}
}

// aside runs p in a session of its own that needs no slot: the command that it is to end holds one.
func (h *SSH) aside(ctx context.Context, l *link, p process) (int, error) {
	s, err := openSession(ctx, l)
	if refused := new(ssh.OpenChannelError); errors.As(err, &refused) {
		if l, s, err = h.spareSession(ctx); err == nil {
			defer func() { _ = l.close() }() // its one command has ended
		}
	}
	if err != nil {
		return 0, err
	}
	return h.drive(ctx, l, s, p)
}

// status reads the exit status out of what Wait or Start returned.
func status(err error, fed <-chan *watchedReader) (int, error) {
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	var refused *ssh.OpenChannelError
	switch {
	case err == nil:
		return 0, inputError(<-fed)
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	case errors.As(err, &missing), errors.Is(err, io.EOF), errors.As(err, &refused):
		return 0, fmt.Errorf("%w: it may or may not have run to its end: check the machine, then repeat the command", ErrLost)
	}
	return 0, err
}
