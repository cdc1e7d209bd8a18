package layout

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Children lists what a manifest or index refers to.
func Children(ctx context.Context, src artifact.Source, d v1.Descriptor) ([]v1.Descriptor, error) {
	b, err := artifact.ReadManifest(ctx, src, artifact.Reference{}, d)
	if err != nil {
		return nil, err
	}
	children, _, err := parseChildren(d, b)
	return children, err
}

// Split tells of an index what of it is here.
func Split(ctx context.Context, blobs Blobs, d v1.Descriptor) (here, absent []v1.Descriptor, err error) {
	children, err := Children(ctx, blobs, d)
	if err != nil {
		return nil, nil, err
	}
	for _, child := range children {
		switch _, err := blobs.BlobSize(ctx, child.Digest); {
		case errors.Is(err, artifact.ErrNotFound):
			absent = append(absent, child)
		case err != nil:
			return nil, nil, err
		default:
			here = append(here, child)
		}
	}
	return here, absent, nil
}

// parseChildren lists what a manifest or index refers to, and says whether that
// may be absent: an index need not have all its platforms here.
func parseChildren(d v1.Descriptor, b []byte) (children []v1.Descriptor, optional bool, err error) {
	if d.MediaType.IsIndex() {
		idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
		if err != nil {
			return nil, false, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		return idx.Manifests, true, nil
	}
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, false, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return append([]v1.Descriptor{m.Config}, m.Layers...), false, nil
}
