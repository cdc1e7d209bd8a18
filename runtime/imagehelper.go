package runtime

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// OpenHelper opens the sealrt program for a platform that an image was built
// with. An image without one is an error wrapping artifact.ErrNotFound. The
// caller closes what is returned.
func OpenHelper(ctx context.Context, src artifact.Source, ref artifact.Reference, platform v1.Platform) (io.ReadCloser, error) {
	_, manifest, config, err := artifact.Manifest(ctx, src, ref, &platform)
	if err != nil {
		return nil, err
	}
	name := artifact.HelperFile(platform.OS, platform.Architecture)
	for i, l := range manifest.Layers {
		if madeBy(config, i) == artifact.HistoryHelper {
			return openInLayer(ctx, src, ref, l, name)
		}
	}
	return nil, fmt.Errorf("%s: %s: %w", ref.Familiar(), name, artifact.ErrNotFound)
}

// madeBy returns what the history says of a layer (image-spec config.md:
// entries that are not empty_layer stand for the layers, in order).
func madeBy(config *v1.ConfigFile, n int) string {
	for _, h := range config.History {
		if h.EmptyLayer {
			continue
		}
		if n == 0 {
			return h.CreatedBy
		}
		n--
	}
	return ""
}

// errFound ends the walk through a layer.
var errFound = errors.New("found")

// openInLayer streams one file of a layer.
func openInLayer(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor, name string) (io.ReadCloser, error) {
	blob, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	found := make(chan error, 1)
	go func() {
		defer blob.Close()
		err := layer.Walk(ctx, blob, func(h *tar.Header, content io.Reader) error {
			if path.Clean(h.Name) != name || h.Typeflag != tar.TypeReg {
				return nil
			}
			found <- nil
			if _, err := io.Copy(w, content); err != nil {
				return err
			}
			return errFound
		})
		switch {
		case err == nil:
			err = fmt.Errorf("%s: %s: %w", ref.Familiar(), name, artifact.ErrNotFound)
		case errors.Is(err, errFound):
			err = nil
		}
		select {
		case found <- err:
		default: // it was found; how that went the reader is told
		}
		w.CloseWithError(err)
	}()
	if err := <-found; err != nil {
		return nil, err
	}
	return r, nil
}
