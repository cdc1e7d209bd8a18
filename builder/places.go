package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
)

// places are the open places that container images are read from and that are no registries. They stay open until the
// build ends.
type places struct {
	opening singleflight.Group

	mu   sync.Mutex
	open map[string]transport.Place
}

// get returns the place of that name, which is opened when it is not open yet.
func (p *places) get(name string, open func() (transport.Place, error)) (transport.Place, error) {
	found, err, _ := p.opening.Do(name, func() (any, error) {
		p.mu.Lock()
		have := p.open[name]
		p.mu.Unlock()
		if have != nil {
			return have, nil
		}
		made, err := open()
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.open == nil {
			p.open = map[string]transport.Place{}
		}
		p.open[name] = made
		return made, nil
	})
	if err != nil {
		return nil, err
	}
	return found.(transport.Place), nil //nolint:forcetypeassert // the function above returns nothing else
}

func (p *places) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, place := range p.open {
		err = errors.Join(err, place.Close())
	}
	p.open = nil
	return err
}

// placeOptions says where relative paths begin, and where there is room.
func (b *build) placeOptions(p v1.Platform) transport.Options {
	return transport.Options{Dir: b.Context, TempDir: b.trees.dir, Platform: p, DockerHost: b.DockerHost, DockerCerts: b.DockerCerts}
}

// place opens a place that an image list names, and in which it names the images.
func (b *build) place(p v1.Platform) func(context.Context, string) (airgap.Place, error) {
	return func(ctx context.Context, name string) (airgap.Place, error) {
		return b.places.get("list "+name+" "+p.String(), func() (transport.Place, error) {
			o := b.placeOptions(p)
			o.Adopt = true
			return transport.Open(ctx, name, o)
		})
	}
}

// sourcesOf opens where the user said to look for the container images of one platform.
func (b *build) sourcesOf(ctx context.Context, p v1.Platform) ([]artifact.Source, error) {
	list := make([]artifact.Source, len(b.ImageSources))
	for i, name := range b.ImageSources {
		src, err := b.places.get(name+" "+p.String(), func() (transport.Place, error) {
			place, _, err := transport.Split(name)
			switch {
			case err != nil:
				return nil, err
			case place == "":
				return b.clusterImage(ctx, name, p)
			}
			return transport.Open(ctx, name, b.placeOptions(p))
		})
		if err != nil {
			return nil, fmt.Errorf("--image-source: %w", err)
		}
		list[i] = src
	}
	return list, nil
}

// clusterImage opens the images/ of a cluster image, of the store or else of the registry.
func (b *build) clusterImage(ctx context.Context, name string, p v1.Platform) (transport.Place, error) {
	found, err := b.imageNamed(ctx, name, p)
	if err != nil {
		return nil, err
	}
	src := artifact.Source(b.Store)
	if found.fetch != nil {
		src = b.Source
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, err
	}
	return layout.OpenContents(ctx, src, ref, found.manifest)
}

// noRegistry is the registry of a build that has none.
type noRegistry struct{}

// Resolve implements artifact.Source.
func (noRegistry) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, fmt.Errorf("%s: %w, and there is no registry to ask: write BASE none to build without container images", ref.Familiar(), artifact.ErrNotFound)
}

// Open implements artifact.Source.
func (noRegistry) Open(_ context.Context, ref artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	return nil, fmt.Errorf("%s: blob %s: %w, and there is no registry to ask", ref.Familiar(), d.Digest, artifact.ErrNotFound)
}
