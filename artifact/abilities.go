package artifact

import (
	"context"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Abilities that a Source or Sink may have beside its methods, and that Copy makes use of.
type (
	// holder protects what is read, and what is added until it is tagged.
	holder interface {
		Hold(ctx context.Context) (func() error, error)
	}
	// namer tells what a name means where it is written to: when that is the image already, nothing is sent.
	namer interface {
		Named(ctx context.Context, ref Reference) (v1.Hash, error)
	}
	// roomer knows how many bytes it can still take, and says what to do when there are too few.
	roomer interface{ CheckRoom(need int64) error }
	// serial sinks take one blob after the other, in an order that must not change.
	serial interface{ Serial() }
	// checker verifies itself what it gets: what a store verified when it was written is not hashed again for it.
	checker interface{ ChecksDigests() }
	// keeper has what was verified when it was written: a store.
	keeper interface {
		Source
		Has(ctx context.Context, ref Reference, d v1.Descriptor) (bool, error)
		Vouches()
	}
	// resumer goes on with what is left of an earlier attempt, and tells when that was of no use.
	resumer interface {
		PutNoting(ctx context.Context, ref Reference, d v1.Descriptor, open OpenFunc, note func(string)) error
	}
	// mounter takes a blob from another repository of the same registry.
	mounter interface {
		Mount(ctx context.Context, to Reference, d v1.Descriptor, src Source, from Reference) bool
	}
)
