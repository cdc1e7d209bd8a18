package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealrt/sealrt/artifact"
)

// Attached implements Describer.
func (s *Store) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	idx, err := s.readIndex()
	if err != nil {
		return nil, err
	}
	return idx.Attached(ref)
}

// Attach implements Attacher. What is attached stays as long as its subject.
func (s *Store) Attach(ctx context.Context, ref artifact.Reference, n artifact.Named) (err error) {
	release, err := s.Hold(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if ok, err := s.Has(ctx, ref, n.Desc); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("attach to %s: manifest %s: %w in the store at %s", ref.Familiar(), n.Desc.Digest, artifact.ErrNotFound, s.root)
	}
	return s.editIndex(ctx, func(x *artifact.Index) (bool, error) { return x.Attach(ref, n) })
}
