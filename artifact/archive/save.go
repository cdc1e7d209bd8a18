package archive

import (
	"context"
	"fmt"
	"io"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// Write writes the images that refs name in src to w, as one OCI archive, with what is attached to them. The same images
// give the same bytes, in whatever order they are named. Blobs are
// verified while they are written.
func Write(ctx context.Context, w io.Writer, src artifact.Source, refs []artifact.Reference, o Options) error {
	p, err := newPlan(ctx, src, refs, o)
	if err != nil {
		return err
	}
	if err := p.write(ctx, w); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return nil
}

// Save is Write for a file. The file appears, or replaces the one that was there, when it is complete; that there is
// room for it is checked first. What an earlier call left half-written because its process was killed is removed.
func Save(ctx context.Context, path string, src artifact.Source, refs []artifact.Reference, o Options) error {
	p, err := newPlan(ctx, src, refs, o)
	if err != nil {
		return err
	}
	need, err := p.size()
	if err == nil {
		err = disk.Replace(path, need, func(w io.Writer) error { return p.write(ctx, w) })
	}
	if err != nil {
		return fmt.Errorf("save to %s: %w", path, err)
	}
	return nil
}
