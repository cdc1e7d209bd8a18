package host_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// fakeSudo behaves as sudo does for the flags that package host gives it. FAKE_SUDO says what its sudoers allows. It runs the
// command as a child and passes SIGTERM on, as sudo does, and writes down each attempt at a password.
const fakeSudo = `#!/bin/sh
prompt='Password: ' ask=yes
while [ $# -gt 0 ]; do
	case $1 in
	-n) ask=no ;;
	-k|-S) ;;
	-p) prompt=$2; shift ;;
	--) shift; break ;;
	*) echo "sudo: unknown flag $1" >&2; exit 1 ;;
	esac
	shift
done
case $FAKE_SUDO in
tty) echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1 ;;
other) echo 'sudo: unable to open audit system' >&2; exit 1 ;;
esac
if [ "$FAKE_SUDO" != nopasswd ]; then
	if [ $ask = no ]; then echo 'sudo: a password is required' >&2; exit 1; fi
	echo 'We trust you have received the usual lecture.' >&2
	while :; do
		printf '%s' "$prompt" >&2
		read -r line || { echo >&2; echo 'sudo: no password was provided' >&2; exit 1; }
		echo "$line" >>"$FAKE_LOG"
		[ "$line" = "$FAKE_PASSWORD" ] && break
		echo 'Sorry, try again.' >&2
	done
	if [ "$FAKE_SUDO" = denied ]; then echo 'ops is not in the sudoers file.' >&2; exit 1; fi
fi
exec 3<&0
AS_ROOT=yes "$@" <&3 3<&- &
exec 3<&-
trap 'kill -TERM $!' TERM
wait $!
code=$?
trap '' TERM
wait $! 2>/dev/null
exit $code
`

// sudoServer starts a server where ops may use a fake sudo, and connects to it.
func sudoServer(t *testing.T, policy string, password func() (string, error)) (served, string) {
	t.Helper()
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(fakeSudo), 0o755); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(bin, "attempts")
	env := []string{"PATH=" + bin + ":/usr/local/bin:/usr/bin:/bin", "FAKE_SUDO=" + policy, "FAKE_PASSWORD=s3cret", "FAKE_LOG=" + log}
	s := connected(t, hosttest.ServerOptions{Env: env, IgnoreSignals: true}, func(o *host.SSHOptions) {
		o.User, o.Become, o.BecomePassword = "ops", "sudo", password
	})
	return s, log
}

func right() (string, error) { return "s3cret", nil }
func wrong() (string, error) { return "wr0ng", nil }

func TestCommandsRunAsRootWithTheirInputAndOutput(t *testing.T) {
	tests := []struct {
		name, policy string
		password     func() (string, error)
		attempts     string
	}{
		{"no password", "nopasswd", nil, ""},
		{"password", "password", right, "s3cret\ns3cret\n"}, // tried once, then once per command
		{"password that is not asked for", "nopasswd", right, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, log := sudoServer(t, tt.policy, tt.password)
			in := bytes.Repeat([]byte("data\n"), 200000)
			var out, errOut bytes.Buffer
			err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", `printf %s "$AS_ROOT$X"; echo story >&2; cat`},
				Env: []string{"X=a b"}, Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &errOut})
			if err != nil {
				t.Fatal(err)
			}
			if want := "yesa b" + string(in); out.String() != want {
				t.Errorf("got %d bytes, want %d: %.40q", out.Len(), len(want), out.String())
			}
			if errOut.String() != "story\n" {
				t.Errorf("standard error: %q", errOut.String())
			}
			attempts, _ := os.ReadFile(log)
			if diff := cmp.Diff(tt.attempts, string(attempts)); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			for _, line := range s.server.Commands() {
				if strings.Contains(line, "s3cret") {
					t.Errorf("the password is in %s", line)
				}
			}
		})
	}
}

func TestPutAsRootNeverWritesThePassword(t *testing.T) {
	for _, policy := range []string{"nopasswd", "password"} {
		s, _ := sudoServer(t, policy, right)
		name := filepath.Join(t.TempDir(), "file")
		if err := host.Put(t.Context(), s.ssh, name, 0o600, strings.NewReader("content")); err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(name); string(content) != "content" {
			t.Errorf("%s: got %q %v", policy, content, err)
		}
	}
}

func TestFailureOfACommandAsRootIsTheCommands(t *testing.T) {
	s, _ := sudoServer(t, "password", right)
	err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"sh", "-c", "echo bad >&2; exit 3"}})
	want := &host.ExitError{Host: "127.0.0.1", Argv: []string{"sh", "-c", "echo bad >&2; exit 3"}, Code: 3, Stderr: "bad\n"}
	var got *host.ExitError
	if !errors.As(err, &got) {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhyRootCannotBeBecome(t *testing.T) {
	tests := []struct {
		policy   string
		password func() (string, error)
		want     string
	}{
		{"password", nil, "--become-ask-pass"},
		{"password", wrong, "sudo did not accept the password of ops"},
		{"password", func() (string, error) { return "", errors.New("no terminal") }, "no terminal"},
		{"password", func() (string, error) { return "a\nb", nil }, "line break"},
		{"denied", right, "allow ops to use sudo there"},
		{"tty", right, "requiretty"},
		{"other", nil, "unable to open audit system"},
	}
	for _, tt := range tests {
		t.Run(tt.policy+" "+tt.want, func(t *testing.T) {
			s, log := sudoServer(t, tt.policy, tt.password)
			mark := filepath.Join(t.TempDir(), "mark")
			err := s.ssh.Run(t.Context(), host.Command{Argv: []string{"touch", mark}, Stdin: strings.NewReader("line\nline\nline\n")})
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "become root on 127.0.0.1") {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "wr0ng")) {
				t.Errorf("a password is in %v", err)
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("the command ran")
			}
			if attempts, _ := os.ReadFile(log); strings.Count(string(attempts), "\n") > 1 {
				t.Errorf("more than one attempt: %q", attempts)
			}
		})
	}
}

