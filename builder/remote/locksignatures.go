package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Signatures finds what is attached to an image, as a registry does.
type Signatures interface {
	Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error)
}

// Signatures returns found as the lock sees it: what was attached to an image when the lock was written, whatever is
// now. What the lock does not say is looked for and recorded if src has it, or with frozen is not there: a lock says of
// every image what signs it.
func (l *Lock) Signatures(found Signatures, src artifact.Source, p v1.Platform, frozen bool) Signatures {
	return &lockedSignatures{found: found, src: src, lock: l, platform: p, frozen: frozen}
}

type lockedSignatures struct {
	found    Signatures
	src      artifact.Source
	lock     *Lock
	platform v1.Platform
	frozen   bool
}

// Attached implements Signatures.
func (s *lockedSignatures) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	h, pinned := ref.Digest()
	if !pinned {
		return nil, fmt.Errorf("%s: what is attached to an image is found by its digest", ref.Familiar())
	}
	subject := ref.Name() + "@" + h.String()
	if list := s.lock.signatures(s.platform, subject); len(list) > 0 || s.frozen {
		return list, nil
	}
	list, err := s.found.Attached(ctx, ref)
	if err != nil {
		return nil, err
	}
	// A list may name what was deleted long ago, which no build could ever have.
	list = slices.DeleteFunc(list, func(n artifact.Named) bool {
		_, err := artifact.ReadManifest(ctx, s.src, n.Ref.WithDigest(n.Desc.Digest), n.Desc)
		return err != nil
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.lock.recordSignatures(s.platform, subject, list)
	return list, nil
}

// signatures returns what is locked to be attached to a subject, sorted by name.
func (l *Lock) signatures(p v1.Platform, subject string) []artifact.Named {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.platforms[platformKey(p)]
	if have == nil {
		return nil
	}
	var list []artifact.Named
	for _, name := range slices.Sorted(maps.Keys(have.Signatures[subject])) {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			continue // ParseLock has refused it
		}
		list = append(list, artifact.Named{Ref: ref, Desc: have.Signatures[subject][name].descriptor()})
	}
	return list
}

// locksSignature reports whether a manifest is locked to be attached to something.
func (l *Lock) locksSignature(p v1.Platform, h v1.Hash) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.platforms[platformKey(p)]
	if have == nil {
		return false
	}
	for _, list := range have.Signatures {
		for _, i := range list {
			if i.Digest.hash() == h {
				return true
			}
		}
	}
	return false
}

// recordSignatures locks what is attached to a subject.
func (l *Lock) recordSignatures(p v1.Platform, subject string, list []artifact.Named) {
	if len(list) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	signatures := map[string]lockedImage{}
	for _, n := range list {
		signatures[n.Ref.String()] = lockedImage{Digest: lockedDigest(n.Desc.Digest.String()), MediaType: n.Desc.MediaType, Size: n.Desc.Size}
	}
	l.platform(p).Signatures[subject] = signatures
}

// checkSignatures says what is wrong with what is locked to be attached to a subject.
func checkSignatures(subject string, list map[string]lockedImage) error {
	image, err := artifact.ParseReference(subject)
	if err != nil {
		return err
	}
	if _, pinned := image.Digest(); !pinned || image.String() != subject || image.Tag() != "" {
		return fmt.Errorf("%q is not a full name with a digest", subject)
	}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return err
		}
		i := list[name]
		h, pinned := ref.Digest()
		if ref.String() != name || ref.Name() != image.Name() || pinned && h != i.Digest.hash() {
			return fmt.Errorf("%s: %q names nothing that is attached to it", subject, name)
		}
		if !i.MediaType.IsImage() && !i.MediaType.IsIndex() {
			return fmt.Errorf("%s: media type %q is not that of a manifest", name, i.MediaType)
		}
		if err := checkLocked(name, i.Digest, i.Size); err != nil {
			return err
		}
	}
	return nil
}
