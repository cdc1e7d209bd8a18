package swarm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Set is the blobs of an image, on the client.
type Set interface {
	// Blobs lists them, each with digest and size.
	Blobs() []v1.Descriptor
	// Open reads a blob from a byte on. The caller closes it.
	Open(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
}

// Want is a blob that a host lacks, from a byte on.
type Want struct {
	Descriptor v1.Descriptor
	Offset     int64 // bytes of it that the host has kept of an attempt before
}

// Keeper is where a host has its blobs.
type Keeper interface {
	// Missing returns which of the blobs are not there.
	Missing(ctx context.Context, blobs []v1.Descriptor) ([]Want, error)
	// Write takes a blob in from the offset on that Missing told, and verifies
	// it. What came before an error of r is kept; what is wrong is not.
	Write(ctx context.Context, d v1.Descriptor, offset int64, r io.Reader) error
	// Blob opens a blob and returns its size; fs.ErrNotExist when it is not
	// there. The caller closes it.
	Blob(ctx context.Context, h v1.Hash) (io.ReadSeekCloser, int64, error)
}

// offsetOf returns where a blob goes on, and false when the host has it.
func offsetOf(ctx context.Context, k Keeper, d v1.Descriptor) (int64, bool, error) {
	wants, err := k.Missing(ctx, []v1.Descriptor{d})
	if err != nil || len(wants) == 0 {
		return 0, false, err
	}
	return wants[0].Offset, true, nil
}

// rest yields exactly what is left of a blob. It tells a source that ends too
// early from one that is whole: what comes of the first is kept.
type rest struct {
	r    io.Reader
	left int64
	err  error // of r
}

func (r *rest) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if r.left > 0 && errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if r.left == 0 {
		return n, nil
	}
	r.err = err
	return n, err
}

// damaged says that all bytes of a blob came and are not the blob's.
type damaged struct{ err error }

func (d *damaged) Error() string { return d.err.Error() }
func (d *damaged) Unwrap() error { return d.err }

// unkept says that the host itself could not keep what came.
type unkept struct{ err error }

func (u *unkept) Error() string { return u.err.Error() }
func (u *unkept) Unwrap() error { return u.err }

// write takes in what r holds of a blob. A source that broke off has its own
// error; others are *damaged or *unkept.
func write(ctx context.Context, k Keeper, d v1.Descriptor, offset int64, r io.Reader) error {
	left := &rest{r: r, left: d.Size - offset}
	err := k.Write(ctx, d, offset, left)
	var disk syscall.Errno
	switch {
	case err == nil:
		return nil
	case left.err != nil:
		return left.err
	case ctx.Err() != nil:
		return ctx.Err()
	case left.left > 0 || errors.As(err, &disk):
		return &unkept{err}
	}
	return &damaged{fmt.Errorf("what came is not %s: %w", d.Digest, err)}
}
