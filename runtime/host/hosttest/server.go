package hosttest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// ServerOptions says what a Server accepts and how badly it behaves. With the zero value it lets nobody in.
type ServerOptions struct {
	Password       string          // "": no login by password; it is taken as the answer to a question too
	AuthorizedKeys []ssh.PublicKey // let in whatever the user is called
	HostKeys       []ssh.Signer    // nil: one new ed25519 key
	Env            []string        // the whole environment of commands; nil: that of this process

	Shell         string          // login shell of everybody; "": /bin/sh
	Listen        string          // address of this machine; "": 127.0.0.1
	MaxSessions   int             // sessions at once over a connection; 0: 10, as sshd has it
	Hold          <-chan struct{} // logins begin when it is closed; nil: at once
	IgnoreSignals bool            // as sshd before 7.9 does, and any sshd whose command became root
	// IgnoreQuestions leaves questions whether the machine is there unanswered, as a line does that is full of other things.
	IgnoreQuestions bool
}

// Server is an SSH server on a loopback port that runs commands as sshd does: by the login shell with -c, as the user of this process. It
// forwards TCP connections, so that it serves as a jump host too.
type Server struct {
	o        ServerOptions
	listener net.Listener
	config   *ssh.ServerConfig
	work     sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	groups   map[int]bool // process groups that run
	accepted int
	most     int // sessions at once, at most so far
	commands []string
	tried    []string
	users    []string
}

// NewServer starts a server. The caller closes it.
func NewServer(o ServerOptions) (*Server, error) {
	if len(o.HostKeys) == 0 {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("make a host key: %w", err)
		}
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			return nil, fmt.Errorf("make a host key: %w", err)
		}
		o.HostKeys = []ssh.Signer{signer}
	}
	if o.MaxSessions == 0 {
		o.MaxSessions = 10
	}
	if o.Shell == "" {
		o.Shell = "/bin/sh"
	}
	if o.Listen == "" {
		o.Listen = "127.0.0.1"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(o.Listen, "0"))
	if err != nil {
		return nil, fmt.Errorf("start an SSH server: %w", err)
	}
	s := &Server{o: o, listener: listener, conns: map[net.Conn]bool{}, groups: map[int]bool{}}
	s.config = s.authentication()
	s.work.Add(1)
	go s.serve()
	return s, nil
}

// authentication sets up the logins that are accepted, and writes down those that were tried.
func (s *Server) authentication() *ssh.ServerConfig {
	c := &ssh.ServerConfig{}
	for _, k := range s.o.HostKeys {
		c.AddHostKey(k)
	}
	c.AuthLogCallback = func(conn ssh.ConnMetadata, _ string, err error) { // before the client is told
		if err == nil {
			s.note(func() { s.users = append(s.users, conn.User()) })
		}
	}
	errRefused := errors.New("refused")
	c.PublicKeyCallback = func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		s.note(func() { s.tried = append(s.tried, ssh.FingerprintSHA256(key)) })
		for _, k := range s.o.AuthorizedKeys {
			if bytes.Equal(k.Marshal(), key.Marshal()) {
				return nil, nil
			}
		}
		return nil, errRefused
	}
	if s.o.Password != "" {
		c.PasswordCallback = func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			s.note(func() { s.tried = append(s.tried, "password") })
			if string(password) == s.o.Password {
				return nil, nil
			}
			return nil, errRefused
		}
		c.KeyboardInteractiveCallback = func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: "}, []bool{false})
			if err != nil || len(answers) != 1 {
				return nil, errRefused
			}
			return c.PasswordCallback(nil, []byte(answers[0]))
		}
	}
	return c
}

func (s *Server) note(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
}

// Port is the port on which the server listens.
func (s *Server) Port() int {
	if a, ok := s.listener.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// KnownHosts returns the lines of a known_hosts file for the server, one for each of its host keys.
func (s *Server) KnownHosts() string {
	var lines string
	for _, k := range s.o.HostKeys {
		lines += knownhosts.Line([]string{s.listener.Addr().String()}, k.PublicKey()) + "\n"
	}
	return lines
}

// Connections is how many connections were accepted so far.
func (s *Server) Connections() int { s.mu.Lock(); defer s.mu.Unlock(); return s.accepted }

// MostSessions is how many sessions were open at once, at most so far.
func (s *Server) MostSessions() int { s.mu.Lock(); defer s.mu.Unlock(); return s.most }

// Commands returns the command lines so far, as they came.
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Tried returns the logins that were tried so far: fingerprints of keys, and "password".
func (s *Server) Tried() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.tried) }

