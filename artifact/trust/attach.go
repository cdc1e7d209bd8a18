package trust

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// blob is something to be put somewhere.
type blob struct {
	mediaType   types.MediaType
	content     []byte
	annotations map[string]string
}

func (b blob) descriptor() v1.Descriptor {
	return v1.Descriptor{
		MediaType: b.mediaType, Size: int64(len(b.content)), Annotations: b.annotations,
		Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b.content))},
	}
}

// put stores a blob in the repository of ref, unless it is there.
func (b blob) put(ctx context.Context, at Place, ref artifact.Reference) (v1.Descriptor, error) {
	d := b.descriptor()
	has, err := at.Has(ctx, ref, d)
	if err != nil || has {
		return d, err
	}
	return d, at.Put(ctx, ref, d, func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b.content[min(offset, d.Size):])), nil
	})
}

// attachReferrer attaches a blob to an image, in a manifest that names its subject
// (OCI image-spec manifest.md, "Guidelines for Artifact Usage").
func attachReferrer(ctx context.Context, at Place, img Image, b blob, annotations map[string]string) error {
	layer, err := b.put(ctx, at, img.Ref)
	if err != nil {
		return err
	}
	config, err := blob{mediaType: "application/vnd.oci.empty.v1+json", content: []byte("{}")}.put(ctx, at, img.Ref)
	if err != nil {
		return err
	}
	about := img.Subjects[0]
	d, err := putManifest(ctx, at, img.Ref, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: string(b.mediaType),
		Config: config, Layers: []v1.Descriptor{layer}, Annotations: annotations,
		Subject: &v1.Descriptor{MediaType: about.MediaType, Digest: about.Digest, Size: about.Size},
	})
	if err != nil {
		return err
	}
	ref, err := artifact.ParseReference(img.Ref.Name() + "@" + d.Digest.String())
	if err != nil {
		return err
	}
	d.ArtifactType = string(b.mediaType)
	return at.Attach(ctx, img.Ref, artifact.Named{Ref: ref, Desc: d})
}

// appendUnderTag adds a blob to the manifest that cosign keeps under a tag of the
// image's digest, beside what others put there.
func appendUnderTag(ctx context.Context, at Place, img Image, suffix string, b blob) error {
	ref, err := tagOf(img.Ref, img.Subjects[0].Digest, suffix)
	if err != nil {
		return err
	}
	m, err := underTag(ctx, at, img, ref)
	if err != nil {
		return err
	}
	layer, err := b.put(ctx, at, img.Ref)
	if err != nil {
		return err
	}
	m.Layers = append(m.Layers, layer)
	config, err := json.Marshal(v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: digestsOf(m.Layers)}})
	if err != nil {
		return err
	}
	if m.Config, err = (blob{mediaType: types.OCIConfigJSON, content: config}).put(ctx, at, img.Ref); err != nil {
		return err
	}
	d, err := putManifest(ctx, at, img.Ref, m)
	if err != nil {
		return err
	}
	return at.Attach(ctx, img.Ref, artifact.Named{Ref: ref, Desc: d})
}

// underTag returns the manifest under a tag, an empty one when there is none. What
// was not found beside the image is asked for once more: it would be overwritten.
func underTag(ctx context.Context, at Place, img Image, ref artifact.Reference) (m v1.Manifest, err error) {
	m = v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	var d v1.Descriptor
	if i := slices.IndexFunc(img.Signatures, func(n artifact.Named) bool { return n.Ref.Tag() == ref.Tag() }); i >= 0 {
		d = img.Signatures[i].Desc
	} else if d, err = at.Resolve(ctx, ref); errors.Is(err, artifact.ErrNotFound) {
		return m, nil
	} else if err != nil {
		return m, err
	}
	raw, err := artifact.ReadManifest(ctx, at, ref, d)
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return m, fmt.Errorf("%s: %w: remove it from the registry", ref.Familiar(), err)
	}
	if m.MediaType != "" && !m.MediaType.IsImage() {
		return m, fmt.Errorf("%s: a %s lies where signatures belong: remove it from the registry", ref.Familiar(), m.MediaType)
	}
	m.MediaType = types.OCIManifestSchema1
	return m, nil
}

// digestsOf lists the digests of layers that are not compressed.
func digestsOf(layers []v1.Descriptor) []v1.Hash {
	list := make([]v1.Hash, len(layers))
	for i, l := range layers {
		list[i] = l.Digest
	}
	return list
}

func putManifest(ctx context.Context, at Place, ref artifact.Reference, m v1.Manifest) (v1.Descriptor, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return blob{mediaType: types.OCIManifestSchema1, content: text}.put(ctx, at, ref)
}
