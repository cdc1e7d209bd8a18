package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

// ReadLayer calls use with the bytes of d, a layer of the image that ref names in src, and verifies them: when they are
// not what the digest says, that is the error, whatever use made of them. What use leaves unread is read too. A layer
// that the image only refers to by URL is an error.
func ReadLayer(ctx context.Context, src Source, ref Reference, d v1.Descriptor, use func(io.Reader) error) error {
	if IsForeign(d) {
		return fmt.Errorf("%s is to be fetched from %s and is not part of the image", d.Digest, d.URLs[0])
	}
	r, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	v := newVerifier(r, ref, d)
	if err := use(v); err != nil {
		var damaged *damagedError // says more than what a decoder stumbled over
		if _, verr := io.Copy(io.Discard, layer.UntilDone(ctx, v)); errors.As(verr, &damaged) {
			return damaged
		}
		return err
	}
	_, err = io.Copy(io.Discard, layer.UntilDone(ctx, v)) // what follows the end of the tar belongs to the digest
	return err
}
