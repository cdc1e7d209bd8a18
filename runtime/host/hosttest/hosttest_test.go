package hosttest_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// ends runs one line of plain words and returns its output and status.
func ends(t *testing.T, h *hosttest.Host, line string) (string, int) {
	t.Helper()
	var out bytes.Buffer
	err := h.Run(t.Context(), host.Command{Argv: strings.Fields(line), Stdout: &out})
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return out.String(), exit.Code
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), 0
}

func TestCommandsChangeTheMachine(t *testing.T) {
	h := hosttest.New("a")
	steps := []struct {
		line, out string
		code      int
	}{
		{"test -e /srv/x", "", 1},
		{"test ! -e /srv/x", "", 0},
		{"mkdir /srv/x", "", 1},
		{"mkdir -p -m 0700 /srv/x", "", 0},
		{"test -d /srv/x", "", 0},
		{"dd of=/srv/x/f", "", 0},
		{"dd of=/none/f", "", 1},
		{"chmod 0600 /srv/x/f", "", 0},
		{"chmod 0600 /srv/x/g", "", 1},
		{"cat -- /srv/x/f", "", 0},
		{"cat /srv/x/g", "", 1},
		{"cat /srv/x", "", 1},
		{"mv -f /srv/x /srv/y", "", 0},
		{"test -f /srv/y/f", "", 0},
		{"mv -f -T /srv/y/f /srv", "", 1},
		{"rm -f /srv/y", "", 1},
		{"rm -f /srv/nothing", "", 0},
		{"rm /srv/nothing", "", 1},
		{"rm -rf /srv/y", "", 0},
		{"test -e /srv/y/f", "", 1},
		{"hostname", "a\n", 0},
		{"uname -m", "x86_64\n", 0},
		{"/usr/local/bin/k3s anything", "", 0},
	}
	for _, s := range steps {
		out, code := ends(t, h, s.line)
		if out != s.out || code != s.code {
			t.Errorf("%s: got %q %d, want %q %d", s.line, out, code, s.out, s.code)
		}
	}
}

func TestUnitsLiveAndDie(t *testing.T) {
	h := hosttest.New("a")
	if _, code := ends(t, h, "systemctl start k3s"); code != 5 {
		t.Errorf("a unit that nobody knows: status %d", code)
	}
	h.WriteFile("/etc/systemd/system/k3s.service", 0o644, nil)
	steps := []struct {
		line, out string
		code      int
	}{
		{"systemctl daemon-reload", "", 0},
		{"systemctl is-active k3s", "inactive\n", 3},
		{"systemctl is-enabled k3s.service", "disabled\n", 1},
		{"systemctl enable k3s", "", 0},
		{"systemctl start k3s.service", "", 0},
		{"systemctl is-active k3s", "active\n", 0},
		{"systemctl is-active --quiet k3s", "", 0},
		{"systemctl is-enabled k3s", "enabled\n", 0},
		{"systemctl disable --now k3s", "", 0},
		{"systemctl is-active -q k3s", "", 3},
	}
	for _, s := range steps {
		out, code := ends(t, h, s.line)
		if out != s.out || code != s.code {
			t.Errorf("%s: got %q %d, want %q %d", s.line, out, code, s.out, s.code)
		}
	}
	h.SetUnit("docker", true, true)
	if active, enabled := h.Unit("docker.service"); !active || !enabled {
		t.Error("SetUnit had no effect")
	}
}

func TestRespondAndFail(t *testing.T) {
	h := hosttest.New("a")
	broken := errors.New("broken")
	h.Respond([]string{"k3s"}, "all", 0)
	h.Respond([]string{"k3s", "token"}, "secret", 0)
	h.Respond([]string{"k3s", "bad"}, "oh no", 2)
	h.Fail([]string{"k3s", "token"}, broken, 2)
	for _, want := range []error{nil, broken, nil} {
		out, err := host.Output(t.Context(), h, "k3s", "token")
		if !errors.Is(err, want) || err == nil && string(out) != "secret" {
			t.Errorf("got %q %v, want %v", out, err, want)
		}
	}
	if out, code := ends(t, h, "k3s other"); out != "all" || code != 0 {
		t.Errorf("got %q %d", out, code)
	}
	_, err := host.Output(t.Context(), h, "k3s", "bad")
	var exit *host.ExitError
	if !errors.As(err, &exit) || exit.Code != 2 || exit.Stderr != "oh no" || exit.Host != "a" {
		t.Errorf("got %v", err)
	}
	want := []string{"k3s token", "k3s token", "k3s token", "k3s other", "k3s bad"}
	if diff := cmp.Diff(want, h.Transcript()); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
}

func TestHostRecordsInputAndEnvironment(t *testing.T) {
	h := hosttest.New("a")
	err := h.Run(t.Context(), host.Command{Argv: []string{"k3s", "a b"}, Env: []string{"LC_ALL=C", "X=1"}, Stdin: strings.NewReader("in")})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"env X=1 k3s 'a b'"}, h.Transcript()); diff != "" {
		t.Errorf("transcript (-want +got):\n%s", diff)
	}
	want := []hosttest.Call{{Argv: []string{"k3s", "a b"}, Env: []string{"LC_ALL=C", "X=1"}, Stdin: []byte("in")}}
	if diff := cmp.Diff(want, h.Calls()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

func TestHostIsSafeForManyAtOnce(t *testing.T) {
	h := hosttest.New("a")
	var work sync.WaitGroup
	for _, name := range strings.Fields("/etc/a /etc/b /etc/c /etc/d") {
		work.Go(func() {
			if err := host.Put(t.Context(), h, name, 0o644, strings.NewReader(name)); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
	for _, name := range h.Files() {
		if content, _, err := h.File(name); string(content) != name || err != nil {
			t.Errorf("%s holds %q %v", name, content, err)
		}
	}
	if len(h.Files()) != 4 {
		t.Errorf("got %v", h.Files())
	}
}

func TestHostEndsWithContextAndClose(t *testing.T) {
	h := hosttest.New("a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Run(ctx, host.Command{Argv: []string{"true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	_ = h.Close()
	if err := h.Run(t.Context(), host.Command{Argv: []string{"true"}}); err == nil {
		t.Error("ran after Close")
	}
	if _, _, err := h.File("/etc/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
