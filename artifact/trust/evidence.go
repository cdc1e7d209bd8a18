package trust

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// maxEvidence bounds the bytes of an envelope or bundle. They are checked as a
// whole, in memory.
const maxEvidence = 12 << 20

// readEvidence returns the bytes of a layer with signatures, verified against its
// digest.
func readEvidence(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) ([]byte, error) {
	if d.Size > maxEvidence {
		return nil, fmt.Errorf("%s has %d bytes, more than the %d MiB that a signed statement may have", d.Digest, d.Size, maxEvidence>>20)
	}
	r, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxEvidence+1))
	if err != nil {
		return nil, err
	}
	if h := sha256.Sum256(text); d.Digest.Algorithm != "sha256" || hex.EncodeToString(h[:]) != d.Digest.Hex {
		return nil, fmt.Errorf("%s is damaged: its bytes have another digest", d.Digest)
	}
	return text, nil
}

// Suffixes of the tags under which cosign keeps what is attached to an image
// (SIGNATURE_SPEC.md, "Tag-based discovery").
const (
	suffixSignature   = ".sig"
	suffixAttestation = ".att"
)

// tagOf returns the reference of what cosign keeps under a tag for the image.
func tagOf(ref artifact.Reference, h v1.Hash, suffix string) (artifact.Reference, error) {
	return ref.WithTag(h.Algorithm + "-" + h.Hex + suffix)
}

// Attached lists what signs or describes the image whose digest ref has, in a
// source that can tell; others have nothing.
func Attached(ctx context.Context, src artifact.Source, ref artifact.Reference) ([]artifact.Named, error) {
	if d, ok := src.(artifact.Describer); ok {
		return d.Attached(ctx, ref)
	}
	return nil, nil
}

// Find returns the image that ref names in src with all that is attached to it.
// Only what the reference names itself counts as signed: an index, where it is
// one.
func Find(ctx context.Context, src artifact.Source, ref artifact.Reference) (Image, error) {
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return Image{}, err
	}
	img := Image{Ref: ref.WithDigest(d.Digest), Subjects: []v1.Descriptor{d}, Source: src}
	img.Signatures, img.Err = Attached(ctx, src, img.Ref)
	if ctx.Err() != nil {
		return Image{}, context.Cause(ctx)
	}
	return img, nil
}
