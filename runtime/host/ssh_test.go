package host_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// newKey makes an ed25519 key.
func newKey(t *testing.T) (crypto.PrivateKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private, signerOf(t, private)
}

func newECDSA(t *testing.T) ssh.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, private)
}

func signerOf(t *testing.T, private crypto.PrivateKey) ssh.Signer {
	t.Helper()
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keyFile writes a private key; with a passphrase, encrypted.
func keyFile(t *testing.T, private crypto.PrivateKey, passphrase string) string {
	t.Helper()
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "id", string(pem.EncodeToMemory(block)))
}

func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// served is a server and what it takes to get in.
type served struct {
	server *hosttest.Server
	o      host.SSHOptions
	ssh    *host.SSH
}

// serve starts a server that the options let into, unless change says otherwise.
func serve(t *testing.T, so hosttest.ServerOptions, change func(*host.SSHOptions)) served {
	t.Helper()
	private, signer := newKey(t)
	so.AuthorizedKeys = append(so.AuthorizedKeys, signer.PublicKey())
	server, err := hosttest.NewServer(so)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	o := host.SSHOptions{
		Address:    host.Address{User: "root", Host: "127.0.0.1", Port: server.Port()},
		Identities: []string{keyFile(t, private, "")},
		KnownHosts: []string{writeFile(t, "known_hosts", server.KnownHosts())},
	}
	if change != nil {
		change(&o)
	}
	return served{server: server, o: o}
}

func connected(t *testing.T, so hosttest.ServerOptions, change func(*host.SSHOptions)) served {
	t.Helper()
	s := serve(t, so, change)
	var err error
	if s.ssh, err = host.Dial(t.Context(), s.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.ssh.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// pidWriter takes the first line of a command that says its process id.
type pidWriter struct {
	started chan string
	once    sync.Once
}

func (w *pidWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { w.started <- strings.TrimSpace(string(p)) })
	return len(p), nil
}

// processLives reports whether a process is still there after it had time to go. A process whose files are closed may take a
// moment to be gone, and an orphan stays as a zombie until somebody collects it.
func processLives(t *testing.T, id string) bool {
	t.Helper()
	pid, err := strconv.Atoi(id)
	if err != nil || pid <= 1 {
		t.Fatalf("%q is not a process id", id)
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if syscall.Kill(pid, 0) != nil {
			return false
		}
		if stat, err := os.ReadFile("/proc/" + id + "/stat"); err == nil && strings.Contains(string(stat), ") Z ") {
			return false
		}
	}
	return true
}

func TestCommandsShareOneConnectionAndItsSessions(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{MaxSessions: 3}, func(o *host.SSHOptions) { o.MaxSessions = 3 })
	var work sync.WaitGroup
	for i := range 20 {
		work.Go(func() {
			out, err := host.Output(t.Context(), s.ssh, "echo", strconv.Itoa(i))
			if err != nil || strings.TrimSpace(string(out)) != strconv.Itoa(i) {
				t.Errorf("%d: got %q %v", i, out, err)
			}
		})
	}
	work.Wait()
	if n := s.server.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
	if n := s.server.MostSessions(); n > 3 {
		t.Errorf("%d sessions at once", n)
	}
}

func TestCommandsHaveTheirOwnConnectionsWhereOneCarriesTooFew(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{MaxSessions: 1, IgnoreSignals: true}, nil)
	pid := pidWriter{started: make(chan string, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		_ = s.ssh.Run(ctx, host.Command{Argv: []string{"sh", "-c", "echo $$; exec sleep 600"}, Stdout: &pid})
	})
	id := <-pid.started
	if out, err := host.Output(t.Context(), s.ssh, "echo", "a"); err != nil || string(out) != "a\n" {
		t.Errorf("got %q %v", out, err)
	}
	if n := s.server.Connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
	cancel()
	work.Wait()
	if processLives(t, id) {
		t.Error("what hung outlived its Run")
	}
}

func TestServerThatAllowsNoSessionsIsNamed(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{MaxSessions: -1}, nil)
	if err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "set MaxSessions in its sshd_config") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenConnectionIsMadeAgainBeforeACommand(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, nil)
	for range 3 {
		s.server.Drop()
		if _, err := host.Output(t.Context(), s.ssh, "true"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.server.Connections(); n != 4 {
		t.Errorf("%d connections, want 4", n)
	}
}

func TestConnectionFoundBrokenByACommandIsMadeAgainOnce(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, nil)
	s.ssh.BreakUnnoticed()
	if out, err := host.Output(t.Context(), s.ssh, "echo", "a"); err != nil || string(out) != "a\n" {
		t.Errorf("got %q %v", out, err)
	}
	if n := s.server.Connections(); n != 2 {
		t.Errorf("%d connections, want 2", n)
	}
}

func TestCommandThatMayHaveRunIsNotRunAgain(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, nil)
	mark := filepath.Join(t.TempDir(), "runs")
	pid := pidWriter{started: make(chan string, 1)}
	go func() {
		<-pid.started
		s.server.Drop()
	}()
	err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "echo run >> " + mark + "; echo $$; exec sleep 600"}, Stdout: &pid})
	if !errors.Is(err, host.ErrLost) {
		t.Errorf("got %v", err)
	}
	if content, err := os.ReadFile(mark); err != nil || string(content) != "run\n" {
		t.Errorf("ran: %q %v", content, err)
	}
}

