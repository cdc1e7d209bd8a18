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
	"github.com/sealrt/sealrt/builder/remote"
)

// scratch is the name of the empty base.
const scratch = "scratch"

// base is the image that a stage starts from.
type base struct {
	name     string // as the user would write it; scratch for none
	manifest *v1.Manifest
	config   *v1.ConfigFile
	fetch    func(context.Context, *task) error // brings its blobs into the store; nil: they are there
}

// begin replaces the variables of FROM and returns the name of the stage or image. The stage's platform is known then,
// unless it is that of another stage.
func (s *stage) begin() (string, error) {
	f := s.source.From
	vars, err := newScope(s.Options, s.target)
	if err != nil {
		return "", err
	}
	words, err := vars.expandAll([]string{f.Image, f.Platform})
	if err != nil {
		return "", mistake(s.File, f, err.Error(), "")
	}
	if words[0] == "" {
		return "", mistake(s.File, f, fmt.Sprintf("%q is empty once its variables are replaced", f.Image), "give them values with --build-arg or in ARG lines before FROM")
	}
	s.platform = s.target
	if words[1] != "" {
		p, err := v1.ParsePlatform(words[1])
		if err != nil {
			return "", mistake(s.File, f, fmt.Sprintf("platform %q: %v", words[1], err), "")
		}
		s.platform = *p
	}
	return words[0], nil
}

// findBase finds the image that a FROM names, for the platform of the stage.
func (b *build) findBase(ctx context.Context, s *stage, name string) (*base, error) {
	if name == scratch {
		return &base{name: name, manifest: &v1.Manifest{}, config: &v1.ConfigFile{}}, nil
	}
	f := s.source.From
	found, err := b.imageNamed(ctx, name, s.platform)
	if err != nil {
		var names []string
		for _, other := range b.File.Stages[:s.index] {
			names = append(names, other.From.As)
		}
		return nil, s.at(f, fmt.Errorf("%w%s", err, didYouMean(name, names)))
	}
	if n := len(found.config.Config.OnBuild); n > 0 {
		return nil, mistake(b.File, f, fmt.Sprintf("%s has %d ONBUILD triggers, which are not supported", name, n), "write them into the Kubefile")
	}
	return found, nil
}

// imageNamed finds an image, in the store or else in the source. Its layers need not be in the store yet.
func (b *build) imageNamed(ctx context.Context, name string, p v1.Platform) (*base, error) {
	ref, err := artifact.ParseReference(name)
	if err != nil {
		return nil, err
	}
	made, err, _ := b.shared.Do("image "+ref.String()+" "+p.String(), func() (any, error) {
		found, err := b.stored(ctx, ref, p)
		if errors.Is(err, artifact.ErrNotFound) || errors.Is(err, errWrongPlatform) {
			found, err = b.offered(ctx, ref, p, err)
		}
		return found, err
	})
	if err != nil {
		return nil, err
	}
	return made.(*base), nil //nolint:forcetypeassert // the function above returns nothing else
}

// locked returns src as the lock sees it.
func (b *build) locked(src artifact.Source, kind remote.LockKind, p v1.Platform) artifact.Source {
	if b.Lock == nil {
		return src
	}
	return b.Lock.Source(src, p, kind, b.Frozen)
}

// errWrongPlatform marks an image for another platform.
var errWrongPlatform = errors.New("wrong platform")

