package registry

import (
	"context"
	"io"
	"net"
)

// sendPiece is how many bytes of a file go with one call to the system, and are told of then.
const sendPiece = 1 << 20

// fileConn is a connection that has the system send what bodies have in files. TLS has no use for it.
type fileConn struct{ *net.TCPConn }

// ReadFrom implements io.ReaderFrom. The HTTP client asks for it with a limited reader of the body.
func (c fileConn) ReadFrom(r io.Reader) (sent int64, err error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return c.TCPConn.ReadFrom(r)
	}
	b, ok := limited.R.(*body)
	if !ok || b.file == nil {
		return c.TCPConn.ReadFrom(r)
	}
	for limited.N > 0 {
		want := min(limited.N, sendPiece)
		n, err := c.TCPConn.ReadFrom(&io.LimitedReader{R: b.file.File(), N: want})
		sent += n
		limited.N -= n
		if err := b.passed(n, want, err); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// dialContext connects as a net.Dialer does. A network that dies while bytes are sent is not waited for as long as systems
// do, which is a quarter of an hour.
func dialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, Control: giveUp}
	conn, err := d.DialContext(ctx, network, address)
	if tcp, ok := conn.(*net.TCPConn); ok {
		return fileConn{tcp}, err
	}
	return conn, err
}