// Users returns who logged in so far.
func (s *Server) Users() []string { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.users) }

// Drop breaks all connections, as a machine that goes down. New ones are accepted.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close() // that is the point
	}
}

// Freeze makes the connections there are go silent without an end, as behind a firewall that forgot them. New ones work.
func (s *Server) Freeze() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if f, ok := c.(*freezable); ok {
			f.frozen.Store(true)
		}
	}
}

// Close ends all connections and kills all commands, and waits until both are gone.
func (s *Server) Close() error {
	err := s.listener.Close()
	s.Drop()
	s.killAll()
	s.work.Wait()
	return err
}

func (s *Server) serve() {
	defer s.work.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return // closed
		}
		c := &freezable{Conn: conn, gone: make(chan struct{})}
		s.note(func() { s.accepted++; s.conns[c] = true })
		s.work.Add(1)
		go func() {
			defer s.work.Done()
			defer s.note(func() { delete(s.conns, c) })
			defer c.Close()
			s.connection(c)
		}()
	}
}

func (s *Server) connection(c *freezable) {
	if s.o.Hold != nil {
		select {
		case <-s.o.Hold:
		case <-c.gone:
			return
		}
	}
	_, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return // not let in, which the client learns
	}
	go func() {
		for r := range requests {
			if r.WantReply && !s.o.IgnoreQuestions {
				_ = r.Reply(false, nil) // the connection may be gone
			}
		}
	}()
	var open atomic.Int32
	var work sync.WaitGroup
	for ch := range channels {
		switch {
		case ch.ChannelType() == "direct-tcpip":
			work.Go(func() { forward(ch) })
		case ch.ChannelType() != "session":
			_ = ch.Reject(ssh.UnknownChannelType, "hosttest knows sessions and direct-tcpip") // the connection may be gone
		case open.Add(1) > int32(s.o.MaxSessions):
			open.Add(-1)
			_ = ch.Reject(ssh.ConnectionFailed, "open failed") // the words of sshd
		default:
			s.note(func() { s.most = max(s.most, int(open.Load())) })
			work.Go(func() { s.session(ch, func() { open.Add(-1) }) })
		}
	}
	work.Wait()
}

// forward connects a channel to where it asks for (RFC 4254, 7.2).
func forward(ch ssh.NewChannel) {
	var to struct {
		Host       string
		Port       uint32
		OriginHost string
		OriginPort uint32
	}
	if err := ssh.Unmarshal(ch.ExtraData(), &to); err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error()) // the connection may be gone
		return
	}
	conn, err := net.Dial("tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port)))
	if err != nil {
		_ = ch.Reject(ssh.ConnectionFailed, err.Error()) // the connection may be gone
		return
	}
	channel, requests, err := ch.Accept()
	if err != nil {
		_ = conn.Close() // nobody uses it
		return
	}
	go ssh.DiscardRequests(requests)
	var both sync.WaitGroup
	pipe := func(to io.WriteCloser, from io.Reader) {
		_, _ = io.Copy(to, from) // an end is an end
		_ = to.Close()
	}
	both.Go(func() { pipe(conn, channel) })
	both.Go(func() { pipe(channel, conn) })
	both.Wait()
}

// freezable is a connection that can go silent.
type freezable struct {
	net.Conn
	frozen atomic.Bool
	once   sync.Once
	gone   chan struct{}
}

func (f *freezable) Read(p []byte) (int, error) {
	n, err := f.Conn.Read(p)
	if f.frozen.Load() {
		<-f.gone
		return 0, net.ErrClosed
	}
	return n, err
}

func (f *freezable) Write(p []byte) (int, error) {
	if f.frozen.Load() {
		return len(p), nil // into the void
	}
	return f.Conn.Write(p)
}

func (f *freezable) Close() error {
	f.once.Do(func() { close(f.gone) })
	return f.Conn.Close()
}
