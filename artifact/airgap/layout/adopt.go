package layout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Adopt makes the index.json of an image layout that another tool wrote one of a
// cluster image: every image gets its full name, which is how container runtimes
// look for it. An image without a name, or without some of its content for the
// platform, is an error that lists all of these. What its blobs contain is not
// verified.
func Adopt(ctx context.Context, images *Layout, platform v1.Platform) ([]byte, error) {
	index := images.Index()
	idx, err := ParseIndex(index)
	if err != nil {
		return nil, err
	}
	var bad []error
	for i, d := range idx.Manifests {
		if AttachedName(d) != "" {
			continue
		}
		about, err := ReadSubject(ctx, images, d)
		if err == nil && NameOf(d) == "" && about.Subject != nil { // a signature
			continue
		}
		named, ref, err := adopted(d)
		if err == nil {
			err = present(ctx, images, ref.WithDigest(d.Digest), platform)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			bad = append(bad, fmt.Errorf("image %d: %w", i+1, err))
			continue
		}
		idx.Manifests[i] = named
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	if before, err := ParseIndex(index); err != nil || reflect.DeepEqual(before, idx) {
		return index, err
	}
	return json.Marshal(idx)
}

// adopted returns an entry with its full name. A tag alone, which is what some
// tools write, is none.
func adopted(d v1.Descriptor) (v1.Descriptor, artifact.Reference, error) {
	name := NameOf(d)
	if !strings.ContainsAny(name, "/:@") {
		return d, artifact.Reference{}, fmt.Errorf("%s has no full name by which a node could ask for it: write it there as NAME:TAG (skopeo copy … oci:FOLDER:NAME:TAG)", d.Digest)
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return d, ref, err
	}
	if short := d.Annotations[artifact.AnnotationRefName]; name == ref.String() && (short == "" || short == ref.Tag()) {
		return d, ref, nil
	}
	d.Annotations = maps.Clone(d.Annotations)
	d.Annotations[artifact.AnnotationContainerdName] = ref.String()
	d.Annotations[artifact.AnnotationRefName] = ref.String()
	return d, ref, nil
}

// present returns an error if some of an image is not there.
func present(ctx context.Context, images Blobs, ref artifact.Reference, platform v1.Platform) error {
	_, m, _, err := artifact.Manifest(ctx, images, ref, &platform)
	if errors.Is(err, artifact.ErrPlatform) {
		return nil // it may be wanted for another one
	}
	if err != nil {
		return fmt.Errorf("it is not whole: %w: copy all of it there", err)
	}
	for _, l := range m.Layers {
		if _, err := images.BlobSize(ctx, l.Digest); err != nil {
			return fmt.Errorf("it is not whole: %s: layer %s is missing: copy all of it there", ref.Familiar(), l.Digest)
		}
	}
	return nil
}
