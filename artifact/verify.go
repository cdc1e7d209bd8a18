package artifact

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Verify returns a reader of the blob d in the repository of ref, whose bytes r yields. It ends with an error that
// IsDamaged instead of io.EOF when they are not the blob's.
func Verify(r io.Reader, ref Reference, d v1.Descriptor) io.Reader { return newVerifier(r, ref, d) }

// VerifyBeside is Verify for a caller that leaves the bytes it got as they are until it reads again: they are hashed
// meanwhile. file is what they come of, which the error then names; "" is no file.
func VerifyBeside(r io.Reader, ref Reference, d v1.Descriptor, file string) io.Reader {
	v := newVerifier(r, ref, d)
	v.beside, v.file = true, file
	return v
}

// Damaged returns an error that IsDamaged: what, a word for the user, does not give the blob that h promises.
func Damaged(what string, h v1.Hash, cause error) error {
	return &damagedError{ref: Reference{path: what}, digest: h, cause: cause}
}

// IsDamaged reports whether an error says that a blob is not what its digest promises.
func IsDamaged(err error) bool {
	var damaged *damagedError
	return errors.As(err, &damaged)
}

// verifier passes on a blob's bytes and ends with an error instead of io.EOF when they are not the blob's.
type verifier struct {
	r    io.Reader
	ref  Reference
	d    v1.Descriptor
	h    hash.Hash
	n    int64
	file string // that r reads, when that is hidden in r

	// beside has bytes hashed while the reader's caller does something with them. It is for callers that leave what they
	// got as it is until they read again.
	beside bool
	hashed chan struct{} // closed when the last bytes are
}

func newVerifier(r io.Reader, ref Reference, d v1.Descriptor) *verifier {
	return &verifier{r: r, ref: ref, d: d, h: sha256.New()}
}

// besideFrom is how many bytes are worth a goroutine.
const besideFrom = 64 << 10

// hash adds bytes to the digest, not always before it returns.
func (v *verifier) hash(p []byte) {
	if !v.beside || len(p) < besideFrom {
		v.h.Write(p)
		return
	}
	done := make(chan struct{})
	v.hashed = done
	go func() {
		defer close(done)
		v.h.Write(p)
	}()
}

// settle waits until all bytes are hashed.
func (v *verifier) settle() {
	if v.hashed != nil {
		<-v.hashed
		v.hashed = nil
	}
}

func (v *verifier) Read(p []byte) (int, error) {
	v.settle()
	n, err := v.r.Read(p)
	v.n += int64(n)
	v.hash(p[:n])
	if err != nil {
		v.settle()
	}
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
	e := &damagedError{ref: v.ref, digest: v.d.Digest, cause: cause, file: v.file}
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
