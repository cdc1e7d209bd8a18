package remote

import (
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Source returns src as the lock sees it: a reference with a tag that is locked for p resolves to the locked digest,
// whatever the tag names now. One that is not is resolved by src and recorded, or with frozen is an error. References
// with a digest say themselves what they mean: they are neither recorded nor looked up.
//
// The store and a registry may be wrapped one after the other: a base whose locked manifest the store lacks is
// ErrNotFound there, and an image for another platform is not recorded. A container image that is locked is resolved
// without asking src, so that a build from the lock needs no network for what this machine has; if the locked one is
// gone, Open says so.
func (l *Lock) Source(src artifact.Source, p v1.Platform, kind LockKind, frozen bool) artifact.Source {
	return &lockedSource{Source: src, lock: l, platform: p, kind: kind, frozen: frozen}
}

// lockedSource is a source whose tags are those of a lock. Open is that of the source.
type lockedSource struct {
	artifact.Source
	lock     *Lock
	platform v1.Platform
	kind     LockKind
	frozen   bool
}

// Resolve implements artifact.Source.
func (s *lockedSource) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	if _, pinned := ref.Digest(); pinned {
		return s.Source.Resolve(ctx, ref)
	}
	d, ok := s.lock.image(s.platform, s.kind, ref)
	switch {
	case ok:
		return s.locked(ctx, ref, d)
	case s.frozen:
		return v1.Descriptor{}, s.lock.unlocked(s.platform, ref.Familiar())
	}
	d, fits, err := s.find(ctx, ref)
	if err != nil || !fits {
		return d, err
	}
	if won := s.lock.recordImage(s.platform, s.kind, ref, d); won.Digest != d.Digest {
		return s.locked(ctx, ref, won)
	}
	return d, nil
}

// Fetch implements artifact.Fetcher: it is Resolve, which for an image that is asked for anyway brings the manifest along.
func (s *lockedSource) Fetch(ctx context.Context, ref artifact.Reference) (v1.Descriptor, []byte, error) {
	f, ok := s.Source.(artifact.Fetcher)
	if !ok || s.kind != LockImage {
		d, err := s.Resolve(ctx, ref)
		return d, nil, err
	}
	asked := &fetched{Source: s.Source, fetch: f.Fetch}
	with := *s
	with.Source = asked
	d, err := with.Resolve(ctx, ref)
	if err != nil || asked.desc.Digest != d.Digest {
		return d, nil, err
	}
	return d, asked.raw, nil
}

// fetched is a source whose Resolve fetches the manifest and remembers it.
type fetched struct {
	artifact.Source
	fetch func(context.Context, artifact.Reference) (v1.Descriptor, []byte, error)
	desc  v1.Descriptor
	raw   []byte
}

// Resolve implements artifact.Source.
func (f *fetched) Resolve(ctx context.Context, ref artifact.Reference) (d v1.Descriptor, err error) {
	f.desc, f.raw, err = f.fetch(ctx, ref)
	return f.desc, err
}

// Open implements artifact.Source.
func (s *lockedSource) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r, err := s.Source.Open(ctx, ref, d, offset)
	if err != nil {
		if _, pinned := ref.Digest(); !pinned {
			return nil, err
		}
		have, ok := s.lock.image(s.platform, s.kind, s.tagged(ref))
		if ok && have.Digest == d.Digest || s.lock.locksSignature(s.platform, d.Digest) {
			return nil, fmt.Errorf("%w (%s locks it to this digest: if it is gone for good, run `sealrt build --lock`)", err, s.lock.fileName())
		}
	}
	return r, err
}

// tagged returns ref without its digest.
func (s *lockedSource) tagged(ref artifact.Reference) artifact.Reference {
	if t, err := ref.WithTag(ref.Tag()); err == nil {
		return t
	}
	return ref
}

// locked returns the descriptor that ref is locked to. Only a base is asked for: it may be in another place.
func (s *lockedSource) locked(ctx context.Context, ref artifact.Reference, want v1.Descriptor) (v1.Descriptor, error) {
	if s.kind == LockImage {
		return want, nil
	}
	d, err := s.Source.Resolve(ctx, ref.WithDigest(want.Digest))
	if err != nil {
		return v1.Descriptor{}, fmt.Errorf("locked by %s: %w", s.lock.fileName(), err)
	}
	if d.Digest != want.Digest {
		return v1.Descriptor{}, fmt.Errorf("%s: asked for %s, as %s locks it, the answer is %s: the source is damaged", ref.Familiar(), want.Digest, s.lock.fileName(), d.Digest)
	}
	return d, nil
}

// find resolves what is not locked yet, a base down to the manifest of its platform: that is what the store keeps of
// an index, and so can be found there again by digest. fits is false for an image of another platform, which is the
// caller's to refuse.
func (s *lockedSource) find(ctx context.Context, ref artifact.Reference) (d v1.Descriptor, fits bool, err error) {
	d, err = s.Source.Resolve(ctx, ref)
	if err != nil || s.kind == LockImage {
		return d, err == nil, err
	}
	d, _, config, err := artifact.Manifest(ctx, s.Source, ref.WithDigest(d.Digest), &s.platform)
	if err != nil {
		return v1.Descriptor{}, false, err
	}
	have := v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant, OSVersion: config.OSVersion}
	fits = have.OS == "" || have.Architecture == "" || artifact.MatchPlatform(have, s.platform)
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}, fits, nil
}
