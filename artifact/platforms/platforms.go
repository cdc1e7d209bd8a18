// Package platforms makes one image for several platforms of images for one each: an image index (OCI image-spec,
// image-index.md). The images stay as they are, and equal images give an equal index, in whatever order they are named.
package platforms

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// Store is a place that has the images and takes the index.
type Store interface {
	artifact.Source
	artifact.Sink
	// Hold keeps what is added from being removed until it has a name.
	Hold(ctx context.Context) (release func() error, err error)
}

// Create makes name an index of the images that refs name, and returns its descriptor. Of a reference that is an index
// itself, all images are taken. Two different images for one platform are an error that names both.
func Create(ctx context.Context, s Store, name artifact.Reference, refs []artifact.Reference) (v1.Descriptor, error) {
	d, err := write(ctx, s, name, func() ([]entry, error) { return read(ctx, s, refs) })
	if err != nil {
		return d, fmt.Errorf("create index %s: %w", name.Familiar(), err)
	}
	return d, nil
}

// Add adds the images that refs name to the index called name, and returns the descriptor of the new one. An image for a
// platform that the index has already takes the place of that one if replace says so, and is an error otherwise.
func Add(ctx context.Context, s Store, name artifact.Reference, refs []artifact.Reference, replace bool) (v1.Descriptor, error) {
	d, err := write(ctx, s, name, func() ([]entry, error) {
		if err := Require(ctx, s, name); err != nil {
			return nil, err
		}
		old, err := read(ctx, s, []artifact.Reference{name})
		if err != nil {
			return nil, err
		}
		more, err := read(ctx, s, refs)
		if err != nil {
			return nil, err
		}
		if replace {
			old = slices.DeleteFunc(old, func(o entry) bool { return slices.ContainsFunc(more, o.rivals) })
		}
		return append(old, more...), nil
	})
	if err != nil {
		return d, fmt.Errorf("add to index %s: %w", name.Familiar(), err)
	}
	return d, nil
}

// ErrNoIndex is wrapped by errors that say an image is for one platform only.
var ErrNoIndex = errors.New("it is an image, and no index of several")

// ErrRivals is wrapped by errors that say two images are for one platform.
var ErrRivals = errors.New("leave out one")

// Require returns an error wrapping ErrNoIndex unless name is an index.
func Require(ctx context.Context, src artifact.Source, name artifact.Reference) error {
	d, err := src.Resolve(ctx, name)
	if err == nil && !d.MediaType.IsIndex() {
		err = fmt.Errorf("%s: %w", name.Familiar(), ErrNoIndex)
	}
	return err
}

// entry is an image of an index, and which name it was found under.
type entry struct {
	v1.Descriptor
	ref artifact.Reference
}

// rivals says whether two images are for one platform.
func (e entry) rivals(other entry) bool {
	return artifact.MatchPlatform(*e.Platform, *other.Platform) && artifact.MatchPlatform(*other.Platform, *e.Platform)
}

// write makes an index of what list returns, and gives it its name. What is added meanwhile is held.
func write(ctx context.Context, s Store, name artifact.Reference, list func() ([]entry, error)) (d v1.Descriptor, err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, release()) }()
	entries, err := list()
	if err != nil {
		return d, err
	}
	raw, mt, err := format(entries)
	if err != nil {
		return d, err
	}
	d = v1.Descriptor{MediaType: mt, Size: int64(len(raw)), Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(raw))}}
	open := func(offset int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw[offset:])), nil }
	if err := s.Put(ctx, name, d, open); err != nil {
		return d, err
	}
	return d, s.Tag(ctx, name, d)
}

// format writes the index, its images in the order of their platforms, each once.
func format(entries []entry) ([]byte, types.MediaType, error) {
	slices.SortStableFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.Platform.String(), b.Platform.String()), cmp.Compare(a.Digest.Hex, b.Digest.Hex))
	})
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.Digest == b.Digest })
	for i, a := range entries {
		for _, b := range entries[:i] {
			if a.rivals(b) {
				return nil, "", fmt.Errorf("%s (%s) and %s (%s) are both for %s: %w", b.ref.Familiar(), short(b.Digest), a.ref.Familiar(), short(a.Digest), a.Platform, ErrRivals)
			}
		}
	}
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.DockerManifestList, Manifests: []v1.Descriptor{}}
	for _, e := range entries {
		if e.MediaType != types.DockerManifestSchema2 {
			idx.MediaType = types.OCIImageIndex
		}
		idx.Manifests = append(idx.Manifests, e.Descriptor)
	}
	if len(entries) == 0 {
		idx.MediaType = types.OCIImageIndex
	}
	raw, err := json.Marshal(idx)
	return raw, idx.MediaType, err
}

func short(h v1.Hash) string { return h.Hex[:min(12, len(h.Hex))] }

// read lists the images that refs name.
func read(ctx context.Context, src artifact.Source, refs []artifact.Reference) ([]entry, error) {
	var list []entry
	for _, ref := range refs {
		d, err := src.Resolve(ctx, ref)
		if err != nil {
			return nil, err
		}
		images := []v1.Descriptor{d}
		if d.MediaType.IsIndex() {
			raw, err := artifact.ReadManifest(ctx, src, ref, d)
			if err != nil {
				return nil, err
			}
			idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
			if err != nil {
				return nil, fmt.Errorf("%s: index: %w", ref.Familiar(), err)
			}
			images = idx.Manifests
		}
		for _, image := range images {
			if image.Platform != nil && image.Platform.OS == "unknown" {
				continue // a note that a build tool attached, no image
			}
			e, err := readImage(ctx, src, ref, image)
			if err != nil {
				return nil, err
			}
			list = append(list, e)
		}
	}
	return list, nil
}

// readImage reads for which platform an image is: its configuration says it.
func readImage(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) (entry, error) {
	if d.MediaType.IsIndex() {
		return entry{}, fmt.Errorf("%s: an index inside of an index cannot be added: name the images in it", ref.Familiar())
	}
	at, _, config, err := artifact.Manifest(ctx, src, ref.WithDigest(d.Digest), nil)
	if errors.Is(err, artifact.ErrNotFound) && d.Platform != nil {
		return entry{}, fmt.Errorf("%w: %s lists it for %s: pull it again, for all platforms", err, ref.Familiar(), d.Platform)
	}
	if err != nil {
		return entry{}, err
	}
	p := config.Platform()
	if p == nil || p.OS == "" || p.Architecture == "" {
		return entry{}, fmt.Errorf("%s: the image does not state its platform: build it with --platform", ref.Familiar())
	}
	p.Features = nil // reserved (image-index.md)
	return entry{v1.Descriptor{MediaType: at.MediaType, Size: at.Size, Digest: at.Digest, Platform: p}, ref}, nil
}
