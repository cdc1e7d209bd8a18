package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/builder/remote"
)

// imagesIndex is the index of the container images in a cluster image.
const imagesIndex = "images/index.json"

// baseStep collects the container images that the tree so far names.
type baseStep struct {
	from
	platform *v1.Platform // nil: that of the image
	list     string       // the only list to read; empty: all usual ones
	none     bool
}

func (s *baseStep) do(ctx context.Context, w *work) error {
	w.image.based = true
	if s.none {
		w.image.addHistory(s.Instruction.String(), w.Created, true)
		return nil
	}
	before := len(w.image.layers)
	if err := s.collect(ctx, w, w.later+1); err != nil {
		return err
	}
	if len(w.image.layers) == before {
		w.image.addHistory(s.Instruction.String(), w.Created, true)
	}
	return nil
}

// collect adds the layers of the container images; none when the tree names none. The image gets at most later
// layers afterwards.
func (s *baseStep) collect(ctx context.Context, w *work, later int) error {
	tree := treeFS{w.image.tree}
	images, err := s.find(tree)
	if err != nil || len(images) == 0 {
		return err
	}
	if w.Source == nil {
		return errors.New("the tree names container images, and there is no registry to ask for them: write BASE none to build without")
	}
	index, err := fs.ReadFile(tree, imagesIndex)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	platform := w.platform
	if s.platform != nil {
		platform = *s.platform
	}
	w.task.work()
	set, err := airgap.Collect(ctx, images, airgap.Options{
		Source: w.locked(w.Source, remote.LockImage, platform), Store: w.Store, Platform: platform, Jobs: w.Jobs, Observe: w.task.transfer, Created: w.Created,
		BaseIndex: index, BaseLayers: len(w.image.layers) + later,
		Have: func(h v1.Hash) bool { return w.image.tree.node("images/blobs/"+h.Algorithm+"/"+h.Hex) != nil },
	})
	if err != nil {
		return err
	}
	for _, l := range set.Layers {
		d := l.Blob.Descriptor()
		entries, err := w.viewLayer(ctx, d)
		if err != nil {
			return err
		}
		w.image.add(there(recordOf(l.Blob)), entries, artifact.HistoryBase, w.Created)
	}
	return nil
}

func (s *baseStep) find(tree treeFS) ([]airgap.Image, error) {
	if s.list == "" {
		return airgap.Find(tree)
	}
	f, err := tree.Open(s.list)
	if err != nil {
		return nil, fmt.Errorf("--list: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("--list: %s is a directory", s.list)
	}
	return airgap.ParseList(s.list, io.Reader(f))
}
