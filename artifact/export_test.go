package artifact

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// NameOf is nameOf for tests.
func NameOf(d v1.Descriptor) Reference { return nameOf(d) }

// ReadLayers is readLayers for tests.
func ReadLayers(ctx context.Context, src Source, ref Reference, d v1.Descriptor) ([]string, error) {
	return readLayers(ctx, src, ref, d)
}

// VerifiedAt returns what opens a blob at an offset, so that it is verified as a whole.
func VerifiedAt(open OpenFunc, ref Reference, d v1.Descriptor) OpenFunc {
	return (&verified{open: open, ref: ref, d: d}).at
}
