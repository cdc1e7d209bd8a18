package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// union are the images of several places as one. Of a name that several have,
// the first one counts.
type union struct {
	parts   []layout.Images
	entries []layout.Entry
}

// Union returns the images of several places as one; of a name that several of
// them have, the first one counts.
func Union(parts ...layout.Images) layout.Images {
	u := &union{parts: parts}
	type key struct {
		name string
		h    v1.Hash // of entries without a name
	}
	seen := map[key]bool{}
	for _, p := range parts {
		for _, e := range p.Entries() {
			k := key{name: e.Name}
			if e.Name == "" {
				k = key{e.Carried, e.Desc.Digest}
			}
			if !seen[k] {
				seen[k] = true
				u.entries = append(u.entries, e)
			}
		}
	}
	return u
}

// Digest implements layout.Images. There is no index.json of all.
func (u *union) Digest() v1.Hash { return v1.Hash{} }

// Entries implements layout.Images.
func (u *union) Entries() []layout.Entry { return slices.Clone(u.entries) }

// Resolve implements artifact.Source.
func (u *union) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return first(u.parts, ref.Familiar(), func(p layout.Images) (v1.Descriptor, error) { return p.Resolve(ctx, ref) })
}

// Open implements artifact.Source.
func (u *union) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return first(u.parts, d.Digest.String(), func(p layout.Images) (io.ReadCloser, error) { return p.Open(ctx, ref, d, offset) })
}

// BlobSize implements layout.Images.
func (u *union) BlobSize(ctx context.Context, h v1.Hash) (int64, error) {
	return first(u.parts, h.String(), func(p layout.Images) (int64, error) { return p.BlobSize(ctx, h) })
}

// first asks one place after the other for what some of them lack. What one
// cannot read another may have.
func first[T any](parts []layout.Images, what string, ask func(layout.Images) (T, error)) (found T, err error) {
	var trouble error
	for _, p := range parts {
		if found, err = ask(p); err == nil {
			return found, nil
		}
		if !errors.Is(err, artifact.ErrNotFound) {
			trouble = errors.Join(trouble, err)
		}
	}
	if trouble == nil {
		trouble = fmt.Errorf("%s: %w on this host", what, artifact.ErrNotFound)
	}
	return found, trouble
}

// nothing are no images. All of them are the same value.
type nothing struct{}

// Digest implements layout.Images.
func (nothing) Digest() v1.Hash { return v1.Hash{} }

// Entries implements layout.Images.
func (nothing) Entries() []layout.Entry { return nil }

// Resolve implements artifact.Source.
func (nothing) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return first[v1.Descriptor](nil, ref.Familiar(), nil)
}

// Open implements artifact.Source.
func (nothing) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	return first[io.ReadCloser](nil, d.Digest.String(), nil)
}

// BlobSize implements layout.Images.
func (nothing) BlobSize(_ context.Context, h v1.Hash) (int64, error) {
	return first[int64](nil, h.String(), nil)
}
