package airgap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// FirstOf returns a source of what any of sources has. Resolve asks one after the
// other; where one cannot tell, the next is not asked, so that an image does not
// come from elsewhere because of a network that is down. Open asks the source
// that resolved the image, then the others. It may be used concurrently when the
// sources may.
func FirstOf(sources ...artifact.Source) artifact.Source {
	return &firstOf{sources: sources}
}

// firstOf is the source of FirstOf.
type firstOf struct {
	sources []artifact.Source

	mu            sync.Mutex
	recent, older map[artifact.Reference]int // which source resolved an image
	repositories  map[string]int             // which source resolved the last image of a repository
}

// maxRecent is how many images are remembered, at least; twice as many at most.
const maxRecent = 4096

// Resolve implements artifact.Source.
func (f *firstOf) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	d, _, err := f.first(ref, func(src artifact.Source) (v1.Descriptor, []byte, error) {
		d, err := src.Resolve(ctx, ref)
		return d, nil, err
	})
	return d, err
}

// Fetch implements artifact.Fetcher. The bytes are nil for a source that has none
// at hand.
func (f *firstOf) Fetch(ctx context.Context, ref artifact.Reference) (v1.Descriptor, []byte, error) {
	return f.first(ref, func(src artifact.Source) (v1.Descriptor, []byte, error) {
		if with, ok := src.(artifact.Fetcher); ok {
			return with.Fetch(ctx, ref)
		}
		d, err := src.Resolve(ctx, ref)
		return d, nil, err
	})
}

// first asks one source after the other for ref.
func (f *firstOf) first(ref artifact.Reference, ask func(artifact.Source) (v1.Descriptor, []byte, error)) (v1.Descriptor, []byte, error) {
	var nowhere notFoundError
	for i, src := range f.sources {
		d, raw, err := ask(src)
		if err == nil {
			f.remember(ref, d.Digest, i)
			return d, raw, nil
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			return v1.Descriptor{}, nil, err
		}
		nowhere = append(nowhere, err)
	}
	return v1.Descriptor{}, nil, nowhere.orNone(ref)
}

// Open implements artifact.Source. What is open is the same wherever it comes
// from, since its digest is known.
func (f *firstOf) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	first, known := f.recall(ref)
	var nowhere notFoundError
	for n := range len(f.sources) {
		i := n
		switch { // the first goes to the front, those before it move on by one
		case n == 0:
			i = first
		case n <= first:
			i = n - 1
		}
		r, err := f.sources[i].Open(ctx, ref, d, offset)
		if !errors.Is(err, artifact.ErrNotFound) {
			return r, err
		}
		nowhere = append(nowhere, err)
	}
	if known { // that the others lack it too is no news
		return nil, nowhere[0]
	}
	return nil, nowhere.orNone(ref)
}

// remember keeps in mind which source has an image, by the name that was asked
// for and by its digest.
func (f *firstOf) remember(ref artifact.Reference, h v1.Hash, source int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) >= maxRecent || f.recent == nil {
		f.recent, f.older = map[artifact.Reference]int{}, f.recent
	}
	if len(f.repositories) >= maxRecent || f.repositories == nil {
		f.repositories = map[string]int{}
	}
	f.repositories[ref.Name()] = source
	f.recent[ref] = source
	f.recent[ref.WithDigest(h)] = source
}

// recall returns the source that has an image, or the first and false if none is
// known.
func (f *firstOf) recall(ref artifact.Reference) (source int, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if source, known = f.recent[ref]; !known {
		source, known = f.older[ref]
	}
	return source, known
}

// notFoundError says why none of several sources has something.
type notFoundError []error

func (e notFoundError) Error() string {
	list := make([]string, len(e))
	for i, err := range e {
		list[i] = err.Error()
	}
	return strings.Join(list, "; ")
}

// Unwrap returns the causes.
func (e notFoundError) Unwrap() []error { return e }

// orNone returns e, or the cause alone when there is just one.
func (e notFoundError) orNone(ref artifact.Reference) error {
	switch len(e) {
	case 0:
		return fmt.Errorf("%s: %w: there is no place to look for it", ref.Familiar(), artifact.ErrNotFound)
	case 1:
		return e[0]
	}
	return e
}

// Complete returns a source of the images that a store has with all their
// content, for one platform. Others are not found there, wherever they came from
// and whatever became of their layers.
func Complete(store *store.Store, platform v1.Platform) artifact.Source {
	return &complete{store, platform}
}

// complete is the source of Complete.
type complete struct {
	store    *store.Store
	platform v1.Platform
}

// Resolve implements artifact.Source.
func (c *complete) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	top, err := c.store.Resolve(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	// By digest, so that an image that gets this name meanwhile is not meant.
	_, m, config, err := artifact.Manifest(ctx, c.store, ref.WithDigest(top.Digest), &c.platform)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if !artifact.Fits(config, c.platform) {
		have := v1.Platform{OS: config.OS, Architecture: config.Architecture}
		want := v1.Platform{OS: c.platform.OS, Architecture: c.platform.Architecture}
		return v1.Descriptor{}, fmt.Errorf("%s: %w in the store at %s for %s: it is there for %s", ref.Familiar(), artifact.ErrNotFound, c.store.Root(), want, have)
	}
	for _, l := range m.Layers {
		has, err := c.store.Has(ctx, ref, l)
		if err != nil {
			return v1.Descriptor{}, err
		}
		if !has {
			return v1.Descriptor{}, fmt.Errorf("%s: layer %s: %w in the store at %s", ref.Familiar(), l.Digest, artifact.ErrNotFound, c.store.Root())
		}
	}
	return top, nil
}

// Open implements artifact.Source.
func (c *complete) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return c.store.Open(ctx, ref, d, offset)
}
