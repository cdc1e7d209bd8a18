package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// errNoTools is what a command in a tree without a shell gets from an engine without tools.
var errNoTools = errors.New("the tree has no shell, and a BuildKit daemon has no tools of its own to work on it: " +
	"name an image that has some with --builder-tools IMAGE")

// tools is the image whose programs work on trees that have no shell.
type tools struct {
	source artifact.Source
	ref    artifact.Reference // with digest
	digest v1.Hash            // of the manifest or index that the reference named
}

// findTools looks the image up, so that it is the same for all commands of the engine.
func findTools(ctx context.Context, store *store.Store, from artifact.Source, ref artifact.Reference) (*tools, error) {
	var src artifact.Source = store
	d, err := src.Resolve(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) && from != nil {
		src = from
		d, err = src.Resolve(ctx, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("tools image: %w", err)
	}
	return &tools{source: src, ref: ref.WithDigest(d.Digest), digest: d.Digest}, nil
}

// state offers the image for platform p and returns it as a root file system.
func (t *tools) state(ctx context.Context, o *offer, p v1.Platform) (llb.State, error) {
	d, m, _, err := artifact.Manifest(ctx, t.source, t.ref, &p)
	if err != nil {
		return llb.State{}, fmt.Errorf("tools image: %w", err)
	}
	if len(m.Layers) == 0 {
		return llb.State{}, fmt.Errorf("tools image %s has no files", t.ref.Familiar())
	}
	for _, part := range append([]v1.Descriptor{d, m.Config}, m.Layers...) {
		o.add(part.Digest, blob{size: part.Size, open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return t.source.Open(ctx, t.ref, part, offset)
		}})
	}
	return o.state(d.Digest), nil
}
