package airgap

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// formatIndex returns index.json for the images that were found and for those
// of base, the index.json of the image below, that have other names. It is the
// same for the same images, in whatever order.
func formatIndex(found []*resolved, base []byte) ([]byte, error) {
	byName := map[string]v1.Descriptor{}
	var nameless []v1.Descriptor
	if len(base) > 0 {
		idx, err := layout.ParseIndex(base)
		if err != nil {
			return nil, fmt.Errorf("images/index.json of the base image: %w", err)
		}
		for _, d := range idx.Manifests {
			key := entryKey(d)
			if other, ok := byName[key]; ok && differ(d, other) {
				return nil, fmt.Errorf("images/index.json: %s is the name of both %s and %s: take the layout out of images/, and name its images in an image list: oci:FOLDER:NAME", key, other.Digest, d.Digest)
			}
			if key != "" {
				byName[key] = d
			} else {
				nameless = append(nameless, d)
			}
		}
	}
	for _, f := range found {
		for _, d := range f.entries {
			byName[entryKey(d)] = d
		}
	}
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: slices.Clone(nameless)}
	for _, d := range byName {
		idx.Manifests = append(idx.Manifests, d)
	}
	slices.SortStableFunc(idx.Manifests, func(a, b v1.Descriptor) int {
		return cmp.Or(cmp.Compare(entryKey(a), entryKey(b)), cmp.Compare(a.Digest.Hex, b.Digest.Hex))
	})
	return json.Marshal(idx)
}

// entryKey returns what tells an entry of index.json from the others, "" if it
// has no name at all: signatures are sorted behind images.
func entryKey(d v1.Descriptor) string {
	if name := layout.AttachedName(d); name != "" {
		return "~" + name
	}
	return layout.NameOf(d)
}

// differ reports whether two entries of one name mean different things.
func differ(a, b v1.Descriptor) bool {
	return a.Digest != b.Digest && (a.Platform == nil || b.Platform == nil || a.Platform.Equals(*b.Platform))
}
