package export

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// all pushes what a tag means on all platforms: upstream's index if it is here
// with all its images, or else one of those that are.
func (p *pushing) all(ctx context.Context, w *wanted) error {
	d := w.on[0].desc
	if d.MediaType.IsIndex() {
		return p.index(ctx, w, d)
	}
	upstream, absent, err := p.upstream(ctx, w)
	if err != nil {
		return err
	}
	if upstream.Digest.Hex != "" && len(absent) == 0 {
		return p.copy(ctx, w, upstream, nil)
	}
	if !slices.ContainsFunc(w.on, func(o onPlatform) bool { return o.desc.Digest != d.Digest }) {
		p.o.Note(fmt.Sprintf("%s is the manifest %s, the only one in the cluster image; %s", w.to.Familiar(), d.Digest, why(upstream, absent)))
		return p.copy(ctx, w, d, nil)
	}
	raw, err := p.rebuild(ctx, w)
	if err != nil {
		return err
	}
	made := v1.Descriptor{MediaType: types.OCIImageIndex, Digest: layout.DigestOf(raw), Size: int64(len(raw))}
	got, err := p.send(ctx, addition{p.src, made, raw}, w, w.to, made, nil)
	if err != nil {
		return err
	}
	var platforms []string
	for _, o := range w.on {
		platforms = append(platforms, o.platform.String())
	}
	p.o.Note(fmt.Sprintf("%s is the index %s, made of what the cluster image has for %s; %s", w.to.Familiar(), got.Digest, strings.Join(platforms, ", "), why(upstream, absent)))
	return p.o.Pushed(w.to, got)
}

// why says why the digest is not upstream's.
func why(upstream v1.Descriptor, absent []v1.Descriptor) string {
	if upstream.Digest.Hex == "" {
		return "upstream's index is not in the cluster image, since no reference names its digest"
	}
	return fmt.Sprintf("upstream's is the index %s, of which the cluster image lacks %s", upstream.Digest, platformsOf(absent))
}

// upstream returns the index that a tag means upstream, if another name of its
// repository keeps it, and what of it is not here.
func (p *pushing) upstream(ctx context.Context, w *wanted) (v1.Descriptor, []v1.Descriptor, error) {
	for _, v := range p.variants {
		for _, e := range v.Images.Entries() {
			ref, err := artifact.ParseReference(e.Name)
			if err != nil || ref.Name() != w.from.Name() || !e.Desc.MediaType.IsIndex() {
				continue
			}
			here, absent, err := layout.Split(ctx, p.src, e.Desc)
			if err != nil {
				return v1.Descriptor{}, nil, err
			}
			if slices.ContainsFunc(here, func(d v1.Descriptor) bool { return d.Digest == w.on[0].desc.Digest }) {
				return e.Desc, absent, nil
			}
		}
	}
	return v1.Descriptor{}, nil, nil
}

// rebuild makes an index of what a name means on each platform.
func (p *pushing) rebuild(ctx context.Context, w *wanted) ([]byte, error) {
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, o := range w.on {
		_, _, cfg, err := artifact.Manifest(ctx, p.src, w.from.WithDigest(o.desc.Digest), &o.platform)
		if err != nil {
			return nil, err
		}
		d := layout.Bare(o.desc)
		d.Platform = &v1.Platform{
			OS: cmp.Or(cfg.OS, o.platform.OS), Architecture: cmp.Or(cfg.Architecture, o.platform.Architecture),
			Variant: cmp.Or(cfg.Variant, o.platform.Variant), OSVersion: cfg.OSVersion,
		}
		idx.Manifests = append(idx.Manifests, d)
	}
	slices.SortStableFunc(idx.Manifests, func(a, b v1.Descriptor) int {
		return cmp.Or(strings.Compare(a.Platform.String(), b.Platform.String()), strings.Compare(a.Digest.Hex, b.Digest.Hex))
	})
	return json.Marshal(idx)
}

// addition is a source with one document more.
type addition struct {
	artifact.Source
	desc v1.Descriptor
	raw  []byte
}

// Resolve implements artifact.Source.
func (a addition) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	if h, ok := ref.Digest(); ok && h == a.desc.Digest {
		return a.desc, nil
	}
	return a.Source.Resolve(ctx, ref)
}

// Open implements artifact.Source.
func (a addition) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.Digest == a.desc.Digest {
		return io.NopCloser(bytes.NewReader(a.raw[min(offset, a.desc.Size):])), nil
	}
	return a.Source.Open(ctx, ref, d, offset)
}

// index pushes an index by its digest: all of it, or else what is here of it.
func (p *pushing) index(ctx context.Context, w *wanted, d v1.Descriptor) error {
	here, absent, err := layout.Split(ctx, p.src, d)
	if err != nil {
		return err
	}
	if len(absent) == 0 {
		return p.copy(ctx, w, d, nil)
	}
	for _, child := range here {
		if _, err := p.send(ctx, p.src, w, untagged(w.to, child.Digest), child, nil); err != nil {
			return err
		}
	}
	open := func(offset int64) (io.ReadCloser, error) { return p.src.Open(ctx, w.from, d, offset) }
	has, err := p.dst.Has(ctx, w.to, d)
	if err == nil && !has {
		err = p.dst.Put(ctx, w.to, d, open)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		p.refused = append(p.refused, fmt.Errorf("%s: the registry takes no index of which %s is not in the cluster image: %w", w.to, platformsOf(absent), err))
		return nil
	}
	if err := p.dst.Tag(ctx, w.to, d); err != nil {
		return err
	}
	return p.o.Pushed(w.to, d)
}

// platformsOf lists the platforms of an index's entries for people.
func platformsOf(list []v1.Descriptor) string {
	var words []string
	for _, d := range list {
		switch {
		case d.Platform == nil:
			words = append(words, d.Digest.String())
		case d.Platform.OS == "unknown":
			words = append(words, "an attestation")
		default:
			words = append(words, d.Platform.String())
		}
	}
	slices.Sort(words)
	return strings.Join(slices.Compact(words), ", ")
}
