package airgap

import (
	"cmp"
	"math"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// smallBlob is the size in bytes below which blobs share layers.
	smallBlob = 1 << 20
	// fullLayers is the number of layers from which on larger blobs share layers
	// too. With the buckets and the index layer it stays below the 127 layers at
	// which some tools stop.
	fullLayers = 100
	// buckets is the number of layers that small blobs share, one for each first
	// digit of a digest.
	buckets = 16
)

// group distributes blobs over layers: one layer for each big blob, in the
// order of their digests, then the buckets that are not empty. Blobs are small
// below 1 MiB; when the big ones and the others, which is the number of layers
// that the cluster image has besides, pass 100, the limit doubles until they do
// not. Adding a blob changes one layer, except where it makes the limit double.
func group(blobs []v1.Descriptor, others int) [][]v1.Descriptor {
	blobs = slices.Clone(blobs)
	slices.SortFunc(blobs, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
	limit := bigFrom(blobs, others)
	var big [][]v1.Descriptor
	var small [buckets][]v1.Descriptor
	for _, b := range blobs {
		if b.Size >= limit {
			big = append(big, []v1.Descriptor{b})
			continue
		}
		n := bucket(b.Digest)
		small[n] = append(small[n], b)
	}
	return append(big, slices.DeleteFunc(small[:], func(g []v1.Descriptor) bool { return len(g) == 0 })...)
}

// bigFrom returns the size in bytes from which on a blob has a layer of its own.
func bigFrom(blobs []v1.Descriptor, others int) int64 {
	for limit := int64(smallBlob); ; limit *= 2 {
		if limit > math.MaxInt64/2 {
			return math.MaxInt64
		}
		big := 0
		for _, b := range blobs {
			if b.Size >= limit {
				big++
			}
		}
		if big == 0 || big+others <= fullLayers {
			return limit
		}
	}
}

// bucket returns the number that the first digit of a digest says.
func bucket(h v1.Hash) int {
	if c := h.Hex[0]; c >= 'a' {
		return int(c-'a') + 10
	}
	return int(h.Hex[0] - '0')
}
