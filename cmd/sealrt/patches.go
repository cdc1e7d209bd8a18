package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/merge"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/runtime"
)

// foundImage is an image of the command line, where it lies.
type foundImage struct {
	runtime.Image
	pinned artifact.Reference
	src    artifact.Source
}

// layOver makes one image of the rootfs image and its patches, in the store:
// files of patches win, what they remove is gone, and the container images of
// all are inside. Equal images make an equal one, so that a second run finds its
// cluster. It reports whether there were patches.
func layOver(ctx context.Context, env *environment, store *store.Store, found []foundImage, platform v1.Platform) ([]runtime.Image, bool, error) {
	images := make([]runtime.Image, len(found))
	for i, f := range found {
		images[i] = f.Image
	}
	if err := runtime.CheckOrder(images); err != nil {
		return nil, false, err
	}
	n := 0
	for n+1 < len(images) && images[n+1].Kind.Type == artifact.TypePatch {
		n++
	}
	if n == 0 {
		return images, false, nil
	}
	parts := make([]merge.Part, n+1)
	for i, f := range found[:n+1] {
		parts[i] = merge.Part{Ref: f.pinned, Source: f.src}
	}
	d, _, err := merge.Images(ctx, parts, merge.Options{Store: store, Observe: env.progress(), Jobs: env.jobs})
	if err != nil {
		return nil, false, fmt.Errorf("lay patches over %s: %w", images[0].Ref.Familiar(), err)
	}
	whole, err := runtime.OpenImage(ctx, store, images[0].Ref.WithDigest(d.Digest), platform)
	if err != nil {
		return nil, false, err
	}
	whole.Ref = images[0].Ref
	for _, p := range images[1 : n+1] {
		whole.Patches = append(whole.Patches, p.Ref)
	}
	return slices.Concat([]runtime.Image{whole}, images[n+1:]), true, nil
}

// withPatches names an image and what was laid over it.
func withPatches(i runtime.Image) string {
	names := []string{i.Ref.Familiar()}
	for _, p := range i.Patches {
		names = append(names, p.Familiar())
	}
	return strings.Join(names, " + ")
}
