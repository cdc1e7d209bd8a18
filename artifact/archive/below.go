package archive

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// below returns the manifest with a digest that indexes in list refer to: the
// image for one platform is asked for by its digest, and index.json names only
// the index.
func below(ctx context.Context, src artifact.Source, list []artifact.Named, h v1.Hash) (found v1.Descriptor, ok bool, err error) {
	seen := map[v1.Hash]bool{}
	for len(list) > 0 {
		n := list[0]
		list = list[1:]
		if !n.Desc.MediaType.IsIndex() || seen[n.Desc.Digest] {
			continue
		}
		seen[n.Desc.Digest] = true
		raw, err := artifact.ReadManifest(ctx, src, n.Ref, n.Desc)
		if errors.Is(err, artifact.ErrNotFound) {
			continue // only some platforms were saved
		}
		if err != nil {
			return v1.Descriptor{}, false, err
		}
		parts, err := artifact.Parts(n.Desc, raw)
		if err != nil {
			return v1.Descriptor{}, false, err
		}
		for _, p := range parts {
			if p.Digest == h {
				return v1.Descriptor{MediaType: p.MediaType, Size: p.Size, Digest: h}, true, nil
			}
			list = append(list, artifact.Named{Ref: n.Ref, Desc: p.Descriptor})
		}
	}
	return v1.Descriptor{}, false, nil
}
