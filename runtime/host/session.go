package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/crypto/ssh"
)

// standardKeepAlive is the time between questions whether a machine is still there, unless told otherwise.
const standardKeepAlive = 15 * time.Second

// link is a living route: it knows when it has died.
type link struct {
	route *route
	done  chan struct{} // closed when the connection has ended, whoever ended it
}

func newLink(r *route, keepAlive time.Duration) *link {
	l := &link{route: r, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		_ = r.client.Wait() // that it ended is all there is to know
	}()
	if keepAlive == 0 {
		keepAlive = standardKeepAlive
	}
	if keepAlive > 0 {
		go l.watch(keepAlive)
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

// watch asks every so often whether the machine is still there, and ends the connection when no answer comes before the
// question after the next is due. Any answer will do (OpenSSH answers that it does not know the question).
func (l *link) watch(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	answers := make(chan error, 1)
	waiting := 0
	for {
		select {
		case <-l.done:
			return
		case <-answers:
			waiting = 0 // an error means that the connection ended, which done says too
			continue
		case <-tick.C:
		}
		if waiting++; waiting > 2 {
			_ = l.close() // its commands now learn that it is lost
			return
		}
		if waiting == 1 {
			go func() {
				_, _, err := l.route.client.SendRequest("keepalive@openssh.com", true, nil)
				answers <- err
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
			return nil, nil, fmt.Errorf("open a session: %w: the server allows too few at once: set MaxSessions in its sshd_config to 10 or more", err)
		}
		if broken != nil {
			return nil, nil, fmt.Errorf("open a session: %w: the connection broke twice: check the network and try again", err)
		}
		broken = l
	}
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

// end ends the command of a session: by a signal, by hunting it where the signal has no effect, by force, and by closing the
// session. It waits for the end, though not for ever.
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
	_ = s.Signal(ssh.SIGTERM) // OpenSSH refuses it for root's commands, and before 7.9 for all
	if over(moment) {
		return
	}
	for _, signal := range []string{"TERM", "KILL"} {
		if p.hunt != nil {
			p.hunt(ctx, func(ctx context.Context, p process) (int, error) { return h.aside(ctx, l, p) }, signal)
		}
		if over(grace) {
			return
		}
	}
}

// aside runs p in a session of its own that needs no slot: the command that it is to end holds one.
func (h *SSH) aside(ctx context.Context, l *link, p process) (int, error) {
	s, err := openSession(ctx, l)
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
