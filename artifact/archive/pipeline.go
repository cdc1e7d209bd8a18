package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/sealrt/sealrt/artifact"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// step is how much is copied between two pieces of news.
const step = 4 << 20

// chunk is how much is hashed while the chunk after it is read and written.
const chunk = 512 << 10

// verified copies the blob d from r to w. Other bytes than those of d are an error that isDamaged.
func verified(ctx context.Context, w io.Writer, r io.Reader, d v1.Descriptor, tell func(done int64)) error {
	got, err := hashed(ctx, w, r, d, tell)
	if err == nil && got != d.Digest {
		err = damaged(d, fmt.Errorf("the bytes received have digest %s", got))
	}
	return err
}

// hashed copies d.Size bytes, which have to be all, from r to w, and returns their digest. One core reads and writes
// while another hashes. tell is told now and then how many have passed.
func hashed(ctx context.Context, w io.Writer, r io.Reader, d v1.Descriptor, tell func(done int64)) (v1.Hash, error) {
	h := newHasher(int(min(d.Size+1, chunk)))
	defer h.stop()
	var done, told int64
	for ended := false; !ended; {
		if ctx.Err() != nil {
			return v1.Hash{}, context.Cause(ctx)
		}
		b := h.buffer()
		n, err := io.ReadFull(r, b)
		ended = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !ended {
			return v1.Hash{}, err
		}
		if done += int64(n); done > d.Size {
			return v1.Hash{}, damaged(d, fmt.Errorf("more than the %d bytes announced", d.Size))
		}
		h.add(b[:n])
		if n > 0 {
			if _, err := w.Write(b[:n]); err != nil {
				return v1.Hash{}, err
			}
		}
		if done >= told+step {
			told = done
			tell(done)
		}
	}
	if done < d.Size {
		return v1.Hash{}, damaged(d, fmt.Errorf("%d bytes of %d: %w", done, d.Size, io.ErrUnexpectedEOF))
	}
	return h.sum(), nil
}

// damagedError says that a blob is not what its digest promises.
type damagedError struct {
	digest v1.Hash
	cause  error
}

func damaged(d v1.Descriptor, cause error) error { return &damagedError{d.Digest, cause} }

// Error implements error.
func (e *damagedError) Error() string {
	return fmt.Sprintf("%s: %v: the source is damaged", e.digest, e.cause)
}

// Unwrap returns the cause.
func (e *damagedError) Unwrap() error { return e.cause }

// isDamaged reports whether a blob of an archive, or of an image that is written to one, is damaged.
func isDamaged(err error) bool {
	var damaged *damagedError
	return errors.As(err, &damaged) || artifact.IsDamaged(err)
}

// hasher hashes in a goroutine of its own, two buffers behind at most.
type hasher struct {
	size int
	h    hash.Hash
	work chan []byte // in order
	free chan []byte
	done chan struct{}
	once sync.Once
}

// newHasher returns a hasher with buffers of size bytes. The caller stops it.
func newHasher(size int) *hasher {
	const buffers = 3
	h := &hasher{size: size, h: sha256.New(), work: make(chan []byte, buffers), free: make(chan []byte, buffers), done: make(chan struct{})}
	for range buffers {
		h.free <- nil
	}
	go func() {
		defer close(h.done)
		for b := range h.work {
			h.h.Write(b)
			h.free <- b[:cap(b)]
		}
	}()
	return h
}

// buffer returns one to fill and add.
func (h *hasher) buffer() []byte {
	if b := <-h.free; b != nil {
		return b
	}
	return make([]byte, h.size)
}

// add hashes b, which must not be changed any more.
func (h *hasher) add(b []byte) { h.work <- b }

func (h *hasher) stop() {
	h.once.Do(func() { close(h.work) })
	<-h.done
}

// sum returns the digest of all that was added; nothing can be added then.
func (h *hasher) sum() v1.Hash {
	h.stop()
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", h.h.Sum(nil))}
}
