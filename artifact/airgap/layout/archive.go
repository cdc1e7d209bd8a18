package layout

import (
	"context"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// WriteArchive writes images of the images/ directory dir to w as one OCI
// archive, an uncompressed tar that container runtimes import: those of the
// given full names, or all when there are none. Its bytes follow from the images
// alone. A blob that an image consists of and that is absent is an error, but
// an index need not have all its children here. WriteArchive does not close w.
func WriteArchive(ctx context.Context, w io.Writer, dir string, names []string) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := archiveTo(ctx, w, l, &l.names, names); err != nil {
		return fmt.Errorf("archive of %s: %w", dir, err)
	}
	return nil
}

// archiveTo writes the images of the given names.
func archiveTo(ctx context.Context, w io.Writer, images Blobs, n *names, wanted []string) error {
	index, roots, err := n.choose(wanted)
	if err != nil {
		return err
	}
	a := &archiving{blobs: images, seen: map[v1.Hash]bool{},
		entries: Files(".", index)}
	for _, root := range roots {
		if err := a.reach(ctx, root); err != nil {
			return fmt.Errorf("%s: %w", NameOf(root), err)
		}
	}
	_, err = layer.Write(ctx, w, layer.Sorted(a.entries), layer.Options{Compression: layer.None})
	return err
}

// archiving collects the files of an archive.
type archiving struct {
	blobs   Blobs
	seen    map[v1.Hash]bool
	entries []layer.Entry
}

// reach adds a file for each blob that d consists of and that was not seen.
func (a *archiving) reach(ctx context.Context, d v1.Descriptor) error {
	if a.seen[d.Digest] {
		return nil
	}
	if err := Check(d); err != nil {
		return err
	}
	size, err := a.blobs.BlobSize(ctx, d.Digest)
	if err != nil {
		return err
	}
	if size != d.Size {
		return fmt.Errorf("%s: %d bytes instead of %d: the images are damaged, unpack or pull them again", BlobPath(d.Digest), size, d.Size)
	}
	a.seen[d.Digest] = true
	a.entries = append(a.entries, layer.Entry{Name: BlobPath(d.Digest), Mode: 0o644, Size: d.Size,
		Open: func() (io.ReadCloser, error) { return a.blobs.Open(ctx, artifact.Reference{}, d, 0) }})
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return nil
	}
	b, err := artifact.ReadManifest(ctx, a.blobs, artifact.Reference{}, d)
	if err != nil {
		return err
	}
	children, optional, err := parseChildren(d, b)
	if err != nil {
		return err
	}
	for _, child := range children {
		if optional {
			_, err := a.blobs.BlobSize(ctx, child.Digest)
			if errors.Is(err, artifact.ErrNotFound) {
				continue
			}
		}
		if err := a.reach(ctx, child); err != nil {
			return err
		}
	}
	return nil
}
