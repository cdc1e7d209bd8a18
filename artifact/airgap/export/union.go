package export

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// union is the images of all variants as one place; they share most blobs.
type union []layout.Images

// having returns the images that have a blob.
func (u union) having(ctx context.Context, h v1.Hash) (layout.Images, int64, error) {
	last := fmt.Errorf("blob %s: %w", h, artifact.ErrNotFound)
	for _, images := range u {
		size, err := images.BlobSize(ctx, h)
		if err == nil {
			return images, size, nil
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			return nil, 0, err
		}
		last = err
	}
	return nil, 0, last
}

// BlobSize returns the size of a blob in bytes.
func (u union) BlobSize(ctx context.Context, h v1.Hash) (int64, error) {
	_, size, err := u.having(ctx, h)
	return size, err
}

// Resolve implements artifact.Source for references with a digest.
func (u union) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	h, _ := ref.Digest()
	images, _, err := u.having(ctx, h)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return images.Resolve(ctx, ref)
}

// Open implements artifact.Source.
func (u union) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	images, _, err := u.having(ctx, d.Digest)
	if err != nil {
		return nil, err
	}
	return images.Open(ctx, ref, d, offset)
}
