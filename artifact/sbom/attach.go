package sbom

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Place is where an image lies that a document is attached to.
type Place interface {
	artifact.Sink
	artifact.Attacher
}

// Attach puts a document beside the image that it is about, the manifest subject
// in the repository of a.Ref, and returns what it is there: a manifest that names
// its subject (OCI image-spec, manifest.md, "Guidelines for Artifact Usage").
// Attaching the same document again changes nothing.
func Attach(ctx context.Context, to Place, a About, subject v1.Descriptor, f Format, document []byte) (artifact.Named, error) {
	n, err := attach(ctx, to, a, subject, f, document)
	if err != nil {
		return artifact.Named{}, fmt.Errorf("attach the bill of materials to %s: %w", a.Ref.Familiar(), err)
	}
	return n, nil
}

func attach(ctx context.Context, to Place, a About, subject v1.Descriptor, f Format, document []byte) (artifact.Named, error) {
	m := imagespec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: imagespec.MediaTypeImageManifest, ArtifactType: f.MediaType(),
		Config: imagespec.DescriptorEmptyJSON,
		Layers: []imagespec.Descriptor{{MediaType: f.MediaType(), Digest: digest.FromBytes(document), Size: int64(len(document)),
			Annotations: map[string]string{imagespec.AnnotationTitle: "sbom." + string(f) + ".json"}}},
		Subject:     &imagespec.Descriptor{MediaType: string(subject.MediaType), Digest: digest.Digest(subject.Digest.String()), Size: subject.Size},
		Annotations: map[string]string{imagespec.AnnotationCreated: a.created()},
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return artifact.Named{}, err
	}
	empty := imagespec.DescriptorEmptyJSON
	for _, blob := range []struct {
		mediaType string
		content   []byte
	}{{empty.MediaType, empty.Data}, {f.MediaType(), document}} {
		if _, err := put(ctx, to, a.Ref, blob.mediaType, blob.content); err != nil {
			return artifact.Named{}, err
		}
	}
	d, err := put(ctx, to, a.Ref, m.MediaType, raw)
	if err != nil {
		return artifact.Named{}, err
	}
	d.ArtifactType = m.ArtifactType
	ref, err := digested(a.Ref, d.Digest)
	if err != nil {
		return artifact.Named{}, err
	}
	n := artifact.Named{Ref: ref, Desc: d}
	about, err := digested(a.Ref, subject.Digest)
	if err != nil {
		return artifact.Named{}, err
	}
	return n, to.Attach(ctx, about, n)
}

// digested returns what h is called in the repository of ref, without a tag.
func digested(ref artifact.Reference, h v1.Hash) (artifact.Reference, error) {
	return artifact.ParseReference(ref.Name() + "@" + h.String())
}

// put stores a few bytes.
func put(ctx context.Context, to artifact.Sink, ref artifact.Reference, mediaType string, b []byte) (v1.Descriptor, error) {
	h, size, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, err
	}
	d := v1.Descriptor{MediaType: types.MediaType(mediaType), Digest: h, Size: size}
	if ok, err := to.Has(ctx, ref, d); err != nil || ok {
		return d, err
	}
	return d, to.Put(ctx, ref.WithDigest(h), d, func(offset int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(b[min(offset, size):])), nil
	})
}
