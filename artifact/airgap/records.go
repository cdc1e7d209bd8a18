package airgap

import (
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	// shelfLayers is how many layers of one bucket are remembered.
	shelfLayers = 16
	// maxNames is how many names of images are remembered.
	maxNames = 4096
)

// record is what the store's cache keeps about a layer.
type record struct {
	Digest v1.Hash `json:"digest"`          // of the layer; the store forgets the record with it
	DiffID v1.Hash `json:"diffID,omitzero"` // of a layer that is found by its content
	Size   int64   `json:"size,omitempty"`  // of such a layer, in bytes
	// MediaType is that of a layer which is compressed; "" is not.
	MediaType types.MediaType `json:"mediaType,omitempty"`
}

// newRecord returns what is kept about a layer.
func newRecord(l layer.Blob) record {
	r := record{Digest: l.Digest, DiffID: l.DiffID, Size: l.Size}
	if l.MediaType != layer.None.MediaType() {
		r.MediaType = l.MediaType
	}
	return r
}

// shelf is what the store's cache keeps about the layers of one bucket, the last
// one first. It is one record for all, as a record takes a file.
type shelf struct {
	Layers []shelved `json:"layers"`
}

type shelved struct {
	record
	Blobs []string `json:"blobs"` // digits of their digests
}

// blobKey is the key of the record of the layer that has just this blob.
func blobKey(h v1.Hash) string { return "airgap/blob/" + h.Hex }

// shelfKey is the key of the shelf that may have a blob.
func shelfKey(h v1.Hash) string { return "airgap/shelf/" + h.Hex[:1] }

// holders returns the layers in the store that have a blob.
func (p packed) holders(h v1.Hash) []record {
	var list []record
	if r, ok := p.record(blobKey(h)); ok {
		list = append(list, r)
	}
	for _, l := range p.shelf(shelfKey(h)).Layers {
		if slices.Contains(l.Blobs, h.Hex) {
			list = append(list, l.record)
		}
	}
	return slices.DeleteFunc(list, func(r record) bool { return !p.has(r) })
}

// has reports whether the layer of a record is in the store.
func (p packed) has(r record) bool {
	fi, err := os.Stat(p.store.BlobPath(r.Digest))
	return err == nil && (r.Size == 0 || fi.Size() == r.Size)
}

// cached returns the layer of just these blobs if the store has it.
func (p packed) cached(blobs []v1.Descriptor) (record, bool) {
	var list []record
	if r, ok := p.record(blobKey(blobs[0].Digest)); ok && len(blobs) == 1 {
		list = append(list, r)
	}
	want := digits(blobs)
	for _, l := range p.shelf(shelfKey(blobs[0].Digest)).Layers {
		if slices.Equal(l.Blobs, want) {
			list = append(list, l.record)
		}
	}
	for _, r := range list {
		if r.DiffID.Hex != "" && r.Size > 0 && p.has(r) {
			return r, true
		}
	}
	return record{}, false
}

// remember records which layer holds the blobs. Those of one layer have the
// first digit in common unless there is but one.
func (p packed) remember(blobs []v1.Descriptor, r record) error {
	if len(blobs) == 1 && blobs[0].Size >= smallBlob {
		return p.put(blobKey(blobs[0].Digest), r)
	}
	key := shelfKey(blobs[0].Digest)
	s := p.shelf(key)
	s.Layers = slices.DeleteFunc(s.Layers, func(l shelved) bool { return l.Digest == r.Digest || !p.has(l.record) })
	s.Layers = slices.Insert(s.Layers, 0, shelved{r, digits(blobs)})
	s.Layers = s.Layers[:min(len(s.Layers), shelfLayers)]
	return p.put(key, s)
}

// digits returns the digits of the digests of blobs.
func digits(blobs []v1.Descriptor) []string {
	list := make([]string, len(blobs))
	for i, b := range blobs {
		list[i] = b.Digest.Hex
	}
	return list
}

// record reads the record of that key; one that cannot be read is no record.
func (p packed) record(key string) (record, bool) {
	var r record
	b, ok := p.store.CacheGet(key)
	if !ok || json.Unmarshal(b, &r) != nil || r.Digest.Hex == "" {
		return record{}, false
	}
	return r, true
}

// shelf reads the shelf of that key, which may be empty.
func (p packed) shelf(key string) shelf {
	var s shelf
	if b, ok := p.store.CacheGet(key); !ok || json.Unmarshal(b, &s) != nil {
		return shelf{}
	}
	return s
}

// mediaType returns that of the layer of a record.
func (r record) mediaType() types.MediaType { return cmp.Or(r.MediaType, layer.None.MediaType()) }

// put writes the record of that key.
func (p packed) put(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return p.store.CachePut(key, b)
}

// namesKey is the key of the record of the names that were collected last.
const namesKey = "airgap/names"

type nameRecord struct {
	Names []string `json:"names"`
}

// known are the names that were collected before: what they mean is likely to be
// in the store. That is a guess, which costs a request where it is wrong.
func (p packed) known() map[string]bool {
	var r nameRecord
	known := map[string]bool{}
	if b, ok := p.store.CacheGet(namesKey); ok && json.Unmarshal(b, &r) == nil {
		for _, name := range r.Names {
			known[name] = true
		}
	}
	return known
}

// shortName stands for a name in the record of names.
func shortName(ref artifact.Reference) string { return layout.DigestOf([]byte(ref.String())).Hex[:16] }

// remember records which names were collected.
func (s *documents) remember(wanted []*Request) error {
	known := s.known()
	before := len(known)
	for _, r := range wanted {
		if _, pinned := r.Ref.Digest(); !pinned && len(r.From) == 0 {
			known[shortName(r.Ref)] = true
		}
	}
	if len(known) == before {
		return nil
	}
	if len(known) > maxNames {
		clear(known) // the next build fills it again
	}
	return s.put(namesKey, nameRecord{slices.Sorted(maps.Keys(known))})
}
