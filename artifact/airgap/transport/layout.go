package transport

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// image is one image of a place.
type image struct {
	refs []artifact.Reference // its names
	tag  string               // what stands for the name in layouts that know no more; "" where there are names, or nothing at all
	text string               // how errors call an image that has no name
	list []v1.Descriptor      // manifests or indexes, of several platforms if there are several; none of an image of docker
	// docker is the image in the form of docker save; nil if it has none.
	docker *dockerImage
}

// named reports whether the image has a name.
func (i *image) named() bool { return len(i.refs) > 0 }

// layout reads the images of an OCI image layout (OCI image-spec,
// image-layout.md).
type layout struct{ files }

// images returns what index.json lists; found is false when there is none.
func (l layout) images() (list []*image, found bool, err error) {
	f, err := l.file("index.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	b, err := read(f, "index.json")
	if err != nil {
		return nil, false, err
	}
	if err := l.checkVersion(); err != nil {
		return nil, false, err
	}
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil {
		return nil, false, fmt.Errorf("index.json: %w", err)
	}
	for _, d := range idx.Manifests {
		if !artifact.IsSHA256(d.Digest) || d.Size < 0 {
			return nil, false, fmt.Errorf("index.json: digest %q of %d bytes is not acceptable", d.Digest, d.Size)
		}
		if d.MediaType == "" { // early layouts left it out
			d.MediaType = types.OCIManifestSchema1
		}
		if d.MediaType.IsImage() || d.MediaType.IsIndex() || d.MediaType.IsSchema1() {
			list = add(list, d)
		}
	}
	return list, true, nil
}

// checkVersion refuses layouts of a kind that was not known when this was
// written. The file may be absent: index.json has said what this is.
func (l layout) checkVersion() error {
	f, err := l.file("oci-layout")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	b, err := read(f, "oci-layout")
	if err != nil {
		return err
	}
	var v struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(b, &v); err != nil || v.Version != "1.0.0" {
		return errors.New("its oci-layout is not of version 1.0.0: write the layout with a tool that makes those")
	}
	return nil
}

// add puts an entry of index.json to the image that it belongs to: several
// entries of one name are its platforms, several of one digest its names.
func add(list []*image, d v1.Descriptor) []*image {
	ref, tag := nameOf(d)
	plain := v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Platform: d.Platform}
	for _, i := range list {
		switch {
		case !ref.IsZero() && slices.Contains(i.refs, ref):
			i.list = append(i.list, plain)
			return list
		case ref.IsZero() && slices.ContainsFunc(i.list, func(have v1.Descriptor) bool { return have.Digest == d.Digest }):
			return list
		case ref.IsZero() && tag != "" && i.tag == tag:
			i.list = append(i.list, plain)
			return list
		}
	}
	i := &image{tag: tag, text: d.Digest.String(), list: []v1.Descriptor{plain}}
	if !ref.IsZero() {
		i.refs = []artifact.Reference{ref}
		list = slices.DeleteFunc(list, func(have *image) bool { // the same image without its name
			return !have.named() && len(have.list) == 1 && have.list[0].Digest == d.Digest
		})
	}
	return append(list, i)
}

// nameOf reads the name of an entry of index.json. containerd's annotation goes
// first: where it stands, the one of the specification may have the tag only. A
// text without any of "/:@" is such a tag to containerd too.
func nameOf(d v1.Descriptor) (ref artifact.Reference, tag string) {
	for _, key := range []string{artifact.AnnotationContainerdName, artifact.AnnotationRefName} {
		s := d.Annotations[key]
		if !strings.ContainsAny(s, "/:@") {
			tag = cmp.Or(tag, s)
			continue
		}
		if ref, err := artifact.ParseReference(s); err == nil {
			return ref, ""
		}
	}
	return artifact.Reference{}, tag
}

// choose returns the descriptor for a platform: that of the only entry, or of the
// first that states the platform.
func (i *image) choose(p v1.Platform) v1.Descriptor {
	for _, d := range i.list {
		if d.Platform != nil && matches(*d.Platform, p) {
			return d
		}
	}
	return i.list[0]
}

// matches reports whether a platform is the one asked for; none asks for any.
func matches(have, want v1.Platform) bool {
	return have.OS != "unknown" && (want.OS == "" || artifact.MatchPlatform(have, want))
}

// describe returns the descriptor of a manifest or index that index.json does not
// list.
func (l layout) describe(h v1.Hash) (v1.Descriptor, error) {
	f, err := l.file(blobPath(h))
	if err != nil {
		return v1.Descriptor{}, err
	}
	b, err := read(f, h.String())
	if err != nil {
		return v1.Descriptor{}, err
	}
	var m struct {
		MediaType types.MediaType   `json:"mediaType"`
		Config    *v1.Descriptor    `json:"config"`
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return v1.Descriptor{}, fmt.Errorf("%s is no manifest: %w", h, err)
	}
	switch {
	case m.MediaType == "" && m.Manifests != nil:
		m.MediaType = types.OCIImageIndex
	case m.MediaType == "" && m.Config != nil:
		m.MediaType = types.OCIManifestSchema1
	case !m.MediaType.IsImage() && !m.MediaType.IsIndex():
		return v1.Descriptor{}, fmt.Errorf("%s is no manifest: %w", h, fs.ErrNotExist)
	}
	return v1.Descriptor{MediaType: m.MediaType, Digest: h, Size: f.size}, nil
}

// maxDepth bounds indexes inside indexes.
const maxDepth = 4

// whole reports whether all that an image of the platform consists of is there.
func (l layout) whole(ctx context.Context, d v1.Descriptor, p v1.Platform, depth int) bool {
	b, err := artifact.ReadManifest(ctx, l, artifact.Reference{}, d)
	if err != nil || depth > maxDepth {
		return false
	}
	if d.MediaType.IsIndex() {
		idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
		return err == nil && slices.ContainsFunc(idx.Manifests, func(child v1.Descriptor) bool {
			return (child.Platform == nil && p.OS == "" || child.Platform != nil && matches(*child.Platform, p)) && l.whole(ctx, child, p, depth+1)
		})
	}
	m, err := v1.ParseManifest(bytes.NewReader(b))
	if err != nil {
		return false
	}
	return !slices.ContainsFunc(append([]v1.Descriptor{m.Config}, m.Layers...), func(part v1.Descriptor) bool {
		f, err := l.file(blobPath(part.Digest))
		return err != nil || f.size != part.Size
	})
}

// Resolve and Open make layout the Source that manifests are read from.
func (l layout) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

// Open implements artifact.Source.
func (l layout) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := l.file(blobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	return from(f.open, offset)
}
