package registry

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// giveUp has a connection break when what was sent on it is not acknowledged for headerTimeout (tcp(7), TCP_USER_TIMEOUT).
func giveUp(_, _ string, c syscall.RawConn) error {
	var err error
	if cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(headerTimeout.Milliseconds()))
	}); cerr != nil {
		return cerr
	}
	return err
}
