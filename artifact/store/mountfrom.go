package store

import (
	"context"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// MountFrom returns, for CopyOptions, in which other repositories of the registry of to blobs are likely to be: those
// that images of s are named after. A registry that does not have them there loses nothing by being asked. The store is
// read at the first call; what cannot be read there is not known.
func MountFrom(ctx context.Context, s *Store, to artifact.Reference) func(v1.Hash) (artifact.Reference, bool) {
	known := sync.OnceValue(func() map[v1.Hash]artifact.Reference {
		where := map[v1.Hash]artifact.Reference{}
		refs, _ := s.Refs(ctx) // a store without a readable index is told of by Copy
		for _, n := range refs {
			if n.Ref.Domain() == to.Domain() && n.Ref.Path() != to.Path() {
				s.addParts(ctx, where, n.Ref, n.Desc, 0)
			}
		}
		return where
	})
	return func(h v1.Hash) (artifact.Reference, bool) {
		ref, ok := known()[h]
		return ref, ok
	}
}

// addParts notes ref for all blobs of the manifest d.
func (s *Store) addParts(ctx context.Context, where map[v1.Hash]artifact.Reference, ref artifact.Reference, d v1.Descriptor, depth int) {
	raw, err := artifact.ReadManifest(ctx, s, ref, d)
	if err != nil || depth > artifact.MaxIndexDepth {
		return
	}
	list, err := artifact.Parts(d, raw)
	if err != nil {
		return
	}
	for _, p := range list {
		if artifact.IsManifest(p.MediaType) {
			s.addParts(ctx, where, ref, p.Descriptor, depth+1)
		} else if _, ok := where[p.Digest]; !ok {
			where[p.Digest] = ref
		}
	}
}
