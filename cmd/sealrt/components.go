package main

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/registry"
	"github.com/sealrt/sealrt/distros"
	"github.com/sealrt/sealrt/runtime"
)

// componentJSON is a part of a distribution.
type componentJSON struct{ runtime.ComponentVersion }

// what says which version a part has, and how that is known.
func (c componentJSON) what() string {
	text := c.Name + " " + c.Version
	if c.From != "" {
		text += "  (" + c.From + ")"
	}
	return text
}

// partsOf reads the versions of a distribution's parts out of an image; none when
// its driver does not know of any.
func partsOf(ctx context.Context, driver runtime.Driver, src artifact.Source, ref artifact.Reference, v variant, images []string) ([]componentJSON, error) {
	composed, ok := driver.(runtime.Composed)
	if !ok {
		return nil, nil
	}
	found, err := composed.Components().Versions(ctx, src, ref, v.manifest, v.config, images)
	var out []componentJSON
	for _, c := range found {
		out = append(out, componentJSON{c})
	}
	return out, err
}

// lookAtParts lists the components of a rootfs image that is here. A program that
// cannot be read is a problem of the image.
func (j *variantJSON) lookAtParts(ctx context.Context, env *environment, src artifact.Source, ref artifact.Reference, v variant) error {
	if _, remote := src.(*registry.Client); remote || j.Type != artifact.TypeRootfs {
		return nil
	}
	driver, err := distros.New(runtime.Image{Ref: ref, Kind: artifact.KindOf(v.config)})
	if err != nil {
		return nil //nolint:nilerr // a distribution that no driver knows
	}
	var images []string
	for _, i := range j.Inside {
		images = append(images, i.Name)
	}
	if j.Components, err = partsOf(ctx, driver, src, ref, v, images); err != nil && ctx.Err() == nil {
		if j.Problem == "" {
			j.Problem = err.Error()
		}
		env.note("%s: %v", j.Platform, err)
		return nil
	}
	return err
}

// components lists the components of the cluster's image, if the store has it.
func (k *known) components(ctx context.Context) ([]componentJSON, error) {
	image := k.cluster.Image()
	digest, err := v1.NewHash(image.Digest)
	if err != nil {
		return nil, nil //nolint:nilerr // it is not known which image
	}
	store, err := k.env.heldStore(ctx)
	if err != nil {
		k.env.note("components are not shown: %v", err)
		return nil, nil
	}
	v, ref := variant{}, image.Ref.WithDigest(digest)
	if v.desc, v.manifest, v.config, err = artifact.Manifest(ctx, store, ref, nil); errors.Is(err, artifact.ErrNotFound) {
		return nil, nil
	}
	var found []componentJSON
	if err == nil {
		found, err = partsOf(ctx, k.driver, store, ref, v, image.Images)
	}
	if err != nil && ctx.Err() == nil {
		k.env.note("components: %v", err)
		return found, nil
	}
	return found, err
}
