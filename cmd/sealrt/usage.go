package main

import (
	"context"
	"maps"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/store"
)

// usage says how many images of a store have a blob. An image is what a digest
// names, under however many names.
type usage struct {
	seen  map[v1.Hash]bool // images that are counted
	count map[v1.Hash]int
}

func newUsage() *usage {
	return &usage{seen: map[v1.Hash]bool{}, count: map[v1.Hash]int{}}
}

// add counts the blobs of an image, once.
func (u *usage) add(image v1.Hash, blobs map[v1.Hash]int64) {
	if u.seen[image] {
		return
	}
	u.seen[image] = true
	for h := range blobs {
		u.count[h]++
	}
}

// split returns the bytes of blobs that other images have too, and of those that
// would go with this one.
func (u *usage) split(blobs map[v1.Hash]int64) (shared, own int64) {
	for h, n := range blobs {
		if u.count[h] > 1 {
			shared += n
		} else {
			own += n
		}
	}
	return shared, own
}

// blobsOf returns the sizes of config and layers, each once.
func blobsOf(v variant) map[v1.Hash]int64 {
	blobs := map[v1.Hash]int64{v.manifest.Config.Digest: v.manifest.Config.Size}
	for _, l := range v.manifest.Layers {
		blobs[l.Digest] = l.Size
	}
	return blobs
}

// allBlobs returns those of an image for all its platforms, with the manifests
// and the index.
func allBlobs(index v1.Descriptor, versions []variant) map[v1.Hash]int64 {
	blobs := map[v1.Hash]int64{index.Digest: index.Size}
	for _, v := range versions {
		maps.Copy(blobs, blobsOf(v))
		blobs[v.desc.Digest] = v.desc.Size
	}
	return blobs
}

// usageOf counts the blobs of all images of a store. Images that cannot be read
// do not count: images tells of them.
func usageOf(ctx context.Context, store *store.Store) (*usage, error) {
	named, err := store.Refs(ctx)
	if err != nil {
		return nil, err
	}
	u := newUsage()
	for _, n := range named {
		if versions, err := variants(ctx, store, n); err == nil {
			u.add(n.Desc.Digest, allBlobs(n.Desc, versions))
		} else if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return u, nil
}
