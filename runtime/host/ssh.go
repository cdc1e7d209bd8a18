package host

import (
	"context"
	"errors"
	"time"
)

// SSHOptions says how a machine is reached. The zero value of every field but the address works; what is not said here is
// looked up in Config, as ssh(1) does.
type SSHOptions struct {
	Address

	Config    string // path of an ssh_config(5); "": none. A file that does not exist is none.
	Home      string // what ~ and %d stand for in paths; "": such paths are not used
	LocalUser string // the user to log in as when neither Address nor Config says; "": root
	ProxyJump string // "[user@]host[:port],..." through which to go; "": what Config says; "none": go straight

	Identities []string // private key files, tried first
	Agent      string   // socket of an ssh-agent; "": none
	// Passphrase is asked for the passphrase of an encrypted key, and only when the server would accept that key.
	Passphrase func(file string) (string, error)
	// Password is asked for the login password when no key was accepted; nil: passwords are not tried.
	Password func() (string, error)

	KnownHosts []string // known_hosts files; nil: what Config says, else Home/.ssh/known_hosts and /etc/ssh/ssh_known_hosts
	AlsoKnown  string   // a known_hosts file that counts beside those; "": none
	AcceptNew  string   // file to which keys of hosts seen for the first time are appended; "": such hosts are refused

	Become string // how to become root: "" (not at all), "sudo" or "doas"; nothing is done when the login is root's
	// BecomePassword is asked for the password that sudo asks for; nil: only sudo without a password is tried.
	BecomePassword func() (string, error)

	// ConnectTimeout is for each machine of the way: until it answers, and then until it has shown its key, as in ssh(1). The
	// login itself may take 30 s, or ConnectTimeout if that is longer. 0: what Config says, else 10 s.
	ConnectTimeout time.Duration
	// Silence is how long the machine may say nothing, though it is asked, before its connection is given up. 0: what Config
	// says (ServerAliveInterval x ServerAliveCountMax), else 15 s; negative: for ever.
	Silence time.Duration
	// MaxSessions is how many commands run at once; 0: 8. sshd allows 10 over a connection unless told otherwise. Where it allows
	// fewer, further commands have a connection each.
	MaxSessions int
}

// SSH is a machine behind SSH, as one connection that carries all commands. A connection that is found broken before a
// command was sent is made again, once for that command; a command that may have run is never run again.
type SSH struct {
	dialer dialer
	become *becomer
	slots  chan struct{} // one for each command that runs

	mu     chan struct{} // held by whoever looks at or replaces link; a channel, so that waiting ends with a ctx
	link   *link
	closed bool
}

var _ Host = (*SSH)(nil)

// errClosed is the error of a command that comes after Close.
var errClosed = errors.New("the connection was closed")

// Dial connects to a machine and logs in. ctx ends the attempt, not the connection, which the caller closes. What is asked of
// the user is asked by the callbacks of o, from this call and from later ones that have to connect again; callers that dial
// several machines at once make them safe for that and let them remember the answer.
func Dial(ctx context.Context, o SSHOptions) (*SSH, error) {
	if o.Host == "" {
		return nil, errors.New("connect: no host is named: give [user@]host[:port]")
	}
	config, err := readConfig(o.Config, o.Home)
	if err != nil {
		return nil, err
	}
	sessions := o.MaxSessions
	if sessions <= 0 {
		sessions = 8
	}
	h := &SSH{dialer: dialer{o: o, config: config}, slots: make(chan struct{}, sessions), mu: make(chan struct{}, 1)}
	l, err := h.connect(ctx, nil)
	if err != nil {
		return nil, err
	}
	how := o.Become
	if l.route.user == "root" {
		how = ""
	}
	if h.become, err = newBecomer(how, o.Host, l.route.user, o.BecomePassword, h.exec); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	h.become.shell = true
	return h, nil
}

// Name is the host of the address as the user gave it.
func (h *SSH) Name() string { return h.dialer.o.Host }

// User is the user who is logged in, which the configuration may have named.
func (h *SSH) User() string { return h.become.user }

// Run implements Host. At most MaxSessions commands run at once; others wait.
func (h *SSH) Run(ctx context.Context, c Command) error { return h.become.run(ctx, c) }

// Close implements Host.
func (h *SSH) Close() error {
	h.mu <- struct{}{}
	defer func() { <-h.mu }()
	h.closed = true
	if h.link == nil {
		return nil
	}
	err := h.link.close()
	h.link = nil
	return err
}

// connect returns the connection, made now if there is none that lives, or only the broken one.
func (h *SSH) connect(ctx context.Context, broken *link) (*link, error) {
	select {
	case h.mu <- struct{}{}:
		defer func() { <-h.mu }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if h.closed {
		return nil, errClosed
	}
	if h.link != nil && h.link != broken && !h.link.dead() {
		return h.link, nil
	}
	if h.link != nil {
		_ = h.link.close() // broken already
		h.link = nil
	}
	r, err := h.dialer.connect(ctx, h.dialer.o.Address, true, 0)
	if err != nil {
		return nil, err
	}
	h.link = newLink(r)
	return h.link, nil
}
