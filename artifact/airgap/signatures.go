package airgap

import (
	"cmp"
	"context"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Signatures finds what is attached to images. *registry.Client is one.
type Signatures interface {
	// Attached returns the manifests that sign or describe what ref names by
	// digest: those under a tag as name:tag, others as name@digest.
	Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error)
}

// Signed is an image and what was found that may sign it.
type Signed struct {
	Ref artifact.Reference // as it is asked for, pinned to the digest that it names
	// Subjects are what Ref names and, where that is an index, the manifest of
	// the platform in it. Who signs one of them signs the image.
	Subjects   []v1.Descriptor
	Signatures []artifact.Named // manifests that are attached to one of the subjects
	Source     artifact.Source  // has the subjects, the signatures and what these consist of
	Err        error            // why signatures could not be looked for or read; nil: they could
}

// addSignatures adds to an image what is attached to it. Nothing of that fails
// the build here: what cannot be had is not carried, unless o.NeedSignatures.
func addSignatures(ctx context.Context, docs *documents, r *Request, top v1.Descriptor, found *resolved, o Options) error {
	signed := &Signed{Ref: r.Ref.WithDigest(top.Digest), Subjects: []v1.Descriptor{layout.Bare(top)}, Source: docs}
	if manifest := found.blobs[0].Descriptor; manifest.Digest != top.Digest {
		signed.Subjects = append(signed.Subjects, manifest)
	}
	found.signed = signed
	signatures := o.Signatures
	if _, ok := docs.src.(Place); ok {
		signatures = knownIn(docs.src)
	}
	if signatures == nil {
		return nil
	}
	for _, subject := range signed.Subjects {
		list, err := signatures.Attached(ctx, r.Ref.WithDigest(subject.Digest))
		if err != nil {
			signed.Err = cmp.Or(signed.Err, err)
			continue
		}
		for _, n := range list {
			if err := found.attach(ctx, docs, n, subject); err != nil {
				signed.Err = cmp.Or(signed.Err, err)
			}
		}
	}
	if o.NeedSignatures && signed.Err != nil {
		return fmt.Errorf("signature: %w", signed.Err)
	}
	return ctx.Err()
}

// attach adds a manifest that is attached to a subject, with all that it
// consists of. What is small is read now, so that what cannot be had is left
// out as a whole. An index that is signed is kept with its signature.
func (f *resolved) attach(ctx context.Context, docs *documents, n artifact.Named, subject v1.Descriptor) error {
	if !n.Desc.MediaType.IsImage() {
		return nil // indexes of artifacts are nobody's signatures
	}
	ref := n.Ref.WithDigest(n.Desc.Digest)
	m, err := layout.ReadAttached(ctx, docs, n)
	if err != nil {
		return err
	}
	blobs := []blob{{Descriptor: layout.Bare(n.Desc), ref: ref}}
	if subject.MediaType.IsIndex() {
		blobs = append(blobs, blob{Descriptor: layout.Bare(subject), ref: ref})
	}
	for _, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := layout.Check(d); err != nil {
			return fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
		}
		if d.Size <= artifact.MaxManifest {
			if _, err := docs.read(ctx, ref, d); err != nil {
				return err
			}
		}
		blobs = append(blobs, blob{Descriptor: layout.Bare(d), ref: ref})
	}
	n.Desc.ArtifactType = m.ArtifactType
	f.entries = append(f.entries, attachedEntry(n))
	f.blobs = append(f.blobs, blobs...)
	f.signed.Signatures = append(f.signed.Signatures, n)
	return nil
}

// attachedEntry is the entry of index.json for what is attached to an image. It
// has none of the names by which container runtimes look for images.
func attachedEntry(n artifact.Named) v1.Descriptor {
	d := layout.Bare(n.Desc)
	d.ArtifactType = n.Desc.ArtifactType
	d.Annotations = map[string]string{artifact.AnnotationImageName: n.Ref.String()}
	return d
}

// knownIn returns what finds the signatures of the images in a source; nil if
// the source itself cannot tell.
func knownIn(src artifact.Source) Signatures {
	switch s := src.(type) {
	case Signatures:
		return s
	case Place:
		return attachedIn{s}
	}
	return nil
}

// Attached implements Signatures: it asks the source that resolved the image. A
// place lists all that it has; of others, as a store, that had the image from
// elsewhere, what they do not know the rest may tell.
func (f *firstOf) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	f.mu.Lock()
	i, known := f.repositories[ref.Name()]
	f.mu.Unlock()
	if known && knownIn(f.sources[i]) != nil {
		list, err := knownIn(f.sources[i]).Attached(ctx, ref)
		if _, whole := f.sources[i].(Place); whole || err != nil || len(list) > 0 {
			return list, err
		}
	}
	for j, src := range f.sources {
		s, ok := src.(Signatures)
		if !ok || known && j == i {
			continue
		}
		if list, err := s.Attached(ctx, ref); err != nil || len(list) > 0 {
			return list, err
		}
	}
	return nil, nil
}

// attachedIn finds what is attached to images in a place that lists all it has.
type attachedIn struct{ Place }

// Attached implements Signatures.
func (p attachedIn) Attached(ctx context.Context, ref artifact.Reference) ([]artifact.Named, error) {
	list, err := p.Refs(ctx)
	if err != nil {
		return nil, err
	}
	return layout.AttachedAmong(ctx, p, list, ref)
}

// readDigest reads a manifest or index of which only the digest is known.
func readDigest(ctx context.Context, src artifact.Source, ref artifact.Reference, h v1.Hash) ([]byte, error) {
	r, err := src.Open(ctx, ref.WithDigest(h), v1.Descriptor{Digest: h}, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, artifact.MaxManifest+1))
	if err != nil {
		return nil, err
	}
	if layout.DigestOf(b) != h {
		return nil, fmt.Errorf("%s: blob %s is damaged", ref.Familiar(), h)
	}
	return b, nil
}
