package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrDamaged is wrapped by errors about bytes that are not those of a digest.
var ErrDamaged = errors.New("the source is damaged")

// Verify returns a reader of r that ends with an error instead of io.EOF when
// the bytes are not those of d. It tells progress, if that is not nil, how many
// bytes have passed and whether that was all. Closing it closes r.
func Verify(r io.ReadCloser, d v1.Descriptor, progress func(done int64, end bool)) io.ReadCloser {
	return &verifier{ReadCloser: r, want: d, hash: sha256.New(), progress: progress}
}

type verifier struct {
	io.ReadCloser
	want     v1.Descriptor
	hash     hash.Hash
	done     int64
	progress func(done int64, end bool)
}

func (v *verifier) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.done += int64(n)
	if v.done > v.want.Size {
		return 0, fmt.Errorf("blob %s: more than the %d bytes announced: %w", v.want.Digest, v.want.Size, ErrDamaged)
	}
	if err == io.EOF {
		if v.done < v.want.Size {
			return 0, fmt.Errorf("blob %s: %d bytes of %d: %w", v.want.Digest, v.done, v.want.Size, ErrDamaged)
		}
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest.Hex {
			return 0, fmt.Errorf("blob %s: the %d bytes received have digest sha256:%s: %w", v.want.Digest, v.done, got, ErrDamaged)
		}
	}
	if v.progress != nil && (err == io.EOF || err == nil && n > 0) {
		v.progress(v.done, err == io.EOF)
	}
	return n, err
}
