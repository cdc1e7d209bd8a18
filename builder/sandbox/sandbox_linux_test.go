package sandbox

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if handled, code := Main(); handled {
		os.Exit(code)
	}
	switch name := filepath.Base(os.Args[0]); name {
	case callerName:
		os.Exit(caller())
	case mappedName:
		os.Exit(leaveRoot(os.Args[1]))
	case mappedRunName:
		os.Exit(mappedRun())
	case "newuidmap", "newgidmap":
		os.Exit(writeIDMap(name, os.Args[1:]))
	}
	if len(os.Args) == 2 && os.Args[1] == probeName {
		os.Exit(probe())
	}
	os.Exit(m.Run())
}

// newConfig returns a Config for a shell command on a tree of the given lowers.
func newConfig(t *testing.T, script string, lowers ...string) Config {
	t.Helper()
	dir := t.TempDir()
	c := Config{
		Argv: []string{"/bin/sh", "-ec", script}, Lowers: lowers,
		Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work"),
	}
	for _, d := range []string{c.Upper, c.Work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { Remove(d) })
	}
	return c
}

// runScript runs c and returns its standard output. A kernel without namespaces skips the test, loudly.
func runScript(t *testing.T, c Config) string {
	t.Helper()
	out, err := tryScript(t, c)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

func tryScript(t *testing.T, c Config) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := Run(t.Context(), c)
	if errors.Is(err, ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	return out.String(), err
}

func writeTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// changes lists what an upper directory holds: name, and content of files.
func changes(t *testing.T, upper string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(upper, func(p string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(upper, p)
		switch {
		case err != nil || name == ".":
			return err
		case d.Type().IsRegular():
			data, err := os.ReadFile(p)
			found[name] = string(data)
			return err
		}
		found[name] = d.Type().String()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRunKeepsOnlyChangesToTheTree(t *testing.T) {
	lower := writeTree(t, map[string]string{"bin/k3s": "old", "etc/gone": "x", "keep": "k"})
	top := writeTree(t, map[string]string{"bin/k3s": "new"})
	c := newConfig(t, `
		test "$(pwd)" = /rootfs
		cat bin/k3s keep
		echo more >> bin/k3s
		rm etc/gone
		echo x > /tmp/a; echo x > /etc/sealrt-canary
		(echo x > /usr/local/sealrt-canary) 2>/dev/null || echo refused
	`, top, lower)
	said := "newk"
	if os.Geteuid() != 0 {
		said += "refused\n" // the one id of the user namespace does not own /usr/local
	}
	if got := runScript(t, c); got != said {
		t.Errorf("output %q, want %q", got, said)
	}
	want := map[string]string{"bin": "d---------", "bin/k3s": "newmore\n", "etc": "d---------", "etc/gone": "Dc---------"}
	if diff := cmp.Diff(want, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
	for _, canary := range []string{"/usr/local/sealrt-canary", "/etc/sealrt-canary"} {
		if _, err := os.Lstat(canary); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s of the machine: %v, want none", canary, err)
		}
	}
	if diff := cmp.Diff(map[string]string{"bin": "d---------", "bin/k3s": "new"}, changes(t, top)); diff != "" {
		t.Errorf("lower directory changed: %s", diff)
	}
}

func TestRunSeesNothingElseOfTheMachine(t *testing.T) {
	c := newConfig(t, `
		for d in /root /home /run /var /opt /srv /sys /mnt /work /etc/ssh /etc/shadow /etc/ssl/private; do
			if [ -e $d ]; then echo "visible: $d"; fi
		done
		find / -xdev -maxdepth 2 -name '*.sock'
		ls /dev
		ls -d /proc/[0-9]* | wc -l | grep -qx '[2-6]' || ls -d /proc/[0-9]*
		cut -d: -f1 /etc/passwd
		hostname
	`)
	want := "fd\nfull\nnull\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\nroot\nnobody\nsealrt\n"
	if diff := cmp.Diff(want, runScript(t, c)); diff != "" {
		t.Error(diff)
	}
}

func TestRunCannotReadACanaryInRootsHome(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Skip(err)
	}
	canary, err := os.CreateTemp(home, "sealrt-canary")
	if err != nil {
		t.Skip(err)
	}
	canary.Close()
	t.Cleanup(func() { os.Remove(canary.Name()) })
	out, err := tryScript(t, newConfig(t, "cat "+canary.Name()))
	var exit *ExitError
	if !errors.As(err, &exit) || !strings.Contains(out, "No such file") {
		t.Errorf("cat %s: %v %q", canary.Name(), err, out)
	}
}

func TestRunHasFewPrivileges(t *testing.T) {
	c := newConfig(t, `
		grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status
		for try in "mount -t tmpfs t /tmp" "mknod /tmp/d b 7 0" "hostname other" "chroot /rootfs/nothing" "sh -c 'echo 1 > /proc/sys/kernel/panic'" "head -c1 /proc/kcore | grep -q ." "sh -c 'echo h > /proc/sysrq-trigger'"; do
			if eval "$try" >/dev/null 2>&1; then echo "allowed: $try"; fi
		done
	`)
	want := "CapEff:\t00000000800404fb\nCapBnd:\t00000000800404fb\nNoNewPrivs:\t1\n"
	got := runScript(t, c)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRunReportsTheExitCode(t *testing.T) {
	tests := []struct {
		script string
		code   int
	}{{"exit 7", 7}, {"kill -9 $$", 137}, {"no-such-tool", 127}}
	for _, tt := range tests {
		_, err := tryScript(t, newConfig(t, tt.script))
		var exit *ExitError
		if !errors.As(err, &exit) || exit.Code != tt.code {
			t.Errorf("%s: %v, want exit code %d", tt.script, err, tt.code)
		}
	}
}

func TestRunNamesACommandThatIsNotThere(t *testing.T) {
	c := newConfig(t, "")
	c.Argv = []string{"no-such-tool", "x"}
	_, err := tryScript(t, c)
	if err == nil || !strings.Contains(err.Error(), "no-such-tool") {
		t.Errorf("error %v", err)
	}
}

func TestRunFindsProgramsOfTheTreeFirst(t *testing.T) {
	lower := writeTree(t, map[string]string{"bin/curl": "#!/bin/sh\necho mine $0\n"})
	if err := os.Chmod(filepath.Join(lower, "bin/curl"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, "curl", lower)
	if got := runScript(t, c); got != "mine /rootfs/bin/curl\n" {
		t.Errorf("output %q", got)
	}
}

func TestRunOffersDirectoriesThatInstallersDoNotMake(t *testing.T) {
	c := newConfig(t, "ls; touch $INSTALL_K3S_SYSTEMD_DIR/k3s.service")
	if got := runScript(t, c); got != "bin\netc\n" {
		t.Errorf("tree %q", got)
	}
	if diff := cmp.Diff(map[string]string{"etc": "d---------", "etc/k3s.service": ""}, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
}

func TestRunInheritsNoFiles(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(secret, unix.O_RDONLY, 0) // as a shell's 9< does: not closed when another program starts
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	got := runScript(t, newConfig(t, "ls -l /proc/self/fd /proc/1/fd 2>&1 || true"))
	if strings.Contains(got, "secret") {
		t.Errorf("the command has the caller's files:\n%s", got)
	}
}

func TestRunWithoutNetwork(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newConfig(t, "tail -n +3 /proc/net/dev | cut -d: -f1")
	c.Network = NetworkNone
	if got := strings.TrimSpace(runScript(t, c)); got != "lo" {
		t.Errorf("interfaces %q, want lo alone", got)
	}
	for _, network := range []Network{NetworkHost, NetworkNone} {
		c := probeConfig(t)
		c.Env, c.Network = []string{"DIAL=tcp " + l.Addr().String()}, network
		out, err := tryScript(t, c)
		if reached := err == nil; reached != (network == NetworkHost) {
			t.Errorf("network %s: %v %s", network, err, out)
		}
	}
}

func TestRunReachesNoAbstractSocketOfTheMachine(t *testing.T) {
	if abi, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 || abi < 6 {
		t.Skipf("this kernel scopes no sockets (Landlock %d, %v); containers on the host's network reach them there, too", abi, errno)
	}
	name := fmt.Sprintf("@sealrt-sandbox-%d", os.Getpid())
	l, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := probeConfig(t)
	c.Env = []string{"DIAL=unix " + name}
	if out, err := tryScript(t, c); err == nil || !strings.Contains(out, "not permitted") {
		t.Errorf("%v %s", err, out)
	}
}

func TestRunCannotTouchTheBuildersExecutable(t *testing.T) {
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	out := runScript(t, newConfig(t, `
		for try in "chmod 777 /proc/1/exe" "cat /proc/1/exe" "ls /proc/1/fd/" "cat /proc/1/environ" "ls /proc/1/root/" "ls /proc/1/cwd/"; do
			if $try >/dev/null 2>&1; then echo "allowed: $try"; fi
		done
	`))
	now, err := os.Stat("/proc/self/exe")
	if err != nil || now.Mode() != self.Mode() || strings.Contains(out, "exe") || strings.Contains(out, "environ") || strings.Contains(out, "root") {
		t.Errorf("mode %v, %v\n%s", now.Mode(), err, out)
	}
}

func TestAScriptIsRunByItsInterpreter(t *testing.T) {
	tests := []struct {
		script string
		args   []string
		want   string
	}{
		{"#!/bin/cat\nhello\n", nil, "#!/bin/cat\nhello\n"},
		{"#!/bin/sh -e\necho \"$0 $1\"\nfalse\n", []string{"one"}, ScriptFile + " one\nexit code 1"},
		{"#!/usr/bin/env sh\npwd", nil, TreeDir + "\n"},
		{"#!/no/such -x\n", nil, "start the script with \"/no/such -x\": no such file or directory"},
		{"echo hello", nil, "sandbox: the script does not begin with #! and an interpreter"},
	}
	for _, tt := range tests {
		c := newConfig(t, "")
		c.Argv, c.Script = tt.args, []byte(tt.script)
		got, err := tryScript(t, c)
		if err != nil {
			got += err.Error()
		}
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.script, got, tt.want)
		}
		if found := changes(t, c.Upper); len(found) > 0 {
			t.Errorf("%q left %v", tt.script, found)
		}
	}
}

func TestRunAddsHostsAndTrustsTheCAFile(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip(err)
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }))
	defer server.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	c := newConfig(t, "curl -sf https://example.com:"+port+"/ > page; test $(grep -c BEGIN $SSL_CERT_FILE) -ge 1")
	c.AddHosts = []string{"example.com:127.0.0.1"} // a name of httptest's certificate
	c.CAFile = ca
	runScript(t, c)
	if diff := cmp.Diff(map[string]string{"page": "hello"}, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
}
