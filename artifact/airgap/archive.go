package airgap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

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
	index, roots, err := l.choose(names)
	if err != nil {
		return fmt.Errorf("archive of %s: %w", dir, err)
	}
	entries := append(dirs("blobs", "blobs/sha256"), content("oci-layout", layoutFile()), content("index.json", index))
	seen := map[v1.Hash]bool{}
	for _, root := range roots {
		more, err := l.reach(ctx, root, seen)
		if err != nil {
			return fmt.Errorf("archive of %s: %s: %w", dir, nameOf(root), err)
		}
		entries = append(entries, more...)
	}
	if _, err := layer.Write(ctx, w, layer.Sorted(entries), layer.Options{Compression: layer.None}); err != nil {
		return fmt.Errorf("archive of %s: %w", dir, err)
	}
	return nil
}

// choose returns the index.json that has just the given names, and its entries.
func (l *Layout) choose(names []string) ([]byte, []v1.Descriptor, error) {
	if len(names) == 0 {
		return l.raw, l.index.Manifests, nil
	}
	idx := *l.index
	idx.Manifests = slices.DeleteFunc(slices.Clone(idx.Manifests), func(d v1.Descriptor) bool {
		return !slices.Contains(names, nameOf(d))
	})
	var absent []string
	for _, name := range names {
		if !slices.ContainsFunc(idx.Manifests, func(d v1.Descriptor) bool { return nameOf(d) == name }) {
			absent = append(absent, name)
		}
	}
	if len(absent) > 0 {
		return nil, nil, fmt.Errorf("no image is called %s: %w", strings.Join(absent, ", "), artifact.ErrNotFound)
	}
	b, err := json.Marshal(idx)
	return b, idx.Manifests, err
}

// reach returns a file for each blob that d consists of and that was not seen.
func (l *Layout) reach(ctx context.Context, d v1.Descriptor, seen map[v1.Hash]bool) ([]layer.Entry, error) {
	if seen[d.Digest] {
		return nil, nil
	}
	if err := checkDescriptor(d); err != nil {
		return nil, err
	}
	e, err := l.file(d)
	if err != nil {
		return nil, err
	}
	seen[d.Digest] = true
	entries := []layer.Entry{e}
	children, optional, err := l.children(ctx, d)
	if err != nil {
		return nil, err
	}
	for _, child := range children {
		more, err := l.reach(ctx, child, seen)
		if optional && errors.Is(err, fs.ErrNotExist) && !l.has(child) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return entries, nil
}

// has reports whether the blob is in the layout.
func (l *Layout) has(d v1.Descriptor) bool {
	_, err := l.root.Stat(path(d.Digest))
	return err == nil
}

// children returns what a manifest or index refers to, and whether that may be
// absent. Other blobs have none.
func (l *Layout) children(ctx context.Context, d v1.Descriptor) (children []v1.Descriptor, optional bool, err error) {
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return nil, false, nil
	}
	f, err := l.root.Open(path(d.Digest))
	if err != nil {
		return nil, false, err
	}
	b, err := artifact.ReadManifest(ctx, opened{f}, artifact.Reference{}, d)
	if err != nil {
		return nil, false, err
	}
	if d.MediaType.IsIndex() {
		idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
		if err != nil {
			return nil, false, fmt.Errorf("index %s: %w", d.Digest, err)
		}
		return idx.Manifests, true, nil
	}
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return nil, false, fmt.Errorf("manifest %s: %w", d.Digest, err)
	}
	return append([]v1.Descriptor{m.Config}, m.Layers...), false, nil
}

// file returns a blob as a file of the archive.
func (l *Layout) file(d v1.Descriptor) (layer.Entry, error) {
	name := path(d.Digest)
	fi, err := l.root.Stat(name)
	if err != nil {
		return layer.Entry{}, err
	}
	if !fi.Mode().IsRegular() || fi.Size() != d.Size {
		return layer.Entry{}, fmt.Errorf("%s: %d bytes instead of %d: the directory is damaged, unpack it again", name, fi.Size(), d.Size)
	}
	return layer.Entry{Name: name, Mode: 0o644, Size: d.Size, Open: func() (io.ReadCloser, error) { return l.root.Open(name) }}, nil
}
