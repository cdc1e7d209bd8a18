package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/artifact/trust"
)

// whereIs returns where an image is read without being fetched: from an archive,
// the store, or, when that lacks it or remote is wanted, its registry.
func whereIs(ctx context.Context, env *environment, arg string, remote bool) (artifact.Reference, artifact.Source, error) {
	if strings.HasPrefix(arg, archivePrefix) {
		return locate(ctx, env, nil, arg)
	}
	refs, err := parseRefs([]string{arg})
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	if remote {
		return refs[0], env.registry(), nil
	}
	store, err := env.heldStore(ctx)
	if err != nil {
		return artifact.Reference{}, nil, err
	}
	_, err = store.Resolve(ctx, refs[0])
	if errors.Is(err, artifact.ErrNotFound) {
		return refs[0], env.registry(), nil
	}
	return refs[0], store, err
}

// signable is an image where signatures can be added to it.
type signable struct {
	ref   artifact.Reference // pinned to its digest
	desc  v1.Descriptor
	at    trust.Place
	where string // for people
	free  func() error
}

// openSignable finds an image to be signed: in the store, or else in its registry.
// The caller calls free.
func openSignable(ctx context.Context, env *environment, arg string, remote bool) (*signable, error) {
	if strings.HasPrefix(arg, archivePrefix) {
		return nil, usageError{fmt.Errorf("%s: what is in an archive cannot be signed there: `sealrt load` it, sign it and save it again", arg)}
	}
	ref, src, err := whereIs(ctx, env, arg, remote)
	if err != nil {
		return nil, err
	}
	d, err := src.Resolve(ctx, ref)
	if err != nil {
		return nil, err
	}
	s := &signable{ref: ref.WithDigest(d.Digest), desc: d, free: func() error { return nil }}
	if store, ok := src.(*store.Store); ok {
		s.at, s.where = store, "the store: it travels with push and save"
		s.free, err = store.Hold(ctx)
		return s, err
	}
	s.at, s.where = env.registry(), ref.Domain()
	return s, nil
}

// each calls do for the image, and with recursive for all images in it that are at
// hand.
func (s *signable) each(ctx context.Context, recursive bool, do func(artifact.Reference, v1.Descriptor) error) error {
	if err := do(s.ref, s.desc); err != nil || !recursive || !s.desc.MediaType.IsIndex() {
		return err
	}
	raw, err := artifact.ReadManifest(ctx, s.at, s.ref, s.desc)
	if err != nil {
		return err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("%s: index: %w", s.ref.Familiar(), err)
	}
	for _, d := range index.Manifests {
		has, err := s.at.Has(ctx, s.ref, d)
		if err != nil {
			return err
		}
		if !has {
			continue // only some platforms were copied
		}
		if err := do(s.ref.WithDigest(d.Digest), d); err != nil {
			return err
		}
	}
	return nil
}
