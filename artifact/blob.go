package artifact

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// BlobWriter receives the bytes of a blob that is not in the store yet. It is not safe for concurrent use.
type BlobWriter struct {
	s     *Store
	f     *os.File // nil once closed
	n     int64
	added bool
}

// NewBlob begins a blob. The caller closes it in any case; what was not committed by then is discarded. ctx bounds
// only the wait for the store's lock.
func (s *Store) NewBlob(ctx context.Context) (*BlobWriter, error) {
	if err := s.begin(ctx, false); err != nil {
		return nil, err
	}
	f, err := s.temp()
	if err != nil {
		s.end(false)
		return nil, fmt.Errorf("write to the store at %s: %w", s.root, hint(s.root, err))
	}
	return &BlobWriter{s: s, f: f}, nil
}

// Write implements io.Writer.
func (w *BlobWriter) Write(p []byte) (int, error) {
	if w.f == nil {
		return 0, os.ErrClosed
	}
	n, err := w.f.Write(p)
	w.n += int64(n)
	if err != nil {
		return n, fmt.Errorf("write to the store at %s: %w", w.s.root, hint(w.s.root, err))
	}
	return n, nil
}

// Commit makes the bytes written so far the blob digest, at once and whole. It trusts the digest, which the producer
// of the bytes computed in the same pass; the size is checked. Nothing can be written afterwards. Committing a blob
// that the store has is fine.
func (w *BlobWriter) Commit(digest v1.Hash, size int64) error {
	switch {
	case w.f == nil:
		return fmt.Errorf("commit %s: %w", digest, os.ErrClosed)
	case digest.Algorithm != "sha256" || len(digest.Hex) != 64:
		return fmt.Errorf("commit %s: not a sha256 digest", digest)
	case w.n != size:
		return fmt.Errorf("commit %s: %d bytes written, %d announced", digest, w.n, size)
	}
	err := w.f.Chmod(0o644)
	if err == nil {
		err = os.Rename(w.f.Name(), w.s.BlobPath(digest))
	}
	if err != nil {
		return fmt.Errorf("commit %s: %w", digest, hint(w.s.root, err))
	}
	w.added = true
	return w.Close()
}

// Close discards what was not committed. It can be called twice, and after Commit.
func (w *BlobWriter) Close() error {
	if w.f == nil {
		return nil
	}
	f := w.f
	w.f = nil
	defer func() { w.s.end(w.added) }()
	if !w.added {
		discard(f)
		return nil
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write to the store at %s: %w", w.s.root, hint(w.s.root, err))
	}
	return nil
}

// Put implements Sink. It verifies size and digest while it writes.
func (s *Store) Put(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc) error {
	if err := s.begin(ctx, false); err != nil {
		return err
	}
	defer s.end(false)
	if ok, err := s.Has(ctx, ref, d); ok || err != nil {
		return err
	}
	if err := s.CheckSpace(d.Size); err != nil {
		return fmt.Errorf("%s: %s: %w", ref.Familiar(), d.Digest, err)
	}
	w, err := s.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	r, err := open(0)
	if err != nil {
		return err
	}
	defer r.Close()
	v := newVerifier(r, ref, d)
	if _, err := io.CopyBuffer(w, readerOnly{contextReader{ctx, v}}, make([]byte, 256<<10)); err != nil {
		return err
	}
	return w.Commit(d.Digest, d.Size)
}

// PutBytes stores a small blob, such as a manifest or config, and returns its descriptor.
func (s *Store) PutBytes(ctx context.Context, mediaType types.MediaType, b []byte) (v1.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: mediaType, Digest: h, Size: n}
	if err := s.begin(ctx, false); err != nil {
		return v1.Descriptor{}, err
	}
	defer s.end(false)
	if ok, err := s.Has(ctx, Reference{}, d); err != nil {
		return v1.Descriptor{}, err
	} else if ok {
		return d, nil
	}
	w, err := s.NewBlob(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer w.Close()
	if _, err := w.Write(b); err != nil {
		return v1.Descriptor{}, err
	}
	return d, w.Commit(h, n)
}

// verifier passes on a blob's bytes and ends with an error instead of io.EOF when they are not the blob's.
type verifier struct {
	r   io.Reader
	ref Reference
	d   v1.Descriptor
	h   hash.Hash
	n   int64
}

func newVerifier(r io.Reader, ref Reference, d v1.Descriptor) *verifier {
	return &verifier{r: r, ref: ref, d: d, h: sha256.New()}
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.h.Write(p[:n])
	switch {
	case v.n > v.d.Size:
		return 0, v.damaged(fmt.Errorf("more than the %d bytes announced", v.d.Size))
	case errors.Is(err, io.EOF) && v.n < v.d.Size:
		return n, v.damaged(fmt.Errorf("%d bytes of %d: %w", v.n, v.d.Size, io.ErrUnexpectedEOF))
	case errors.Is(err, io.EOF):
		if got := fmt.Sprintf("sha256:%x", v.h.Sum(nil)); got != v.d.Digest.String() {
			return n, v.damaged(fmt.Errorf("the bytes received have digest %s", got))
		}
	}
	return n, err
}

// damagedError says that a blob is not what its digest promises.
type damagedError struct {
	ref    Reference
	digest v1.Hash
	cause  error
	file   string // that holds the blob, in a store; "" elsewhere
}

func (v *verifier) damaged(cause error) error {
	e := &damagedError{ref: v.ref, digest: v.d.Digest, cause: cause}
	if f, ok := v.r.(*os.File); ok {
		e.file = f.Name()
	}
	return e
}

// Error implements error.
func (e *damagedError) Error() string {
	s := fmt.Sprintf("%s: %s: %v: the source is damaged", e.ref.Familiar(), e.digest, e.cause)
	if e.file != "" {
		s += fmt.Sprintf(": remove %s, then pull or load the image again", e.file)
	}
	return s
}

// Unwrap returns the cause.
func (e *damagedError) Unwrap() error { return e.cause }

// contextReader stops reading when its context ends. It lives for one copy only.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

// readerOnly hides other methods, so that io.CopyBuffer uses the buffer it was given.
type readerOnly struct{ io.Reader }
