package airgap

import (
	"cmp"
	"context"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// resolved is an image that was found.
type resolved struct {
	entries []v1.Descriptor // of index.json
	blobs   []blob          // all that the image consists of, the manifest first
	top     v1.Hash         // what the reference names upstream
	signed  *Signed         // nil: signatures were not looked for
}

// blob is a part of an image and the repository that has it.
type blob struct {
	v1.Descriptor
	ref  artifact.Reference
	src  artifact.Source // nil: that of the image
	urls []string        // where a layer may be that the repository need not have
}

// resolve finds the manifest of one platform, and what it consists of.
func resolve(ctx context.Context, docs *documents, r *Request, o Options) (*resolved, error) {
	top, err := docs.Resolve(ctx, r.Ref)
	if err != nil {
		return nil, err
	}
	if err := layout.Check(top); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Ref.Familiar(), err)
	}
	pinned := r.Ref.WithDigest(top.Digest)
	desc, manifest, config, err := artifact.Manifest(ctx, docs, pinned, &r.Platform)
	if err != nil {
		return nil, err
	}
	if err := checkPlatform(r, config, o.Observe); err != nil {
		return nil, err
	}
	found := &resolved{entries: entries(r.Ref, top, desc), top: top.Digest}
	parts := append([]v1.Descriptor{desc, manifest.Config}, manifest.Layers...)
	if _, named := r.Ref.Digest(); named && top.Digest != desc.Digest {
		parts = append(parts, top)
	}
	for _, d := range parts {
		if err := layout.Check(d); err != nil {
			return nil, fmt.Errorf("%s: %w", r.Ref.Familiar(), err)
		}
		found.blobs = append(found.blobs, blob{Descriptor: layout.Bare(d), ref: pinned, urls: d.URLs})
	}
	if err := addSignatures(ctx, docs, r, top, found, o); err != nil {
		return nil, err
	}
	for i := range found.blobs {
		if found.blobs[i].src == nil {
			found.blobs[i].src = docs.src
		}
	}
	return found, nil
}

// entries returns one entry of index.json for each form of reference: the name
// with its tag leads to the platform's manifest, a name with a digest to what
// has that digest. An index that is named by digest gets company from its
// platform's manifest, for runtimes that cannot import the index.
func entries(ref artifact.Reference, top, manifest v1.Descriptor) []v1.Descriptor {
	h, byDigest := ref.Digest()
	var list []v1.Descriptor
	if ref.Tag() != "" {
		list = append(list, entry(ref.Name()+":"+ref.Tag(), manifest))
	}
	if byDigest {
		list = append(list, entry(ref.Name()+"@"+h.String(), top))
	}
	if byDigest && ref.Tag() == "" && top.Digest != manifest.Digest {
		list = append(list, entry(ref.Name()+"@"+manifest.Digest.String(), manifest))
	}
	return list
}

// entry names d the way OCI tools and containerd look for it.
func entry(name string, d v1.Descriptor) v1.Descriptor {
	d = layout.Bare(d)
	d.Annotations = map[string]string{
		artifact.AnnotationRefName:        name,
		artifact.AnnotationContainerdName: name,
	}
	return d
}

// checkPlatform refuses an image for another platform. An image that names no
// platform fits every one; the user is told.
func checkPlatform(r *Request, config *v1.ConfigFile, observe func(artifact.Event)) error {
	if config.OS == "" || config.Architecture == "" {
		observe(artifact.Event{Kind: artifact.EventNote, Ref: r.Ref.Familiar(),
			Name: fmt.Sprintf("%s: %s names no platform and is taken to fit %s", r.Where[0], r.Ref.Familiar(), r.Platform)})
	}
	if !artifact.Fits(config, r.Platform) {
		have := v1.Platform{OS: cmp.Or(config.OS, r.Platform.OS), Architecture: cmp.Or(config.Architecture, r.Platform.Architecture)}
		return fmt.Errorf("%s: the image is for %s, %s is wanted: name an image for that platform", r.Ref.Familiar(), have, r.Platform)
	}
	return nil
}
