package artifact

import (
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Describer is the ability of a Source to list what signs or describes an image.
type Describer interface {
	// Attached lists the manifests that are attached to the manifest whose digest ref has, sorted by name: those under
	// tags of cosign as name:tag, those that name their subject (OCI image-spec manifest.md, "subject") as name@digest.
	// There may be none.
	Attached(ctx context.Context, ref Reference) ([]Named, error)
}

// Attacher is the ability of a Sink to keep manifests beside the manifest that they sign or describe.
type Attacher interface {
	// Attach makes n, which was Put before, known as attached to the manifest whose digest ref has. The reference of n
	// has the tag that n lives under, or else its digest: then n itself names its subject. What lived under that tag
	// before is replaced.
	Attach(ctx context.Context, ref Reference, n Named) error
}

// SubjectDigest returns the digest of ref, the manifest that others sign or describe, or an error when ref has none: by tags
// alone nothing is found that is attached.
func SubjectDigest(ref Reference) (v1.Hash, error) {
	h, ok := ref.Digest()
	if !ok {
		return v1.Hash{}, fmt.Errorf("%s: what is attached to an image is found by its digest", ref.Familiar())
	}
	return h, nil
}

// ReferrersTag returns the tag under which the manifests that refer to h are listed where the registry has no API for
// that (OCI distribution-spec 1.1, "Referrers Tag Schema").
func ReferrersTag(h v1.Hash) string { return h.Algorithm + "-" + h.Hex }
