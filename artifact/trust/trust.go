// Package trust checks that images are signed with keys that the user trusts.
//
// It knows the signatures that cosign makes with a key: payloads under a tag of
// the image's digest, and sigstore bundles that refer to the image. Certificates
// and transparency logs, which need the network, are not looked at.
package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Image is an image and what was found that may sign it.
type Image struct {
	Ref        artifact.Reference // pinned to its digest
	Subjects   []v1.Descriptor    // manifests and indexes; who signs one of them signs the image
	Signatures []artifact.Named   // manifests that are attached to one of the subjects
	Source     artifact.Source    // has the subjects, the signatures and what these consist of
	Err        error              // why signatures could not be looked for; may be nil
}

// Keys are keys of which each may sign.
type Keys []*Key

// Verify returns nil when one of the keys signed one of the subjects of an
// image. The error says what was found instead.
func (k Keys) Verify(ctx context.Context, img Image) error {
	var seen findings
	for _, n := range img.Signatures {
		claims, err := readClaims(ctx, img, n)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			seen.broken = append(seen.broken, err)
			continue
		}
		for _, c := range claims {
			seen.signatures++
			key, err := k.signed(ctx, c)
			switch {
			case key == nil:
			case err != nil:
				seen.broken = append(seen.broken, err)
			case slices.ContainsFunc(img.Subjects, func(s v1.Descriptor) bool { return s.Digest == c.digest }):
				return nil
			default:
				seen.others = append(seen.others, fmt.Sprintf("%s signed %s", key.name, c.digest))
			}
		}
	}
	return k.refuse(img, seen)
}

// signed returns the key that made a signature, or nil. The error is about what
// that key signed.
func (k Keys) signed(ctx context.Context, c *claim) (*Key, error) {
	for _, key := range k {
		if c.verify(ctx, key) {
			return key, c.parse()
		}
	}
	return nil, nil
}

// findings are what an image has instead of a good signature.
type findings struct {
	signatures int      // by whomever
	others     []string // by a key that is trusted, of something else
	broken     []error
}

// refuse says why an image is not taken to be signed, and what to do.
func (k Keys) refuse(img Image, seen findings) error {
	names := make([]string, len(k))
	for i, key := range k {
		names[i] = key.name
	}
	by := strings.Join(names, " or ")
	var found string
	switch {
	case len(seen.others) > 0:
		found = strings.Join(slices.Compact(seen.others), ", ") + " instead"
	case seen.signatures > 0:
		found = fmt.Sprintf("%s, none by %s", plural(seen.signatures), by)
	case len(img.Signatures) > 0 && len(seen.broken) == 0:
		found = "what is attached to it is no signature of an image"
	case len(seen.broken) == 0:
		found = "it has no signature, one by " + by + " is required"
	default:
		found = "it has no signature that can be read"
	}
	if cause := cmp.Or(img.Err, errors.Join(seen.broken...)); cause != nil {
		return fmt.Errorf("%s: %s: %w: %s", img.name(), found, cause, img.next())
	}
	return fmt.Errorf("%s: %s: %s", img.name(), found, img.next())
}

// name is what the user calls the image.
func (img Image) name() string {
	if t, err := img.Ref.WithTag(img.Ref.Tag()); err == nil {
		return t.Familiar()
	}
	return img.Ref.Familiar()
}

// next is what the user can do.
func (img Image) next() string {
	return fmt.Sprintf("sign it with `cosign sign --key KEY %s@%s`", img.Ref.Name(), img.Subjects[0].Digest)
}

func plural(n int) string {
	if n == 1 {
		return "it has a signature"
	}
	return fmt.Sprintf("it has %d signatures", n)
}