// stored finds an image in the store. One of which blobs are missing there is not found.
func (b *build) stored(ctx context.Context, ref artifact.Reference, p v1.Platform) (*base, error) {
	found, _, err := b.read(ctx, b.locked(b.Store, remote.LockBase, p), ref, p)
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

// offered finds an image in the source; absent is the error for a build without one. It is fetched when a stage needs
// it: under its own name, or by digest when that name is taken, or is for the image of the first platform.
func (b *build) offered(ctx context.Context, ref artifact.Reference, p v1.Platform, absent error) (*base, error) {
	if b.Source == nil {
		return nil, absent
	}
	src := b.locked(b.Source, remote.LockBase, p)
	found, d, err := b.read(ctx, src, ref, p)
	if err != nil {
		return nil, err
	}
	found.fetch = func(ctx context.Context, t *task) error {
		to := ref
		if _, err := b.Store.Resolve(ctx, ref); !errors.Is(err, artifact.ErrNotFound) || p.String() != b.first {
			to = ref.WithDigest(d.Digest) // the name stays with what it names
		}
		o := artifact.CopyOptions{Jobs: b.Jobs, Platform: &p, Observe: t.transfer}
		_, err := artifact.Copy(ctx, b.Store, to, src, ref.WithDigest(d.Digest), o)
		return err
	}
	return found, nil
}

// read reads manifest and config of a base, and checks its platform.
func (b *build) read(ctx context.Context, src artifact.Source, ref artifact.Reference, p v1.Platform) (*base, v1.Descriptor, error) {
	d, manifest, config, err := artifact.Manifest(ctx, src, ref, &p)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	if config.OS == "" || config.Architecture == "" {
		b.note(fmt.Sprintf("%s names no platform and is taken to fit %s", ref.Familiar(), p))
	} else if have := config.Platform(); !artifact.MatchPlatform(*have, p) {
		return nil, v1.Descriptor{}, fmt.Errorf("%w: %s is for %s, %s is wanted", errWrongPlatform, ref.Familiar(), have, p)
	}
	if len(manifest.Layers) != len(config.RootFS.DiffIDs) {
		return nil, v1.Descriptor{}, fmt.Errorf("%s: the manifest has %d layers, the config %d: the image is damaged", ref.Familiar(), len(manifest.Layers), len(config.RootFS.DiffIDs))
	}
	return &base{name: ref.Familiar(), manifest: manifest, config: config}, d, nil
}

// fromBase returns the image that the first instruction finds, of the base, which is fetched.
func (s *stage) fromBase(ctx context.Context) (*image, error) {
	from := s.base
	m := &image{tree: newTree(), inherits: copyMap(from.config.Config.Labels), config: v1.ConfigFile{
		Architecture: s.platform.Architecture, OS: s.platform.OS, Variant: s.platform.Variant,
		Created: v1.Time{Time: s.Created}, Author: from.config.Author, Config: *from.config.Config.DeepCopy(),
		History: append([]v1.History{}, from.config.History...),
	}}
	if from.name == scratch {
		return m, nil
	}
	t := s.newTask("[" + from.name + "] " + s.platform.String())
	err := s.fill(ctx, m, t)
	if err != nil && s.source != nil {
		err = s.at(s.source.From, err)
	}
	if err != nil {
		t.fail(ctx, err)
		return nil, err
	}
	t.done()
	return m, nil
}

// fill gives m the layers of the base.
func (s *stage) fill(ctx context.Context, m *image, t *task) error {
	from := s.base
	if from.fetch != nil {
		_, err, _ := s.shared.Do("fetch "+from.name+" "+s.platform.String(), func() (any, error) { return nil, from.fetch(ctx, t) })
		if err != nil {
			return err
		}
	}
	filled := 0
	for _, h := range m.config.History {
		if !h.EmptyLayer {
			filled++
		}
	}
	if filled != len(from.manifest.Layers) { // the base does not tell: one line a layer, so that ours fit
		m.config.History = nil
		for range from.manifest.Layers {
			m.addHistory("FROM "+from.name, s.Created, false)
		}
	}
	for i, l := range from.manifest.Layers {
		d, err := ociLayer(l)
		if err != nil {
			return err
		}
		entries, err := s.viewLayer(ctx, d)
		if err != nil {
			return err
		}
		m.tree.apply(entries)
		m.holds = append(m.holds, nil)
		m.layers = append(m.layers, there(record{Digest: d.Digest, DiffID: from.config.RootFS.DiffIDs[i], Size: d.Size, MediaType: d.MediaType}))
	}
	return nil
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
