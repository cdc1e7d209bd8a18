package host_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestWayThroughJumpHostsOfTheConfiguration(t *testing.T) {
	private, signer := newKey(t)
	so := hosttest.ServerOptions{AuthorizedKeys: []ssh.PublicKey{signer.PublicKey()}}
	first, second := serve(t, so, nil), serve(t, so, nil)
	end := serve(t, hosttest.ServerOptions{Password: "s3cret"}, nil)
	home := homeWith(t, keyFile(t, private, ""))
	config := fmt.Sprintf(`
Include more.conf
Host end
  ProxyJump middle
  Port %d
Host middle
  HostName 127.0.0.1
  Port %d
  User two
  ProxyJump one@127.0.0.1:%d
Host end
  HostName 127.0.0.1
  UserKnownHostsFile ~/known_%%r %s
`, end.o.Port, second.o.Port, first.o.Port, writeFile(t, "all", end.server.KnownHosts()))
	config += "Host *\n UserKnownHostsFile " + writeFile(t, "jumps", first.server.KnownHosts()+second.server.KnownHosts()) + "\n"
	file := writeFile(t, "config", config)
	included := writeFile(t, "more.conf", "Host end\n User three\n")
	if included = relative(t, filepath.Dir(file), included); included != "" {
		file = writeFile(t, "config", strings.Replace(config, "more.conf", included, 1))
	}
	asked := 0
	h, err := host.Dial(t.Context(), host.SSHOptions{Address: host.Address{Host: "end"}, Home: home, Config: file, LocalUser: "me",
		Password: func() (string, error) { asked++; return "s3cret", nil }})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if out, err := host.Output(t.Context(), h, "echo", "there"); err != nil || string(out) != "there\n" {
		t.Errorf("got %q %v", out, err)
	}
	got := [][]string{first.server.Users(), second.server.Users(), end.server.Users()}
	if diff := cmp.Diff([][]string{{"one"}, {"two"}, {"three"}}, got); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	if asked != 1 {
		t.Errorf("asked for the password %d times", asked)
	}
}

// relative gives a path that Include finds from the directory of a configuration that a test wrote.
func relative(t *testing.T, dir, file string) string {
	t.Helper()
	r, err := filepath.Rel(dir, file)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPasswordIsNotShownToAJumpHost(t *testing.T) {
	jump := serve(t, hosttest.ServerOptions{Password: "s3cret"}, nil)
	end := serve(t, hosttest.ServerOptions{Password: "s3cret"}, func(o *host.SSHOptions) {
		o.Identities = nil
		o.KnownHosts = append(o.KnownHosts, jump.o.KnownHosts...)
		o.ProxyJump = fmt.Sprintf("root@127.0.0.1:%d", jump.o.Port)
		o.Password = func() (string, error) { return "s3cret", nil }
	})
	if _, err := host.Dial(t.Context(), end.o); err == nil || !strings.Contains(err.Error(), "jump host 127.0.0.1: ssh root@127.0.0.1") {
		t.Errorf("got %v", err)
	}
	if tried := jump.server.Tried(); len(tried) != 0 {
		t.Errorf("the jump host was shown %v", tried)
	}
	end.o.ProxyJump = "none"
	h, err := host.Dial(t.Context(), end.o)
	if err != nil {
		t.Fatal(err)
	}
	_ = h.Close()
}

func TestJumpHostThatCannotGetThereSaysSo(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	jump := serve(t, hosttest.ServerOptions{}, nil)
	o := jump.o
	o.ProxyJump = jump.o.Address.String()
	o.Port = closed.Addr().(*net.TCPAddr).Port
	if _, err := host.Dial(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the jump host cannot get there") {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationThatCannotBeFollowed(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"loop", "Host a\n ProxyJump b\nHost b\n ProxyJump a\n", "more than 8 jump hosts"},
		{"command", "Host a\n ProxyCommand nc %h %p\n", "ProxyCommand for a is not supported: use ProxyJump"},
		{"port", "Host a\n Port ssh\n", `"ssh" is not a port`},
		{"match", "Match exec \"vpn-is-up\"\n ProxyCommand x\nHost a\n HostName a.invalid\n", `config:1: "Match exec \"vpn-is-up\"" was left out`},
		{"bad", "Host a\n Port 22\nMatch\n", "correct the line"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := host.Dial(t.Context(), host.SSHOptions{Address: host.Address{Host: "a"}, Config: writeFile(t, "config", tt.config), KnownHosts: []string{}})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}
