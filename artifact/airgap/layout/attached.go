package layout

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Attached returns what index.json lists that is attached to what ref names by
// digest.
func (l *Layout) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	return AttachedAmong(ctx, l, l.carried(), ref)
}

// Attached returns what index.json lists that is attached to what ref names by
// digest.
func (c *Contents) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	return AttachedAmong(ctx, c, c.carried(), ref)
}

// carried returns what index.json lists that is attached to images.
func (n *names) carried() []artifact.Named {
	var list []artifact.Named
	for i, d := range n.index.Manifests {
		if AttachedName(d) != "" && !n.refs[i].IsZero() {
			list = append(list, artifact.Named{Ref: n.refs[i], Desc: d})
		}
	}
	return list
}

// AttachedAmong returns what of list is attached to what ref names by digest.
func AttachedAmong(ctx context.Context, src artifact.Source, list []artifact.Named, ref artifact.Reference) ([]artifact.Named, error) {
	h, _ := ref.Digest()
	var found []artifact.Named
	for _, n := range list {
		if n.Ref.Name() != ref.Name() {
			continue
		}
		subject, err := SubjectOf(ctx, src, n)
		if err != nil {
			return nil, err
		}
		if subject == h {
			found = append(found, n)
		}
	}
	return found, nil
}

// SubjectOf returns the digest of what a manifest is attached to: its tag says
// it, as cosign has it, or else its content. It is zero for images.
func SubjectOf(ctx context.Context, src artifact.Source, n artifact.Named) (v1.Hash, error) {
	if n.Ref.Tag() != "" {
		return SubjectOfTag(n.Ref), nil
	}
	if !n.Desc.MediaType.IsImage() {
		return v1.Hash{}, nil
	}
	m, err := ReadAttached(ctx, src, n)
	if err != nil || m.Subject == nil {
		return v1.Hash{}, err
	}
	return m.Subject.Digest, nil
}

// SubjectOfTag returns the digest of what a tag says that it belongs to (cosign,
// specs/SIGNATURE_SPEC.md, "Tag-based discovery"). It is zero for other tags.
func SubjectOfTag(ref artifact.Reference) v1.Hash {
	base, _, found := strings.Cut(ref.Tag(), ".")
	hex, ok := strings.CutPrefix(base, "sha256-")
	if !ok || !found || len(hex) != 64 {
		return v1.Hash{}
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex}
}

// AttachedManifest is the manifest of what is attached to an image, which says
// of what type it is: lists of registries do not agree on that.
type AttachedManifest struct {
	v1.Manifest
	ArtifactType string `json:"artifactType"`
}

// ReadAttached reads the manifest of what is attached to an image.
func ReadAttached(ctx context.Context, src artifact.Source, n artifact.Named) (*AttachedManifest, error) {
	if err := Check(n.Desc); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
	}
	b, err := artifact.ReadManifest(ctx, src, n.Ref.WithDigest(n.Desc.Digest), n.Desc)
	if err != nil {
		return nil, err
	}
	m := &AttachedManifest{}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
	}
	return m, nil
}

// ReadSubject reads what a manifest of the images says about another; what is no
// manifest is about nothing. Its type is that which lists of referrers give
// (OCI distribution-spec, "Listing Referrers").
func ReadSubject(ctx context.Context, images artifact.Source, d v1.Descriptor) (AttachedManifest, error) {
	b, err := artifact.ReadManifest(ctx, images, artifact.Reference{}, d)
	if err != nil {
		return AttachedManifest{}, err
	}
	return parseSubject(b), nil
}

func parseSubject(b []byte) AttachedManifest {
	var m AttachedManifest
	if json.Unmarshal(b, &m) != nil {
		return AttachedManifest{}
	}
	m.ArtifactType = cmp.Or(m.ArtifactType, string(m.Config.MediaType))
	return m
}

// AttachedName returns the full name of an entry of index.json that is attached
// to an image, "" for other entries.
func AttachedName(d v1.Descriptor) string {
	if NameOf(d) != "" {
		return ""
	}
	return d.Annotations[artifact.AnnotationImageName]
}
