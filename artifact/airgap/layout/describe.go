package layout

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Described is an entry of index.json with what there is of it.
type Described struct {
	Entry
	Platforms []string // that are here; none for what names no platform
	Size      int64    // bytes of all that is here, each blob once
}

// Describe returns what an entry of images consists of, without reading layers.
// What is missing is an error wrapping artifact.ErrNotFound.
func Describe(ctx context.Context, images Blobs, e Entry) (Described, error) {
	d := Described{Entry: e}
	all, err := Follow(ctx, images, e.Desc)
	if err != nil {
		return d, err
	}
	if d.Size = all.Size; len(all.Lacks) > 0 {
		return d, fmt.Errorf("%s: %s: %w: `sealrt inspect --airgap` says all that is missing", cmp.Or(e.Name, e.Carried, e.Desc.Digest.String()), strings.Join(all.Lacks, ", "), artifact.ErrNotFound)
	}
	children := []v1.Descriptor{e.Desc}
	if e.Desc.MediaType.IsIndex() {
		if children, _, err = Split(ctx, images, e.Desc); err != nil {
			return d, err
		}
	}
	for _, child := range children {
		if !child.MediaType.IsImage() {
			continue
		}
		_, _, cfg, err := artifact.Manifest(ctx, images, artifact.Reference{}.WithDigest(child.Digest), nil)
		if err != nil {
			return d, err
		}
		if p := cfg.Platform(); p != nil && p.OS != "" {
			d.Platforms = append(d.Platforms, p.String())
		}
	}
	return d, nil
}
