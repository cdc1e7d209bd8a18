package convert

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// ErrOurs is wrapped by the error about an image that is of this format already.
var ErrOurs = errors.New("it is a cluster image of sealrt already")

// Options says how images are converted. Store is required.
type Options struct {
	Store       *store.Store // where the new image goes
	Compression layer.Compression
	Created     time.Time // of what is added; zero is the Unix epoch
	Jobs        int       // layers of container images written at a time; 0 means 4
	// Names are the full names of container images which the image itself does not tell.
	Names   []airgap.Image
	Observe func(artifact.Event) // may be nil
}

// Image makes a cluster image of sealos or sealer one of this format, for every platform that it has, and leaves it in
// the store. Each layer is read once, as it comes; container images are verified. It returns the descriptor of the
// manifest, or of the index if the old image is one, and a report for each platform, in the order of the index. What is
// there of an earlier conversion is not made again. The result stays in the store as long as somebody
// holds or tags it, see [store.Store.Hold].
func Image(ctx context.Context, src artifact.Source, ref artifact.Reference, o Options) (v1.Descriptor, []Report, error) {
	if o.Observe == nil {
		o.Observe = func(artifact.Event) {}
	}
	d, reports, err := image(ctx, src, ref, &converting{Options: o, src: src, buffers: &layer.Buffers{}})
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("import %s: %w", ref.Familiar(), err)
	}
	return d, reports, nil
}

func image(ctx context.Context, src artifact.Source, ref artifact.Reference, c *converting) (v1.Descriptor, []Report, error) {
	top, err := src.Resolve(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	if !top.MediaType.IsIndex() {
		d, r, err := c.platform(ctx, ref.WithDigest(top.Digest))
		return d, []Report{r}, err
	}
	raw, err := artifact.ReadManifest(ctx, src, ref, top)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("index: %w", err)
	}
	return c.index(ctx, ref, idx)
}

// index converts the image of every platform.
func (c *converting) index(ctx context.Context, ref artifact.Reference, idx *v1.IndexManifest) (v1.Descriptor, []Report, error) {
	list := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var reports []Report
	for _, child := range idx.Manifests {
		if child.Platform != nil && child.Platform.OS == "unknown" {
			c.note("%s: %s is a note of a build tool about the image, and not taken over", ref.Familiar(), child.Digest)
			continue
		}
		d, r, err := c.platform(ctx, ref.WithDigest(child.Digest))
		if errors.Is(err, artifact.ErrNotFound) && len(idx.Manifests) > 1 {
			c.note("%s: %v is not here, and not taken over", ref.Familiar(), child.Platform)
			continue
		}
		if err != nil {
			return v1.Descriptor{}, nil, fmt.Errorf("%v: %w", child.Platform, err)
		}
		list.Manifests = append(list.Manifests, d)
		reports = append(reports, r)
	}
	if len(reports) == 0 {
		return v1.Descriptor{}, nil, fmt.Errorf("none of its platforms: %w", artifact.ErrNotFound)
	}
	d, err := c.Store.PutJSON(ctx, list.MediaType, list)
	return d, reports, err
}

// converting is one conversion under way.
type converting struct {
	Options
	src     artifact.Source
	buffers *layer.Buffers
}

func (c *converting) note(format string, args ...any) {
	c.Observe(artifact.Event{Kind: artifact.EventNote, Name: fmt.Sprintf(format, args...)})
}