func TestPasswordIsTriedOnceForManyCommands(t *testing.T) {
	s, log := sudoServer(t, "password", right)
	var work sync.WaitGroup
	for range 6 {
		work.Go(func() {
			if _, err := host.Output(t.Context(), s.ssh, "true"); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	attempts, _ := os.ReadFile(log)
	if n := strings.Count(string(attempts), "\n"); n != 7 {
		t.Errorf("%d attempts, want one and one for each of 6 commands", n)
	}
}

func TestCommandAsRootEndsWithTheContext(t *testing.T) {
	for _, policy := range []string{"nopasswd", "password"} {
		t.Run(policy, func(t *testing.T) {
			s, _ := sudoServer(t, policy, right)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			pid := pidWriter{started: make(chan string, 1)}
			go func() {
				id := <-pid.started
				cancel()
				pid.started <- id
			}()
			err := s.ssh.Run(ctx, host.Command{Argv: []string{"sh", "-c", "echo $$; exec sleep 600"}, Stdout: &pid})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if id := <-pid.started; processLives(t, id) {
				t.Errorf("process %s outlived its Run", id)
			}
		})
	}
}

func TestRootNeedsNoSudo(t *testing.T) {
	s := connected(t, hosttest.ServerOptions{}, func(o *host.SSHOptions) { o.Become = "sudo" })
	if _, err := host.Output(t.Context(), s.ssh, "echo", "a b"); err != nil {
		t.Fatal(err)
	}
	got := s.server.Commands()
	if strings.Contains(strings.Join(got, " "), "sudo") || !strings.HasSuffix(got[len(got)-1], " echo 'a b'") {
		t.Errorf("got %q", got)
	}
}

func TestUnknownWayToBecomeRootIsRefused(t *testing.T) {
	s := serve(t, hosttest.ServerOptions{}, func(o *host.SSHOptions) { o.User, o.Become = "ops", "su" })
	if _, err := host.Dial(t.Context(), s.o); err == nil || !strings.Contains(err.Error(), "use sudo or doas") {
		t.Errorf("got %v", err)
	}
}

func TestSudoThatIsNotThereIsNamed(t *testing.T) {
	for _, how := range []string{"sudo", "doas"} {
		s := connected(t, hosttest.ServerOptions{Env: []string{"PATH=" + toolsWithout(t)}}, func(o *host.SSHOptions) { o.User, o.Become = "ops", how })
		_, err := host.Output(t.Context(), s.ssh, "true")
		if err == nil || !strings.Contains(err.Error(), how+" is not installed there") {
			t.Errorf("got %v", err)
		}
	}
}

// toolsWithout returns a directory with env(1) alone.
func toolsWithout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink("/usr/bin/env", filepath.Join(dir, "env")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What is written in /etc/passwd as the login shell may be any program.
func TestLoginShellThatIsNoPlainOneIsNamed(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "sudo"), []byte(fakeSudo), 0o755); err != nil {
		t.Fatal(err)
	}
	const prints, nologin = "#!/bin/sh\necho hello\nexec /bin/sh \"$@\"\n", "#!/bin/sh\necho This account is currently not available.\nexit 1\n"
	for name, tt := range map[string]struct{ shell, become, want string }{
		"prints":             {prints, "", `the login shell of ops prints "hello" before what commands print`},
		"prints, sudo":       {prints, "sudo", `the login shell of ops prints "hello" before what commands print`},
		"nologin":            {nologin, "", "not available: the login shell of ops runs no commands: give ops another one (usermod -s /bin/sh ops)"},
		"nologin, sudo":      {nologin, "sudo", "not available: the login shell of ops runs no commands"},
		"false":              {"#!/bin/sh\nexit 1\n", "", "exit status 1: the login shell of ops runs no commands"},
		"talks to who looks": {"#!/bin/sh\necho hello >&2\nexec /bin/sh \"$@\"\n", "sudo", ""},
	} {
		shell := writeFile(t, "shell", tt.shell)
		if err := os.Chmod(shell, 0o755); err != nil {
			t.Fatal(err)
		}
		so := hosttest.ServerOptions{Shell: shell, Env: []string{"PATH=" + bin + ":/usr/bin:/bin", "FAKE_SUDO=nopasswd"}}
		s := connected(t, so, func(o *host.SSHOptions) { o.User, o.Become = "ops", tt.become })
		out, err := host.Output(t.Context(), s.ssh, "echo", "a")
		if tt.want == "" && (err != nil || string(out) != "a\n") || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %q, %v, want %q", name, out, err, tt.want)
		}
	}
}