func TestSilentConnectionIsFoundOut(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, nil)
	pid := pidWriter{started: make(chan string, 1)}
	tick := s.ssh.Watched()
	go func() {
		<-pid.started
		s.server.Freeze()
		for tick() { // three times, unless something was still under way
		}
	}()
	err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "echo $$; exec sleep 600"}, Stdout: &pid})
	if !errors.Is(err, host.ErrLost) {
		t.Errorf("got %v", err)
	}
	if _, err := host.Output(t.Context(), s.ssh, "true"); err != nil {
		t.Errorf("over a new connection: %v", err)
	}
}

// On a slow line the answer to a question comes late, and everything else that comes shows that the machine lives.
func TestConnectionThatIsHeardOfIsKept(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{IgnoreQuestions: true}, nil)
	tick := s.ssh.Watched()
	for range 5 {
		for range 2 {
			tick()
		}
		if _, err := host.Output(t.Context(), s.ssh, "true"); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.server.Connections(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestWhatTheConfigurationSaysOfTimeCounts(t *testing.T) {
	held := make(chan struct{})
	defer close(held)
	s := serve(t, hosttest.ServerOptions{Hold: held}, nil)
	for config, want := range map[string]string{
		"ConnectTimeout 100ms":   "within 100ms",
		"ConnectTimeout soon":    `read ConnectTimeout for 127.0.0.1 in`,
		"ServerAliveInterval -1": `"-1" is not a time: write seconds`,
		"ServerAliveCountMax x":  `"x" is not a number`,
	} {
		o := s.o
		o.Config = writeFile(t, "config", config+"\n")
		if _, err := host.Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

func TestCommandEndsWithAllThatItStarted(t *testing.T) {
	for _, tt := range []struct {
		argv   []string
		arrive bool // signals
	}{
		{[]string{"sh", "-c", "echo $$; exec sleep 600"}, false},
		{[]string{"sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.1; done"}, false}, // takes force
		{[]string{"sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$; exec >/dev/null 2>&1; while :; do sleep 0.1; done' & wait"}, false},
		{[]string{"sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$; exec >/dev/null 2>&1; while :; do sleep 0.1; done' & wait"}, true},
	} {
		s := connected(t, hosttest.ServerOptions{IgnoreSignals: !tt.arrive}, func(o *host.SSHOptions) { o.MaxSessions = 1 })
		ctx, cancel := context.WithCancel(t.Context())
		pid := pidWriter{started: make(chan string, 1)}
		go func() {
			id := <-pid.started
			cancel()
			pid.started <- id
		}()
		err := s.ssh.Run(ctx, host.Command{Argv: tt.argv, Stdout: &pid})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if id := <-pid.started; processLives(t, id) {
			t.Errorf("%q, signals arrive: %t: process %s outlived its Run", tt.argv, tt.arrive, id)
		}
	}
}

func TestClosedHostRunsNothing(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, nil)
	for range 2 {
		if err := s.ssh.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := host.Output(t.Context(), s.ssh, "true"); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("got %v", err)
	}
}

func TestNameIsWhatTheUserSaid(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, func(o *host.SSHOptions) {
		o.Config = writeFile(t, "config", fmt.Sprintf("Host alias\n HostName 127.0.0.1\n Port %d\n User root\n", o.Port))
		o.Address = host.Address{Host: "alias"}
	})
	if s.ssh.Name() != "alias" || s.ssh.User() != "root" {
		t.Errorf("got %s %s", s.ssh.Name(), s.ssh.User())
	}
}

func TestDialSaysWhyThereIsNoConnection(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := closed.Addr().(*net.TCPAddr).Port
	_ = closed.Close()
	hangsUp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangsUp.Close()
	go func() {
		for {
			c, err := hangsUp.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	held := make(chan struct{})
	defer close(held)
	silent := serve(t, hosttest.ServerOptions{Hold: held}, nil)
	tests := []struct {
		name    string
		address host.Address
		want    []string
	}{
		{"refused", host.Address{Host: "127.0.0.1", Port: port}, []string{fmt.Sprintf("ssh root@127.0.0.1:%d: connection refused", port), "HOST:PORT"}},
		{"no such host", host.Address{Host: "no-such-host.invalid"}, []string{"no-such-host.invalid", "check the name"}},
		{"hangs up", host.Address{Host: "127.0.0.1", Port: hangsUp.Addr().(*net.TCPAddr).Port}, []string{"hung up before the login"}},
		{"silent", silent.o.Address, []string{"does not speak SSH within 100ms"}},
		{"nobody", host.Address{}, []string{"no host is named"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := host.Dial(t.Context(), host.SSHOptions{Address: tt.address, KnownHosts: []string{}, ConnectTimeout: 100 * time.Millisecond})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
		})
	}
}

func TestDialEndsWithTheContext(t *testing.T) {
	held := make(chan struct{})
	defer close(held)
	s := serve(t, hosttest.ServerOptions{Hold: held}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := host.Dial(ctx, s.o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}
