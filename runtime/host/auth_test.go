package host_test

import (
	"crypto"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// runAgent serves an ssh-agent with keys and returns its socket.
func runAgent(t *testing.T, keys ...crypto.PrivateKey) string {
	t.Helper()
	ring := agent.NewKeyring()
	for _, k := range keys {
		if err := ring.Add(agent.AddedKey{PrivateKey: k, Comment: "me@desk"}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return l.Addr().String()
}

func TestWaysToLogIn(t *testing.T) {
	private, signer := newKey(t)
	other, otherSigner := newKey(t)
	authorized := []ssh.PublicKey{signer.PublicKey()}
	secret := func() (string, error) { return "s3cret", nil }
	mine, theirs := ssh.FingerprintSHA256(signer.PublicKey()), ssh.FingerprintSHA256(otherSigner.PublicKey())
	tests := []struct {
		name   string
		server hosttest.ServerOptions
		change func(*host.SSHOptions)
		tried  []string // fingerprints and passwords that the server was shown; nil: not looked at
	}{
		{"agent", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) { o.Agent = runAgent(t, private) }, nil},
		{"password after keys", hosttest.ServerOptions{Password: "s3cret"}, func(o *host.SSHOptions) {
			o.Identities, o.Password = []string{keyFile(t, other, "")}, secret
		}, []string{theirs, "password"}},
		{"encrypted key", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) {
			o.Identities = []string{keyFile(t, private, "open")}
			o.Passphrase = func(string) (string, error) { return "open", nil }
		}, nil},
		{"encrypted key that the agent holds", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) {
			o.Identities, o.Agent = []string{keyFile(t, private, "open")}, runAgent(t, private)
			o.Passphrase = func(string) (string, error) { return "", errors.New("must not be asked") }
		}, nil},
		{"key that everybody has", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) {
			o.Home = homeWith(t, keyFile(t, private, ""))
		}, nil},
		{"key of the configuration", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) {
			o.Config = writeFile(t, "config", "Host 127.*\n IdentityFile /no/such/key\n IdentityFile "+keyFile(t, private, "")+"\n")
		}, nil},
		{"only the key that is named", hosttest.ServerOptions{AuthorizedKeys: authorized}, func(o *host.SSHOptions) {
			o.Agent = runAgent(t, other)
			o.Config = writeFile(t, "config", "Host *\n IdentitiesOnly yes\n IdentityFile "+keyFile(t, private, "")+"\n")
		}, []string{mine}},
		{"passphrase of a key nobody wants", hosttest.ServerOptions{Password: "s3cret"}, func(o *host.SSHOptions) {
			o.Identities, o.Password = []string{keyFile(t, other, "open")}, secret
			o.Passphrase = func(string) (string, error) { return "", errors.New("must not be asked") }
		}, []string{theirs, "password"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := connected(t, tt.server, func(o *host.SSHOptions) {
				o.Identities = nil
				tt.change(o)
			})
			if tt.tried == nil {
				return
			}
			if diff := cmp.Diff(tt.tried, s.server.Tried()); diff != "" {
				t.Errorf("tried (-want +got):\n%s", diff)
			}
		})
	}
}

// homeWith returns a home directory whose default key is the one in file.
func homeWith(t *testing.T, file string) string {
	t.Helper()
	home := t.TempDir()
	if err := os.Mkdir(filepath.Join(home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file, filepath.Join(home, ".ssh", "id_ed25519")); err != nil {
		t.Fatal(err)
	}
	return home
}

func TestLoginThatFailsSaysWhatWasTriedAndNoSecret(t *testing.T) {
	private, signer := newKey(t)
	plain, locked := keyFile(t, private, ""), keyFile(t, private, "open-secret")
	tests := []struct {
		name   string
		change func(*host.SSHOptions)
		want   []string
	}{
		{"nothing to try", func(*host.SSHOptions) {}, []string{"no key or password was there to try", "--identity", "--ask-pass"}},
		{"key", func(o *host.SSHOptions) { o.Identities = []string{plain} }, []string{"tried " + plain, ssh.FingerprintSHA256(signer.PublicKey()), "--ask-pass"}},
		{"agent", func(o *host.SSHOptions) { o.Agent = runAgent(t, private) }, []string{"the agent's key me@desk"}},
		{"password", func(o *host.SSHOptions) { o.Password = func() (string, error) { return "wrong-secret", nil } }, []string{"tried the password", "check the user and the password"}},
		{"missing key", func(o *host.SSHOptions) { o.Identities = []string{"/no/such/key"} }, []string{"could not use the key /no/such/key"}},
		{"no agent", func(o *host.SSHOptions) { o.Agent = "/no/such/agent" }, []string{"could not use the agent"}},
		{"locked key", func(o *host.SSHOptions) { o.Identities = []string{locked} }, []string{"has a passphrase", "ssh-add " + locked}},
		{"no key at all", func(o *host.SSHOptions) { o.Identities = []string{writeFile(t, "text", "hello")} }, []string{"no key found"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, hosttest.ServerOptions{Password: "right-secret"}, func(o *host.SSHOptions) {
				o.Identities = nil
				tt.change(o)
			})
			_, err := host.Dial(t.Context(), s.o)
			if err == nil {
				t.Fatal("let in")
			}
			for _, want := range append(tt.want, "root was not let in") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "-secret") {
				t.Errorf("a secret is in %q", err)
			}
		})
	}
}

func TestWrongPassphraseIsNamed(t *testing.T) {
	private, signer := newKey(t)
	s := serve(t, hosttest.ServerOptions{AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}}, func(o *host.SSHOptions) {
		o.Identities = []string{keyFile(t, private, "open")}
		o.Passphrase = func(string) (string, error) { return "bad-secret", nil }
	})
	_, err := host.Dial(t.Context(), s.o)
	if err == nil || !strings.Contains(err.Error(), "the passphrase does not open it") || strings.Contains(err.Error(), "bad-secret") {
		t.Errorf("got %v", err)
	}
}

// A server that takes a password in two ways counts a wrong one twice, and may lock the account.
func TestWrongPasswordIsGivenOnce(t *testing.T) {
	s := serve(t, hosttest.ServerOptions{Password: "s3cret"}, func(o *host.SSHOptions) {
		o.Identities, o.Password = nil, wrong
	})
	_, err := host.Dial(t.Context(), s.o)
	if err == nil || !strings.Contains(err.Error(), "root was not let in: tried the password: check the user and the password") {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"password"}, s.server.Tried()); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
	}
}

func TestWrongPassphraseIsNamedAndNotRepeated(t *testing.T) {
	private, signer := newKey(t)
	file := keyFile(t, private, "s3cret")
	s := serve(t, hosttest.ServerOptions{AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}}, func(o *host.SSHOptions) {
		o.Identities, o.Passphrase = []string{file}, func(string) (string, error) { return "wr0ng", nil }
	})
	_, err := host.Dial(t.Context(), s.o)
	if err == nil || !strings.Contains(err.Error(), ": the key "+file+": the passphrase does not open it") || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("got %v", err)
	}
}
