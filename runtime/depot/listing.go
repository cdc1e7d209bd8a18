package depot

import (
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Listing is what a cluster image consists of, as a host keeps it.
type Listing struct {
	Ref      string        `json:"ref"`
	Manifest v1.Descriptor `json:"manifest"`
	Config   v1.Descriptor `json:"config"`
	Layers   []Layer       `json:"layers"` // that have files of the tree, the lowest first
	Images   []Blob        `json:"images,omitempty"`
	// Index is images/index.json, which names the container images; nil for
	// none.
	Index []byte `json:"index,omitempty"`
}

// Layer is a layer of the cluster image that travels as it is stored.
type Layer struct {
	v1.Descriptor
	Packs    bool  `json:"packs,omitempty"` // blobs of container images too, which are taken out where it is unpacked
	Unpacked int64 `json:"unpacked"`        // bytes on disk of its files
}

// Blob is a blob of the container images.
type Blob struct {
	v1.Descriptor
	// In is the layer that brings the blob; zero for one that travels by
	// itself.
	In v1.Hash `json:"in,omitzero"`
}

// reference is by what errors call the image.
func (l Listing) reference() artifact.Reference {
	ref, err := artifact.ParseReference(l.Ref)
	if err != nil {
		return artifact.Reference{}.WithDigest(l.Manifest.Digest)
	}
	return ref
}

// travels lists the blobs that are sent to a host, each once.
func (l Listing) travels() []v1.Descriptor {
	list := []v1.Descriptor{l.Manifest, l.Config}
	for _, d := range l.Layers {
		list = append(list, d.Descriptor)
	}
	for _, b := range l.Images {
		if b.In == (v1.Hash{}) {
			list = append(list, b.Descriptor)
		}
	}
	seen := map[v1.Hash]bool{}
	return slices.DeleteFunc(list, func(d v1.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	})
}

// tree is the manifest of the layers that have files of the tree.
func (l Listing) tree() *v1.Manifest {
	m := &v1.Manifest{Config: l.Config}
	for _, d := range l.Layers {
		m.Layers = append(m.Layers, d.Descriptor)
	}
	return m
}

// Needed returns how many bytes the image takes at most while a host gets it,
// and how many it takes after. imagesStay says whether the host keeps the
// container images once its runtime has them. Blobs that the host has already
// from another image are counted too.
func (l Listing) Needed(imagesStay bool) (peak, after int64) {
	var packed, unpacked, images int64
	seen := map[v1.Hash]bool{}
	for _, d := range l.Layers {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			packed, unpacked = packed+d.Size, unpacked+d.Unpacked
		}
	}
	for _, b := range l.Images {
		images += b.Size
	}
	small := l.Manifest.Size + l.Config.Size
	peak, after = small+packed+unpacked+images, small+unpacked
	if imagesStay {
		after += images
	}
	return peak, after
}
