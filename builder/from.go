package builder

import (
	"context"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// scratch is the name of the empty base.
const scratch = "scratch"

// base is the image that a stage starts from.
type base struct {
	name     string // as the user would write it; scratch for none
	manifest *v1.Manifest
	config   *v1.ConfigFile
}

// findBase finds the image that a FROM names, in the store or else in the source, for the platform of the build. It
// is then in the store.
func (b *building) findBase(ctx context.Context, f *kubefile.From) (*base, error) {
	name, err := b.baseName(f)
	if err != nil {
		return nil, err
	}
	if name == scratch {
		return &base{name: name, manifest: &v1.Manifest{}, config: &v1.ConfigFile{}}, nil
	}
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, mistake(b.File, f, err.Error(), "")
	}
	found, err := b.stored(ctx, ref)
	if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, errWrongPlatform) {
		found, err = b.fetch(ctx, ref, err)
	}
	if err != nil {
		return nil, b.at(f, err)
	}
	if n := len(found.config.Config.OnBuild); n > 0 {
		return nil, mistake(b.File, f, fmt.Sprintf("%s has %d ONBUILD triggers, which are not supported yet", name, n), "")
	}
	return found, nil
}

// baseName replaces the variables of a FROM, and checks its platform.
func (b *building) baseName(f *kubefile.From) (string, error) {
	s, err := newScope(b.Options, b.platform)
	if err != nil {
		return "", err
	}
	words, err := s.expandAll([]string{f.Image, f.Platform})
	if err != nil {
		return "", mistake(b.File, f, err.Error(), "")
	}
	if words[0] == "" {
		return "", mistake(b.File, f, fmt.Sprintf("%q is empty once its variables are replaced", f.Image), "give them values with --build-arg or in ARG lines before FROM")
	}
	if words[1] == "" {
		return words[0], nil
	}
	p, err := v1.ParsePlatform(words[1])
	if err != nil {
		return "", mistake(b.File, f, fmt.Sprintf("platform %q: %v", words[1], err), "")
	}
	if !artifact.MatchPlatform(b.platform, *p) {
		return "", mistake(b.File, f, fmt.Sprintf("the base is to be for %s, but the image for %s", p, b.platform), "leave --platform out of FROM, or build with --platform "+p.String())
	}
	return words[0], nil
}

// errWrongPlatform marks an image for another platform.
var errWrongPlatform = errors.New("wrong platform")

// stored finds a base in the store. An image of which blobs are missing there is not found.
func (b *building) stored(ctx context.Context, ref artifact.Reference) (*base, error) {
	found, _, err := b.read(ctx, b.Store, ref)
	if err != nil {
		return nil, err
	}
	for _, l := range found.manifest.Layers {
		ok, err := b.Store.Has(ctx, ref, l)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%s: layer %s: %w", ref.Familiar(), l.Digest, artifact.ErrNotFound)
		}
	}
	return found, nil
}

// fetch copies a base into the store: under its own name, or by digest when that name is taken by an image for other
// platforms. absent is the error for a build without a source.
func (b *building) fetch(ctx context.Context, ref artifact.Reference, absent error) (*base, error) {
	if b.Source == nil {
		return nil, absent
	}
	found, d, err := b.read(ctx, b.Source, ref)
	if err != nil {
		return nil, err
	}
	to := ref
	if _, err := b.Store.Resolve(ctx, ref); !errors.Is(err, artifact.ErrNotFound) {
		to = ref.WithDigest(d.Digest) // the name stays with what it names
	}
	o := artifact.CopyOptions{Jobs: b.Jobs, Platform: &b.platform, Observe: b.Observe}
	if _, err := artifact.Copy(ctx, b.Store, to, b.Source, ref.WithDigest(d.Digest), o); err != nil {
		return nil, err
	}
	return found, nil
}

// read reads manifest and config of a base, and checks its platform.
func (b *building) read(ctx context.Context, src artifact.Source, ref artifact.Reference) (*base, v1.Descriptor, error) {
	d, manifest, config, err := artifact.Manifest(ctx, src, ref, &b.platform)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	if config.OS == "" || config.Architecture == "" {
		b.note("%s names no platform and is taken to fit %s", ref.Familiar(), b.platform)
	} else if have := config.Platform(); !artifact.MatchPlatform(*have, b.platform) {
		return nil, v1.Descriptor{}, fmt.Errorf("%w: %s is for %s, %s is wanted", errWrongPlatform, ref.Familiar(), have, b.platform)
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, v1.Descriptor{}, fmt.Errorf("%s: the manifest has %d layers, the config %d: the image is damaged", ref.Familiar(), len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	return &base{ref.Familiar(), manifest, config}, d, nil
}

// start makes the image that the first instruction finds.
func (b *building) start(ctx context.Context, from *base) (*image, error) {
	m := &image{tree: newTree(), config: v1.ConfigFile{
		Architecture: b.platform.Architecture, OS: b.platform.OS, Variant: b.platform.Variant,
		Created: v1.Time{Time: b.Created}, Author: from.config.Author, Config: *from.config.Config.DeepCopy(),
		RootFS:  v1.RootFS{DiffIDs: append([]v1.Hash{}, from.config.RootFS.DiffIDs...)},
		History: append([]v1.History{}, from.config.History...),
	}}
	filled := 0
	for _, h := range m.config.History {
		if !h.EmptyLayer {
			filled++
		}
	}
	if filled != len(from.manifest.Layers) { // the base does not tell: one line a layer, so that ours fit
		m.config.History = nil
		for range from.manifest.Layers {
			m.addHistory("FROM "+from.name, b.Created, false)
		}
	}
	for _, l := range from.manifest.Layers {
		d, err := ociLayer(l)
		if err != nil {
			return nil, err
		}
		entries, err := viewLayer(ctx, b.Store, d)
		if err != nil {
			return nil, err
		}
		m.tree.apply(entries)
		m.layers = append(m.layers, d)
	}
	return m, nil
}

// ociLayer gives a layer of a docker manifest its OCI media type: the bytes are the same.
func ociLayer(d v1.Descriptor) (v1.Descriptor, error) {
	switch mt := d.MediaType; {
	case mt == types.DockerLayer:
		mt = types.OCILayer
		d.MediaType = mt
	case mt == types.DockerUncompressedLayer:
		d.MediaType = layer.None.MediaType()
	case !mt.IsDistributable() || !strings.HasPrefix(string(mt), "application/vnd.oci.image.layer."):
		return d, fmt.Errorf("layer %s has media type %s, from which no cluster image can be made", d.Digest, mt)
	}
	return v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest}, nil
}
