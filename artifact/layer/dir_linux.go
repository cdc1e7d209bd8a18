package layer

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// openBeneath opens a file without leaving dir. When it cannot, for whatever reason, os.Root finds out why.
func openBeneath(dir *os.File, name string) (*os.File, bool) {
	fd, err := descriptorBeneath(dir, name, 0)
	if err != nil {
		return nil, false
	}
	return os.NewFile(uintptr(fd), name), true
}

// contentBeneath is openBeneath for the content of a file.
func contentBeneath(dir *os.File, name string) (io.ReadCloser, bool) {
	fd, err := descriptorBeneath(dir, name, unix.O_NONBLOCK)
	if err != nil {
		return nil, false
	}
	return &content{fd: fd, name: name}, true
}

// descriptorBeneath opens a file without leaving dir (openat2(2), Linux 5.6).
func descriptorBeneath(dir *os.File, name string, flags uint64) (int, error) {
	return unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// content reads a file descriptor: an os.File asks how it was opened, and may be read and closed by several at once.
type content struct {
	fd   int // -1 once closed
	name string
}

// Read implements io.Reader.
func (c *content) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(c.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: c.name, Err: err}
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// Close implements io.Closer.
func (c *content) Close() error {
	if c.fd < 0 {
		return &fs.PathError{Op: "close", Path: c.name, Err: fs.ErrClosed}
	}
	fd := c.fd
	c.fd = -1
	return unix.Close(fd)
}
