package airgap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// resolved is an image that was found.
type resolved struct {
	entries []v1.Descriptor // of index.json
	blobs   []blob          // all that the image consists of
}

// blob is a part of an image and the repository that has it.
type blob struct {
	v1.Descriptor
	ref artifact.Reference
}

// resolve finds the manifest of one platform, and what it consists of.
func resolve(ctx context.Context, docs *documents, r *request, o Options) (*resolved, error) {
	top, err := docs.Resolve(ctx, r.ref)
	if err != nil {
		return nil, err
	}
	if err := checkDescriptor(top); err != nil {
		return nil, fmt.Errorf("%s: %w", r.ref.Familiar(), err)
	}
	pinned := r.ref.WithDigest(top.Digest)
	desc, manifest, config, err := artifact.Manifest(ctx, docs, pinned, &r.platform)
	if err != nil {
		return nil, err
	}
	if err := checkPlatform(r, config, o.Observe); err != nil {
		return nil, err
	}
	found := &resolved{entries: entries(r.ref, top, desc)}
	parts := append([]v1.Descriptor{desc, manifest.Config}, manifest.Layers...)
	if _, named := r.ref.Digest(); named && top.Digest != desc.Digest {
		parts = append(parts, top)
	}
	for _, d := range parts {
		if err := checkDescriptor(d); err != nil {
			return nil, fmt.Errorf("%s: %w", r.ref.Familiar(), err)
		}
		found.blobs = append(found.blobs, blob{Descriptor: bare(d), ref: pinned})
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
	d = bare(d)
	d.Annotations = map[string]string{
		artifact.AnnotationRefName:        name,
		artifact.AnnotationContainerdName: name,
	}
	return d
}

// bare returns a descriptor that says what d is, and nothing else.
func bare(d v1.Descriptor) v1.Descriptor {
	return v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

// checkPlatform refuses an image for another platform. An image that names no
// platform fits every one; the user is told.
func checkPlatform(r *request, config *v1.ConfigFile, observe func(artifact.Event)) error {
	have := v1.Platform{OS: cmp.Or(config.OS, r.platform.OS), Architecture: cmp.Or(config.Architecture, r.platform.Architecture)}
	if config.OS == "" || config.Architecture == "" {
		observe(artifact.Event{Kind: artifact.EventNote, Ref: r.ref.Familiar(),
			Name: fmt.Sprintf("%s: %s names no platform and is taken to fit %s", r.where[0], r.ref.Familiar(), r.platform)})
	}
	if !artifact.MatchPlatform(have, v1.Platform{OS: r.platform.OS, Architecture: r.platform.Architecture}) {
		return fmt.Errorf("%s: the image is for %s, %s is wanted: name an image for that platform", r.ref.Familiar(), have, r.platform)
	}
	return nil
}

// checkDescriptor refuses descriptors that no layout of ours can hold.
func checkDescriptor(d v1.Descriptor) error {
	if d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 || strings.Trim(d.Digest.Hex, "0123456789abcdef") != "" {
		return fmt.Errorf("digest %q is not sha256", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("blob %s: size %d", d.Digest, d.Size)
	}
	if d.MediaType.IsSchema1() {
		return errors.New("the image is in docker's schema 1, which runtimes no longer read: push it again with a current tool")
	}
	return nil
}
