//go:build e2e

package buildkit

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

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
