//go:build e2e

// Package buildkitd runs BuildKit daemons for tests: built from BuildKit's Go module, with runc from Debian.
package buildkitd

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// program builds buildkitd, or finds it where an earlier run built it.
func program(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("a BuildKit daemon needs root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Fatal("runc is missing: apt-get install -y runc")
	}
	module, err := exec.CommandContext(t.Context(), "go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatalf("go env: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(string(module)), "e2e", "program.sh"), "buildkitd")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("program.sh: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "buildkitd")
}

// Daemon is a buildkitd under way.
type Daemon struct {
	said    *watcher
	process *os.Process
	gone    chan struct{} // closed when it has ended
}

// Said returns what the daemon printed so far.
func (d *Daemon) Said() string { return d.said.text() }

// Kill ends the daemon at once, with no chance to tidy up, and waits until it is gone. The containers of commands that
// were under way may go on.
func (d *Daemon) Kill() {
	_ = d.process.Kill() // gone is as good
	<-d.gone
}

// Start runs buildkitd with a state of its own until the test ends, and returns when it says that it listens at address.
func Start(t *testing.T, address string, args ...string) *Daemon {
	t.Helper()
	dir := t.TempDir()
	// Mounts are made and undone under the real path only.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t), append([]string{ //nolint:noctx // it is asked to end, and may tidy up
		"--root", filepath.Join(dir, "root"), "--addr", address, "--otel-socket-path", filepath.Join(dir, "otel.sock"),
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-net=host",
	}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // where it mounts things for a moment: below dir they are found
	said := &watcher{word: "running server on", seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // a test that is killed leaves no daemon
	d := &Daemon{said: said, gone: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the signal comes when this thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // a daemon that ends too early is seen by what it said
			close(d.gone)
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	d.process = cmd.Process
	t.Cleanup(func() {
		_ = d.process.Signal(syscall.SIGTERM) // gone is as good
		select {
		case <-d.gone:
		case <-time.After(30 * time.Second):
			d.Kill()
		}
		unmount(t, dir)
	})
	select {
	case <-said.seen:
	case <-d.gone:
		t.Fatalf("buildkitd ended:\n%s", d.Said())
	case <-time.After(time.Minute):
		t.Fatalf("buildkitd does not start:\n%s", d.Said())
	}
	return d
}

// watcher keeps what a process says and tells when a word is in it.
type watcher struct {
	word string
	seen chan struct{}
	said atomic.Pointer[bytes.Buffer]
	told bool
}

func (w *watcher) Write(p []byte) (int, error) {
	var all bytes.Buffer
	if before := w.said.Load(); before != nil {
		all.Write(before.Bytes())
	}
	all.Write(p)
	w.said.Store(&all)
	if !w.told && bytes.Contains(all.Bytes(), []byte(w.word)) {
		w.told = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watcher) text() string {
	if b := w.said.Load(); b != nil {
		return b.String()
	}
	return ""
}

// unmount undoes the mounts that a daemon left below dir.
func unmount(t *testing.T, dir string) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var points []string
	for line := range strings.Lines(string(data)) {
		if point := strings.Fields(line)[1]; strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	for _, point := range slices.Backward(points) {
		if err := syscall.Unmount(point, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", point, err)
		}
	}
}
