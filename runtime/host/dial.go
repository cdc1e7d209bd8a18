package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// maxJumps bounds the way to a machine, so that a ProxyJump that leads back to itself is an error.
const maxJumps = 8

// route is a logged-in connection and the connections that it goes through.
type route struct {
	client  *ssh.Client
	via     []*ssh.Client // the first hop first
	user    string
	silence time.Duration // that the machine may keep; negative: for ever
	heard   *atomic.Int64 // bytes that came from the machine
}

// close begins with the first hop: a connection through one that has died could not even say that it ends.
func (r *route) close() error {
	for _, c := range r.via {
		_ = c.Close() // what it says of its end changes nothing
	}
	err := r.client.Close()
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// dialer makes routes.
type dialer struct {
	o      SSHOptions
	config clientConfig
}

// connect goes to a, through what a's configuration says. depth counts the hops of hops.
func (d *dialer) connect(ctx context.Context, a Address, final bool, depth int) (*route, error) {
	t, err := d.config.lookup(a, d.o)
	if err != nil {
		return nil, err
	}
	jump := t.jump
	if final && d.o.ProxyJump != "" {
		jump = d.o.ProxyJump
	}
	r := &route{user: t.user, silence: cmp.Or(d.o.Silence, t.silence, standardSilence), heard: &atomic.Int64{}}
	if jump != "" && !strings.EqualFold(jump, "none") {
		if depth == maxJumps {
			return nil, fmt.Errorf("go to %s: more than %d jump hosts lead to each other: check ProxyJump in %s", a.Host, maxJumps, d.config.path)
		}
		if r.via, err = d.hops(ctx, jump, depth); err != nil {
			return nil, err
		}
	}
	if r.client, err = d.login(ctx, t, r.last(), final, r.heard); err != nil {
		for _, c := range slices.Backward(r.via) {
			_ = c.Close() // the error is the one to tell
		}
		return nil, err
	}
	return r, nil
}

func (r *route) last() *ssh.Client {
	if len(r.via) == 0 {
		return nil
	}
	return r.via[len(r.via)-1]
}

// hops connects the jump hosts of a ProxyJump list, each through the one before; the first may have jump hosts of its own.
func (d *dialer) hops(ctx context.Context, list string, depth int) (via []*ssh.Client, err error) {
	defer func() {
		if err != nil {
			for _, c := range slices.Backward(via) {
				_ = c.Close() // the error is the one to tell
			}
			via = nil
		}
	}()
	addresses, err := ParseAddresses(list)
	if err != nil {
		return nil, fmt.Errorf("read the jump hosts: %w", err)
	}
	for i, a := range addresses {
		if i == 0 {
			r, err := d.connect(ctx, a, false, depth+1)
			if err != nil {
				return nil, fmt.Errorf("jump host %s: %w", a.Host, err)
			}
			via = append(r.via, r.client)
			continue
		}
		t, err := d.config.lookup(a, d.o)
		if err != nil {
			return via, err
		}
		client, err := d.login(ctx, t, via[len(via)-1], false, &atomic.Int64{})
		if err != nil {
			return via, fmt.Errorf("jump host %s: %w", a.Host, err)
		}
		via = append(via, client)
	}
	return via, nil
}

// login opens a connection to t, straight or through via, and logs in. The password is for the machine at the end of the way
// only: a jump host must not see it. What comes from t is counted in heard.
func (d *dialer) login(ctx context.Context, t target, via *ssh.Client, final bool, heard *atomic.Int64) (*ssh.Client, error) {
	client, err := d.shakeHands(ctx, t, via, final, heard)
	if err == nil {
		return client, nil
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return nil, fmt.Errorf("ssh %s: no answer in the time there was: check the address, that the machine is up, and its load: %w", t.address(), ctx.Err())
	case ctx.Err() != nil:
		return nil, fmt.Errorf("ssh %s: %w", t.address(), ctx.Err())
	}
	err = fmt.Errorf("ssh %s: %w", t.address(), err)
	if len(d.config.notes) > 0 {
		err = fmt.Errorf("%w (%s)", err, strings.Join(d.config.notes, "; "))
	}
	return nil, err
}

func (d *dialer) shakeHands(ctx context.Context, t target, via *ssh.Client, final bool, heard *atomic.Int64) (*ssh.Client, error) {
	o := d.o
	if !final {
		o.Password = nil
	}
	keys, err := newKeyChecker(t.knownHosts, o.AlsoKnown, o.AcceptNew)
	if err != nil {
		return nil, err
	}
	limit := cmp.Or(d.o.ConnectTimeout, t.connect, standardConnect)
	conn, err := open(ctx, t, via, limit)
	if err != nil {
		return nil, unreached{explainDial(err, t, limit)}
	}
	conn = heardConn{conn, heard}
	patience := max(limit, standardLogin)
	var late atomic.Bool
	clock := time.AfterFunc(limit, func() { late.Store(true); _ = conn.Close() })
	defer clock.Stop()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	var silent error // why a question was not answered; the library flattens it
	ways := newLogin(ctx, o, t, func(question func() (string, error)) (string, error) {
		clock.Stop()
		defer clock.Reset(patience)
		answer, err := question()
		if err != nil {
			silent = err
		}
		return answer, err
	})
	defer ways.close()
	var refused error // what the key check said; the library flattens it
	shown := false    // the key of the machine: what comes is the login
	name := net.JoinHostPort(strings.ToLower(firstOf(t.keyName, t.host)), strconv.Itoa(t.port))
	check := keys.callback(name)
	c, chans, reqs, err := ssh.NewClientConn(conn, name, &ssh.ClientConfig{
		User: t.user, Auth: ways.methods(), HostKeyAlgorithms: keys.algorithms(name), ClientVersion: "SSH-2.0-sealrt",
		HostKeyCallback: func(hostname string, remote net.Addr, key ssh.PublicKey) error {
			shown = true
			clock.Reset(patience)
			refused = check(hostname, remote, key)
			return refused
		},
	})
	switch {
	case err == nil:
		return ssh.NewClient(c, chans, reqs), nil
	case refused != nil:
		return nil, refused
	case silent != nil:
		return nil, silent
	case late.Load() && shown:
		return nil, unreached{fmt.Errorf("the server did not finish the login within %s: check its load, and what its SSH server asks (PAM, LDAP, DNS)", patience)}
	case late.Load():
		return nil, unreached{fmt.Errorf("something accepts connections on port %d and does not speak SSH within %s: check the machine's load, and that an SSH server listens there", t.port, limit)}
	case errors.Is(err, errGiven), strings.Contains(err.Error(), "unable to authenticate"), strings.Contains(err.Error(), "Too many authentication failures"):
		return nil, ways.failure(err)
	}
	return nil, explainHandshake(err)
}

// The limits of a connection, unless told otherwise.
const (
	standardConnect = 10 * time.Second // what people give ssh(1) as ConnectTimeout
	standardLogin   = 30 * time.Second // a server may ask others whether to let somebody in
)

// heardConn counts what comes from a machine.
type heardConn struct {
	net.Conn
	heard *atomic.Int64
}

func (c heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.heard.Add(int64(n))
	return n, err
}

// open makes the connection that SSH is spoken over.
func open(ctx context.Context, t target, via *ssh.Client, limit time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	address := net.JoinHostPort(t.host, strconv.Itoa(t.port))
	if via != nil {
		return via.DialContext(ctx, "tcp", address)
	}
	var nd net.Dialer
	return nd.DialContext(ctx, "tcp", address)
}

// explainDial says why no connection came about, and what to do.
func explainDial(err error, t target, timeout time.Duration) error {
	var dns *net.DNSError
	var channel *ssh.OpenChannelError
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("no such host %q: check the name, or give the IP address", t.host)
	case errors.As(err, &dns) && !dns.IsTimeout:
		return fmt.Errorf("look up %q: %s: check the name and this machine's DNS", t.host, dns.Err)
	case errors.As(err, &channel):
		return fmt.Errorf("the jump host cannot get there: %s: check the address, and that the jump host allows TCP forwarding", channel.Message)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("connection refused: check that an SSH server listens on port %d; another port is given as HOST:PORT or --port", t.port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return errors.New("there is no route to the host: check the address and that the machine is up")
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return fmt.Errorf("no answer within %s: check the address, that the machine is up, and that no firewall drops port %d", timeout, t.port)
	}
	return fmt.Errorf("connect: %w", err)
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func explainHandshake(err error) error {
	var algorithms *ssh.AlgorithmNegotiationError
	switch {
	case errors.As(err, &algorithms):
		return fmt.Errorf("the server speaks only algorithms that are no longer safe: update its SSH server: %w", err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.ErrUnexpectedEOF):
		return unreached{fmt.Errorf("the server hung up before the login: it may limit connections (MaxStartups) or block this address, or no SSH server listens there: %w", err)}
	}
	return err
}
