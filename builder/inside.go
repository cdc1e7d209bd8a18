package builder

import (
	"errors"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bytes"
	"context"
	"fmt"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// imagesIndex is the index of the container images in a cluster image.
const imagesIndex = "images/index.json"

// inside adds to o, for a build on top, the container images that the tree has in images/ so far.
func (i *image) inside(o *airgap.Options) error {
	o.Have = i.has
	images, err := layout.FromFS(treeFS{i.tree}, "images")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	o.Base, o.BaseIndex = images, images.Index()
	return nil
}

// has reports whether the tree has a blob of a container image.
func (i *image) has(h v1.Hash) bool { return i.tree.node("images/"+layout.BlobPath(h)) != nil }

// adoptLayout looks at an image layout in images/ that was copied there, and gives its images their full names. One that
// an earlier BASE wrote needs no look.
func (w *work) adoptLayout(ctx context.Context) error {
	tree := treeFS{w.image.tree}
	index, err := fs.ReadFile(tree, imagesIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h, _, err := v1.SHA256(bytes.NewReader(index))
	if err != nil || h == w.image.index || h.String() == w.image.config.Config.Labels[artifact.LabelImagesDigest] {
		return err
	}
	full, err := adopted(ctx, tree, w.platform)
	if err == nil && !bytes.Equal(full, index) {
		w.addFiles(ctx, []layer.Entry{textEntry(imagesIndex, string(full))}, artifact.HistoryBase)
	}
	return err
}

// adopted returns the index of the layout in images/ of a tree with full names, nil if there is none.
func adopted(ctx context.Context, tree fs.FS, p v1.Platform) ([]byte, error) {
	images, err := layout.FromFS(tree, "images")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	full, err := layout.Adopt(ctx, images, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", imagesIndex, err)
	}
	return full, nil
}
