package depot

import (
	"context"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Needless is something that Drop removes.
type Needless struct {
	Kind string `json:"kind"` // image: a tree with its record; blob
	Name string `json:"name"` // the image's reference, or a digest
	Size int64  `json:"size"` // bytes
}

// List returns what Drop would remove of the cluster images that the depot
// knows, and changes nothing. An image in use that is not adopted yet is an
// error that wraps artifact.ErrNotFound, as for Drop.
func (d *Depot) List(ctx context.Context, k Keeping) ([]Needless, error) {
	used, others, err := d.split(k)
	if err != nil {
		return nil, err
	}
	unpacked := map[v1.Hash]bool{} // layers whose files stay
	for _, r := range used {
		for _, l := range r.Layers {
			unpacked[l.Digest] = true
		}
	}
	list := []Needless{}
	for _, r := range others {
		image := Needless{Kind: "image", Name: r.Ref}
		for _, l := range r.Layers {
			if !unpacked[l.Digest] {
				unpacked[l.Digest] = true
				image.Size += l.Unpacked
			}
		}
		list = append(list, image)
	}
	there, err := d.store.Inventory(ctx)
	if err != nil {
		return nil, err
	}
	keep := needed(used, k)
	for _, r := range slices.Concat(used, others) {
		blobs := r.travels()
		for _, b := range r.Images { // those too that came inside a layer
			blobs = append(blobs, b.Descriptor)
		}
		for _, b := range blobs {
			if keep[b.Digest] {
				continue
			}
			keep[b.Digest] = true
			if slices.Contains(there, b.Digest) {
				list = append(list, Needless{Kind: "blob", Name: b.Digest.String(), Size: b.Size})
			}
		}
	}
	return list, nil
}
