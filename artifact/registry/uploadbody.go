package registry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// fileReader is a reader of a blob that is a file of this machine with nothing to be looked at on its way, so that the
// system can send it from the page cache.
type fileReader interface {
	io.ReadCloser

	// File returns the file, which stands where the reader does, or nil if it is none or its bytes have to be looked at.
	File() *os.File

	// Passed says that the next n bytes were read from the file.
	Passed(n int64)

	// Verify reads the whole file, from which nothing may have been read, and returns an error when it is not the blob.
	Verify() error
}

// body is what an upload reads from: it keeps the error of the blob's reader apart from those of the connection, and
// lets nobody read any more once the request is over, which the HTTP client does not promise.
type body struct {
	file fileReader // nil if it has to be read

	mu    sync.Mutex
	r     io.ReadCloser
	left  int64
	last  bool // what r has after that is its end, which tells whether the blob is what it should be
	err   error
	ended bool
}

// newBody returns the next n bytes of r, the last ones of a blob or not.
func newBody(r io.ReadCloser, n int64, last bool) *body {
	b := &body{r: r, left: n, last: last}
	if f, ok := r.(fileReader); ok && f.File() != nil {
		b.file = f
	}
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.ended:
		return 0, io.ErrClosedPipe
	case !b.last && b.left == 0:
		return 0, io.EOF
	case !b.last:
		p = p[:min(int64(len(p)), b.left)]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// passed says that the next n of up to want bytes were sent from the file.
func (b *body) passed(n, want int64, err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return io.ErrClosedPipe
	}
	b.left -= n
	b.file.Passed(n)
	if err == nil && n < want {
		b.err = fmt.Errorf("%s is too short: %w", b.file.File().Name(), io.ErrUnexpectedEOF)
		return b.err
	}
	return err
}

// Close implements io.Closer for the HTTP client.
func (b *body) Close() error {
	_ = b.end() // of a source, read as far as it was wanted
	return nil
}

// end closes the blob's reader and returns the error that it ended with, if it did.
func (b *body) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		b.r.Close()
	}
	return b.err
}
