package registry

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// TestConnectionsGiveUp is about a network that dies while bytes are sent.
func TestConnectionsGiveUp(t *testing.T) {
	conn := dialed(t, func(net.Conn) {})
	raw, err := conn.SyscallConn()
	artifacttest.Check(t, err)
	var ms int
	artifacttest.Check(t, raw.Control(func(fd uintptr) { ms, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT) }))
	artifacttest.Check(t, err)
	if int64(ms) != headerTimeout.Milliseconds() {
		t.Errorf("gives up after %d ms", ms)
	}
}

// dialed returns a connection to a listener that serves one.
func dialed(t *testing.T, serve func(net.Conn)) fileConn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	artifacttest.Check(t, err)
	go func() {
		if c, err := l.Accept(); err == nil {
			serve(c)
			c.Close()
		}
	}()
	conn, err := dialContext(t.Context(), "tcp", l.Addr().String())
	artifacttest.Check(t, err)
	t.Cleanup(func() {
		conn.Close()
		l.Close()
	})
	return conn.(fileConn)
}

// sentFile is a file that must not be read by this process.
type sentFile struct {
	t      *testing.T
	file   *os.File
	passed int64
}

// Read implements io.Reader.
func (f *sentFile) Read([]byte) (int, error) {
	f.t.Error("the file was read")
	return 0, io.ErrUnexpectedEOF
}

// Close implements io.Closer.
func (f *sentFile) Close() error { return f.file.Close() }

// File implements fileReader.
func (f *sentFile) File() *os.File { return f.file }

// Passed implements fileReader.
func (f *sentFile) Passed(n int64) { f.passed += n }

// Verify implements fileReader.
func (f *sentFile) Verify() error { return nil }

// TestFilesAreSentByTheSystem shows that no byte of a file comes into this process on its way to a connection.
func TestFilesAreSentByTheSystem(t *testing.T) {
	const size = 3<<20 + 17
	path := filepath.Join(t.TempDir(), "blob")
	artifacttest.Check(t, os.WriteFile(path, artifacttest.Noise(1, size), 0o600))
	f, err := os.Open(path)
	artifacttest.Check(t, err)
	got := make(chan []byte, 1)
	conn := dialed(t, func(c net.Conn) {
		b, _ := io.ReadAll(c)
		got <- b
	})
	r := &sentFile{t: t, file: f}
	b := newBody(r, size, true)
	n, err := io.Copy(conn, io.LimitReader(b, size))
	artifacttest.Check(t, err)
	artifacttest.Check(t, conn.CloseWrite())
	if b := <-got; n != size || r.passed != size || artifacttest.DigestOf(b) != artifacttest.DigestOf(artifacttest.Noise(1, size)) {
		t.Errorf("%d bytes sent, %d told of, %d arrived", n, r.passed, len(b))
	}
}
