package layout

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/sealrt/sealrt/artifact"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Check refuses descriptors that no layout of ours can hold.
func Check(d v1.Descriptor) error {
	if !artifact.IsSHA256(d.Digest) {
		return fmt.Errorf("digest %q is not sha256", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("blob %s: size %d", d.Digest, d.Size)
	}
	if d.MediaType.IsSchema1() {
		return errors.New("the image is in docker's schema 1, which runtimes no longer read: push it again with a current tool")
	}
	return nil
}

// Bare returns a descriptor that says what d is, and nothing else.
func Bare(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// DigestOf returns the sha256 digest of b.
func DigestOf(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}
