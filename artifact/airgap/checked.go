package airgap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// ofBase stands for the place that asks for the images of the base image.
const ofBase = "images/index.json of the base image"

// UnsignedError lists every image that Options.Check refuses.
type UnsignedError struct {
	Unsigned []Missing
}

func (e *UnsignedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the images are not signed as required:", len(e.Unsigned))
	for _, m := range e.Unsigned {
		fmt.Fprintf(&b, "\n  %s: %v", strings.Join(m.Where, ", "), m.Err)
	}
	return b.String()
}

// Unwrap returns the causes.
func (e *UnsignedError) Unwrap() []error {
	errs := make([]error, len(e.Unsigned))
	for i, m := range e.Unsigned {
		errs[i] = m.Err
	}
	return errs
}

// CheckBase asks o.Check about the images of the base image alone. The error is
// an *UnsignedError when it refuses some.
func CheckBase(ctx context.Context, o Options) error {
	return checkSignatures(ctx, nil, nil, o)
}

// checkSignatures tells which signatures could not be had and asks o.Check about
// every image: those that were found, and those that the base image has besides.
// What the base carries counts for both. The error is an *UnsignedError.
func checkSignatures(ctx context.Context, wanted []*Request, found []*resolved, o Options) error {
	noteUnknown(found, o)
	if o.Check == nil {
		return nil
	}
	base, err := readCarried(ctx, o)
	if err != nil {
		return fmt.Errorf("%s: %w", ofBase, err)
	}
	var unsigned []Missing
	check := func(s Signed, where []string) {
		if err := o.Check(ctx, s); err != nil {
			unsigned = append(unsigned, Missing{Ref: s.Ref, Where: where, Err: err})
		}
	}
	where := map[string][]string{}
	for i, f := range found {
		if f.signed == nil { // it is the base's
			for _, d := range f.entries {
				where[layout.NameOf(d)] = append(where[layout.NameOf(d)], wanted[i].Where...)
			}
			continue
		}
		s := *f.signed
		base.add(&s)
		check(s, slices.Compact(wanted[i].Where))
		for _, d := range f.entries {
			delete(base.images, layout.NameOf(d))
		}
	}
	for _, d := range base.order {
		if _, kept := base.images[layout.NameOf(d)]; !kept {
			continue
		}
		s, err := base.signed(ctx, d)
		if err != nil {
			return fmt.Errorf("%s: %w", ofBase, err)
		}
		check(s, append(slices.Compact(where[layout.NameOf(d)]), ofBase))
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(unsigned) > 0 {
		return &UnsignedError{Unsigned: unsigned}
	}
	return nil
}

// noteUnknown tells the user, once for each registry, that signatures may be
// missing in what is built.
func noteUnknown(found []*resolved, o Options) {
	told := map[string]bool{}
	for _, f := range found {
		if f.signed == nil || f.signed.Err == nil || told[f.signed.Ref.Domain()] {
			continue
		}
		told[f.signed.Ref.Domain()] = true
		o.Observe(artifact.Event{Kind: artifact.EventNote, Ref: f.signed.Ref.Familiar(),
			Name: fmt.Sprintf("signatures of images of %s may be missing: %v", f.signed.Ref.Domain(), f.signed.Err)})
	}
}

// carried are the images of the base image and what is attached to them.
type carried struct {
	o        Options
	images   map[string]v1.Descriptor
	order    []v1.Descriptor // of images
	attached []attachment
}

// attachment is something that is attached to subject.
type attachment struct {
	artifact.Named
	subject v1.Hash
}

// readCarried reads the index.json of the base image.
func readCarried(ctx context.Context, o Options) (*carried, error) {
	c := &carried{o: o, images: map[string]v1.Descriptor{}}
	if len(o.BaseIndex) == 0 {
		return c, nil
	}
	idx, err := layout.ParseIndex(o.BaseIndex)
	if err != nil {
		return nil, err
	}
	for _, d := range idx.Manifests {
		if name := layout.NameOf(d); name != "" {
			c.images[name] = d
			c.order = append(c.order, d)
			continue
		}
		ref, err := artifact.ParseReference(layout.AttachedName(d))
		if err != nil || o.Base == nil {
			continue // not ours
		}
		n := artifact.Named{Ref: ref, Desc: d}
		subject, err := layout.SubjectOf(ctx, o.Base, n)
		if err != nil {
			return nil, err
		}
		c.attached = append(c.attached, attachment{n, subject})
	}
	return c, nil
}

// add adds to an image what the base image has that is attached to it.
func (c *carried) add(s *Signed) {
	if len(c.attached) == 0 {
		return
	}
	s.Source = preferring{c.o.Base, c.o.Have, s.Source}
	s.Signatures = slices.Clone(s.Signatures)
	for _, a := range c.attached {
		same := func(d v1.Descriptor) bool { return d.Digest == a.subject }
		known := func(n artifact.Named) bool { return n.Desc.Digest == a.Desc.Digest }
		if a.Ref.Name() == s.Ref.Name() && slices.ContainsFunc(s.Subjects, same) && !slices.ContainsFunc(s.Signatures, known) {
			s.Signatures = append(s.Signatures, a.Named)
		}
	}
}

// signed returns an image of the base image with what is attached to it there.
func (c *carried) signed(ctx context.Context, d v1.Descriptor) (Signed, error) {
	ref, err := artifact.ParseReference(layout.NameOf(d))
	if err != nil {
		return Signed{}, err
	}
	s := Signed{Ref: ref.WithDigest(d.Digest), Subjects: []v1.Descriptor{layout.Bare(d)}, Source: c.o.Base}
	if c.o.Base == nil {
		s.Err = errors.New("the base image cannot be read")
		return s, nil
	}
	more, err := c.related(ctx, ref, d)
	if err != nil {
		return Signed{}, err
	}
	s.Subjects = append(s.Subjects, more...)
	c.add(&s)
	return s, nil
}

// related returns the manifests in an index that the base image has, or the
// signed indexes there that have the manifest.
func (c *carried) related(ctx context.Context, ref artifact.Reference, d v1.Descriptor) ([]v1.Descriptor, error) {
	if d.MediaType.IsIndex() {
		idx, _, err := c.index(ctx, ref, d.Digest)
		if err != nil || idx == nil {
			return nil, err
		}
		return slices.DeleteFunc(idx.Manifests, func(child v1.Descriptor) bool { return !c.has(child.Digest) }), nil
	}
	var list []v1.Descriptor
	for _, a := range c.attached {
		if a.Ref.Name() != ref.Name() || a.subject == d.Digest || !c.has(a.subject) ||
			slices.ContainsFunc(list, func(l v1.Descriptor) bool { return l.Digest == a.subject }) {
			continue
		}
		idx, size, err := c.index(ctx, ref, a.subject)
		if err != nil {
			return nil, err
		}
		if idx != nil && slices.ContainsFunc(idx.Manifests, func(child v1.Descriptor) bool { return child.Digest == d.Digest }) {
			list = append(list, v1.Descriptor{MediaType: types.OCIImageIndex, Digest: a.subject, Size: size})
		}
	}
	return list, nil
}

// index reads an index of the base image, and its size in bytes. It is nil when
// the blob is something else.
func (c *carried) index(ctx context.Context, ref artifact.Reference, h v1.Hash) (*v1.IndexManifest, int64, error) {
	b, err := readDigest(ctx, c.o.Base, ref, h)
	if err != nil {
		return nil, 0, err
	}
	idx, err := v1.ParseIndexManifest(bytes.NewReader(b))
	if err != nil || len(idx.Manifests) == 0 {
		return nil, 0, nil //nolint:nilerr // a manifest, then
	}
	return idx, int64(len(b)), nil
}

// has reports whether the base image has a blob.
func (c *carried) has(h v1.Hash) bool {
	return h.Hex != "" && (c.o.Have == nil || c.o.Have(h))
}

// preferring is a source of blobs that are read from the base image where that
// has them.
type preferring struct {
	base artifact.Source
	have func(v1.Hash) bool
	artifact.Source
}

// Open implements artifact.Source.
func (p preferring) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if p.have != nil && p.have(d.Digest) {
		return p.base.Open(ctx, ref, d, offset)
	}
	return p.Source.Open(ctx, ref, d, offset)
}
