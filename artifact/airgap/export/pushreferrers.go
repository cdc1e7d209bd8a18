package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// referrersPlace is a place that is pushed to and knows, or not, what refers to
// an image that it has, see [artifact.Registry].
type referrersPlace interface {
	artifact.Source
	Referrers(ctx context.Context, ref artifact.Reference, h v1.Hash) ([]v1.Descriptor, bool, error)
}

// listReferrer makes the manifest d, which was pushed to the repository of to,
// be found by its subject. A registry with the API does so by itself; elsewhere
// whoever pushes keeps a list under a tag (OCI distribution-spec 1.1, "Pushing
// Manifests with Subject"), without which nobody finds the signature.
func (p *pushing) listReferrer(ctx context.Context, to artifact.Reference, d v1.Descriptor) error {
	dst, ok := p.dst.(referrersPlace)
	if !ok {
		return nil
	}
	about, err := layout.ReadSubject(ctx, p.src, d)
	if err != nil || about.Subject == nil {
		return err
	}
	if _, api, err := dst.Referrers(ctx, to, about.Subject.Digest); err != nil || api {
		return err
	}
	tag, err := artifact.ParseReference(to.Name() + ":" + artifact.ReferrersTag(about.Subject.Digest))
	if err != nil {
		return err
	}
	idx, err := listed(ctx, dst, tag)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(idx.Manifests, func(m v1.Descriptor) bool { return m.Digest == d.Digest }) {
		return nil
	}
	idx.Manifests = append(idx.Manifests, v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size,
		ArtifactType: about.ArtifactType, Annotations: about.Annotations})
	return p.putIndex(ctx, tag, idx)
}

// listed reads the list of referrers under a tag; it is empty when there is none.
func listed(ctx context.Context, src artifact.Source, tag artifact.Reference) (*v1.IndexManifest, error) {
	none := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	d, err := src.Resolve(ctx, tag)
	if errors.Is(err, artifact.ErrNotFound) {
		return none, nil
	}
	if err != nil {
		return nil, err
	}
	if !d.MediaType.IsIndex() {
		return nil, fmt.Errorf("%s is an image, and not the list of signatures that belongs there: remove that tag", tag)
	}
	b, err := artifact.ReadManifest(ctx, src, tag, d)
	if err != nil {
		return nil, err
	}
	return v1.ParseIndexManifest(bytes.NewReader(b))
}

// putIndex puts an index under a tag.
func (p *pushing) putIndex(ctx context.Context, tag artifact.Reference, idx *v1.IndexManifest) error {
	raw, err := json.Marshal(idx)
	if err != nil {
		return err
	}
	h, size, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	d := v1.Descriptor{MediaType: types.OCIImageIndex, Digest: h, Size: size}
	open := func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw[offset:])), nil }
	if err := p.dst.Put(ctx, tag, d, open); err != nil {
		return err
	}
	return p.dst.Tag(ctx, tag, d)
}
