//go:build e2e

package buildkit

import (
	"bytes"
	"errors"
	"io"
	"net"
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
	cmd := exec.Command("./parts.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("parts.sh: %v", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "buildkitd")
}

// startDaemon runs buildkitd with a state of its own until the test ends, and returns when it says that it listens.
func startDaemon(t *testing.T, address string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	// Mounts are made and undone under the real path only.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t), append([]string{
		"--root", filepath.Join(dir, "root"), "--addr", address, "--otel-socket-path", filepath.Join(dir, "otel.sock"),
		"--containerd-worker=false", "--oci-worker=true", "--oci-worker-net=host",
	}, args...)...)
	said := &watcher{word: "running server on", seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // a test that is killed leaves no daemon
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the signal comes when this thread ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
		unmount(t, dir)
	})
	select {
	case <-said.seen:
	case err := <-ended:
		ended <- err
		t.Fatalf("buildkitd ended: %v\n%s", err, said.text())
	case <-time.After(time.Minute):
		t.Fatalf("buildkitd does not start:\n%s", said.text())
	}
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

// meter passes connections on to a unix socket and counts their bytes.
type meter struct {
	socket         string
	sent, received atomic.Int64 // to the daemon, from the daemon
}

func startMeter(t *testing.T, to string) *meter {
	t.Helper()
	m := &meter{socket: filepath.Join(t.TempDir(), "meter.sock")}
	l, err := net.Listen("unix", m.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			far, err := net.Dial("unix", to)
			if err != nil {
				near.Close()
				continue
			}
			go pass(far, near, &m.sent)
			go pass(near, far, &m.received)
		}
	}()
	return m
}

func pass(to, from net.Conn, n *atomic.Int64) {
	defer to.Close()
	defer from.Close()
	io.Copy(counter{to, n}, from)
}

type counter struct {
	io.Writer
	n *atomic.Int64
}

func (c counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// processes returns the ids of processes whose command line contains text.
func processes(t *testing.T, text string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, f := range files {
		data, _ := os.ReadFile(f)
		if strings.Contains(strings.ReplaceAll(string(data), "\x00", " "), text) {
			ids = append(ids, filepath.Base(filepath.Dir(f)))
		}
	}
	return ids
}
