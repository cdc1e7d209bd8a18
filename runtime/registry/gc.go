package registry

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// Freed is something that a host gave up, or would give up.
type Freed struct {
	Kind string `json:"kind"` // image, or that of store.Garbage
	Name string `json:"name"`
	Size int64  `json:"size"` // bytes
}

// Collect gives up what no installed image needs: what was fetched from another
// master that no master has any more, or that came with a cluster image since,
// and the blobs that nothing names. Pushed images stay. While a master does not
// answer, what it may need stays. With dry nothing is given up, and told what
// would be.
func (s *Service) Collect(ctx context.Context, dry bool) ([]Freed, error) {
	s.catching.Lock()
	defer s.catching.Unlock()
	kept, err := OpenKept(s.dir)
	if err != nil {
		return nil, err
	}
	defer kept.Close()
	names, err := s.needless(ctx, kept)
	if err != nil {
		return nil, err
	}
	refs := make([]artifact.Reference, 0, len(names))
	var freed []Freed
	for _, name := range names {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return nil, err
		}
		refs = append(refs, ref)
		freed = append(freed, Freed{Kind: "image", Name: name})
	}
	garbage, err := kept.store.Garbage(ctx, store.Without{Names: refs})
	if err != nil {
		return nil, err
	}
	for _, g := range garbage {
		freed = append(freed, Freed{Kind: g.Kind, Name: g.Name, Size: g.Size})
	}
	if dry || len(freed) == 0 {
		return freed, nil
	}
	err = kept.edit(ctx, func(list map[string]Listed) error {
		for i, ref := range refs {
			if err := kept.store.Untag(ctx, ref); err != nil && !errors.Is(err, artifact.ErrNotFound) {
				return err
			}
			delete(list, names[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = kept.store.Sweep(ctx)
	return freed, err
}

// needless returns the names of what was fetched and nobody needs.
func (s *Service) needless(ctx context.Context, kept *Kept) ([]string, error) {
	list, err := kept.List()
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(l Listed) bool { return !l.Pushed.IsZero() })
	if len(list) == 0 {
		return nil, nil
	}
	needed := map[string]bool{}
	theirs, all, err := s.theirs(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range theirs {
		needed[l.Name] = true
	}
	own, err := s.own.Images(ctx)
	if err != nil {
		return nil, err
	}
	here := map[string]bool{}
	for _, e := range own.Entries() {
		here[e.Name] = true
	}
	var names []string
	for _, l := range list {
		if here[l.Name] || all && !needed[l.Name] {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

// Store returns where a service keeps images.
func Store(dir string) string { return filepath.Join(dir, imagesDir) }
