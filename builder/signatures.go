package builder

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
)

// signatures finds the signatures of container images in src, as far as the lock says. It is nil when src knows of none.
func (b *build) signatures(src artifact.Source, p v1.Platform) airgap.Signatures {
	found, ok := src.(airgap.Signatures)
	switch {
	case !ok:
		return nil
	case b.Lock == nil:
		return found
	}
	return b.Lock.Signatures(found, src, p, b.Frozen)
}

// checkKept checks the signatures of the container images that the base image has, where nothing else is collected.
func (w *work) checkKept(ctx context.Context) error {
	if w.Check == nil {
		return nil
	}
	o := airgap.Options{Check: w.Check}
	if err := w.image.inside(&o); err != nil {
		return err
	}
	return airgap.CheckBase(ctx, o)
}
