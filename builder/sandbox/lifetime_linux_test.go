package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// callerName makes the test binary an ordinary program that runs the Config on its standard input.
const callerName = "sandbox-test-caller"

func caller() int {
	var c Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	if err := Run(context.Background(), c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// shellTree returns a tree whose /bin/sh is the machine's, with its libraries.
func shellTree(t *testing.T) string {
	t.Helper()
	dir := writeTree(t, map[string]string{"etc/hosts": "127.0.0.9 mine\n"})
	out, err := exec.Command("ldd", "/bin/sh").Output()
	if err != nil {
		t.Skipf("ldd: %v", err)
	}
	files := []string{"/bin/sh", "/bin/ls", "/bin/cat"}
	for _, tool := range files[1:] {
		more, err := exec.Command("ldd", tool).Output()
		if err != nil {
			t.Skipf("ldd: %v", err)
		}
		out = append(out, more...)
	}
	for _, word := range strings.Fields(string(out)) {
		if strings.HasPrefix(word, "/") {
			files = append(files, word)
		}
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(f)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRunInATreeWithAShellUsesItAsRoot(t *testing.T) {
	c := newConfig(t, "ls /; pwd; cat /etc/hosts >/made; test ! -e /usr/share/doc; ls /proc/1/exe >/dev/null 2>&1 || true", shellTree(t))
	c.AddHosts = []string{"reg:10.1.2.3"}
	got := runScript(t, c)
	for _, want := range []string{"bin\n", "dev\n", "etc\n", "proc\n", "\n/\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("output %q lacks %q", got, want)
		}
	}
	if strings.Contains(got, "rootfs") {
		t.Errorf("output %q has /rootfs", got)
	}
	made := changes(t, c.Upper)
	if len(made) != 1 || !strings.Contains(made["made"], "10.1.2.3\treg\n") || strings.Contains(made["made"], "mine") {
		t.Errorf("changes %q, want only made, with the builder's hosts", made)
	}
}

func TestCancelLeavesNoProcessAndNoMount(t *testing.T) {
	marker := fmt.Sprintf("31415.%d", os.Getpid())
	c := newConfig(t, daemons(marker)+"echo started; sleep "+marker)
	c.Mounts = []Mount{{Target: "/scratch", Tmpfs: true}, {Target: "/cache", Source: t.TempDir()}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Stdout = writerFunc(func(p []byte) (int, error) { cancel(); return len(p), nil })
	err := Run(ctx, c)
	if errors.Is(err, ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
	if left := processes(t, marker); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	if left := mountedAnywhere(t, c.Work); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
	if err := Remove(c.Work); err != nil {
		t.Error(err)
	}
}

func TestDeadlineEndsTheCommand(t *testing.T) {
	limit := fmt.Errorf("RUN took longer than 300ms: %w", context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, limit)
	defer cancel()
	marker := fmt.Sprintf("16180.%d", os.Getpid())
	c := newConfig(t, daemons(marker)+"sleep "+marker)
	err := Run(ctx, c)
	if errors.Is(err, ErrRefused) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %v", err)
	}
	if !errors.Is(err, limit) || !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "the command was stopped: RUN took longer") {
		t.Errorf("error %v", err)
	}
	if left := append(processes(t, marker), mountedAnywhere(t, c.Work)...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestACommandThatMayNotStartAnyMoreIsNoRefusal(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Run(ctx, newConfig(t, "true")); !errors.Is(err, context.Canceled) || err.Error() != "the command was stopped: context canceled" {
		t.Errorf("error %v", err)
	}
}

// daemons is a script that starts processes which do not go when asked: in sessions of their own, with parents that
// are gone, and deaf to signals.
func daemons(marker string) string {
	return `trap "" HUP INT TERM
		setsid sleep ` + marker + ` >/dev/null 2>&1 &
		(setsid sh -c '(sleep ` + marker + ` &)' &)
		(sleep ` + marker + ` &)
	`
}

// mountedAnywhere lists the processes of the machine that have something mounted below dir.
func mountedAnywhere(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), dir) {
			found = append(found, f)
		}
	}
	return found
}

func TestNothingSurvivesTheDeathOfTheCaller(t *testing.T) {
	marker := fmt.Sprintf("27182.%d", os.Getpid())
	c := newConfig(t, daemons(marker)+"echo started; sleep "+marker)
	c.Mounts = []Mount{{Target: "/scratch", Tmpfs: true}}
	cmd := callerCommand(t, c)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // also when the test fails before it does so itself
	if n, _ := out.Read(make([]byte, 64)); n == 0 {
		cmd.Wait()
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX, NOTHING WAS TESTED: %s", stderr.String())
	}
	for deadline := time.Now().Add(10 * time.Second); len(processes(t, marker)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the command does not run")
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(processes(t, marker)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("processes left: %v", processes(t, marker))
		}
	}
	_ = cmd.Wait() // killed
	if left := mountedAnywhere(t, c.Work); len(left) > 0 {
		t.Errorf("mounts left: %v", left)
	}
}

func TestRunWithoutRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("every other test of this package runs without root")
	}
	top := t.TempDir()
	for _, d := range []string{"lower/bin", "upper", "work"} {
		if err := os.MkdirAll(filepath.Join(top, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for p := top; p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(top, "lower/bin/gone"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(top, func(p string, _ fs.DirEntry, _ error) error { return os.Chown(p, 65534, 65534) })
	if err != nil {
		t.Fatal(err)
	}
	cmd := callerCommand(t, Config{
		Argv:  []string{"/bin/sh", "-ec", "id -u; rm bin/gone; echo x > bin/k3s; rm -r bin; mkdir bin; touch bin/new /etc/x /tmp/x; ls bin; grep -c CapEff:.*800404fb /proc/self/status"},
		Upper: filepath.Join(top, "upper"), Work: filepath.Join(top, "work"), Lowers: []string{filepath.Join(top, "lower")},
	})
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil && strings.Contains(string(out), ErrRefused.Error()) {
		t.Skipf("THIS KERNEL FORBIDS THE SANDBOX WITHOUT ROOT, NOTHING WAS TESTED: %s", out)
	}
	if err != nil || string(out) != "0\nnew\n1\n" {
		t.Fatalf("%v: %s", err, out)
	}
	if diff := cmp.Diff(map[string]string{"bin": "d---------", "bin/new": ""}, changes(t, filepath.Join(top, "upper"))); diff != "" {
		t.Error(diff)
	}
}

func TestConfigIsChecked(t *testing.T) {
	tests := map[string]Config{
		"no command":      {Upper: "/u", Work: "/w"},
		"unknown network": {Argv: []string{"x"}, Network: "bridge", Upper: "/u", Work: "/w"},
		"is not absolute": {Argv: []string{"x"}, Upper: "u", Work: "/w"},
		"name:address":    {Argv: []string{"x"}, Upper: "/u", Work: "/w", AddHosts: []string{"x"}},
	}
	for want, c := range tests {
		if err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// callerCommand is another process that runs c.
func callerCommand(t *testing.T, c Config) *exec.Cmd {
	t.Helper()
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{callerName}
	cmd.Stdin = bytes.NewReader(data)
	return cmd
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// processes lists the processes of the machine that have the argument arg.
func processes(t *testing.T, arg string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), "sleep\x00"+arg) {
			found = append(found, f)
		}
	}
	return found
}
