package policy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/trust"
)

// formats are the lists of contents, by what is attested. The names are part of
// all media types that tools have for them.
//
//nolint:gochecknoglobals // a table
var formats = map[string]string{"spdx": trust.PredicateSPDX, "cyclonedx": trust.PredicateCycloneDX}

// contents judges whether the contents of the image are listed: of what the
// reference names, or of each image in it.
func (j *judgement) contents(ctx context.Context) error {
	if j.p.SBOM == nil {
		return nil
	}
	lack, err := j.lacksContents(ctx, j.found)
	if err != nil || lack == nil {
		return err
	}
	children, err := j.children(ctx)
	if err != nil {
		return err
	}
	for _, child := range children {
		more, err := j.lacksContents(ctx, child)
		if err != nil {
			return err
		}
		if more != nil {
			children = nil
		}
	}
	if len(children) > 0 {
		return nil
	}
	next := "make one with `sealrt sbom --attach --format " + j.formats()[0] + " " + j.img.Ref.Familiar() + "`, which push and save carry along"
	if j.p.SBOM.Signed {
		kind := cmp.Or(strings.Replace(j.p.SBOM.Format, "spdx", "spdxjson", 1), "spdxjson")
		next = "attest it with `sealrt attest --key KEY --type " + kind + " --predicate FILE " + j.img.Ref.Familiar() + "`"
	}
	j.violate("sbom", lack.Error(), next)
	return nil
}

// children returns the images of an index that are at hand.
func (j *judgement) children(ctx context.Context) ([]trust.Image, error) {
	root := j.found.Subjects[0]
	if !root.MediaType.IsIndex() {
		return nil, nil
	}
	raw, err := artifact.ReadManifest(ctx, j.found.Source, j.found.Ref, root)
	if err != nil {
		return nil, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: index: %w", j.img.Name, err)
	}
	var list []trust.Image
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue // a note that a build tool attached, no image
		}
		child := trust.Image{Ref: j.img.Ref.WithDigest(d.Digest), Subjects: []v1.Descriptor{d}, Source: j.found.Source}
		if _, err := artifact.ReadManifest(ctx, child.Source, child.Ref, d); errors.Is(err, artifact.ErrNotFound) {
			continue // only some platforms were copied
		} else if err != nil {
			return nil, err
		}
		child.Signatures, child.Err = trust.Attached(ctx, child.Source, child.Ref)
		list = append(list, child)
	}
	return list, nil
}

// lacksContents says why an image is taken to have no list of its contents.
func (j *judgement) lacksContents(ctx context.Context, img trust.Image) (lack, err error) {
	may, _ := j.keys()
	report, err := may.Examine(ctx, img)
	if err != nil {
		return nil, err
	}
	for _, format := range j.formats() {
		if len(report.Attestations(formats[format])) > 0 {
			return nil, nil
		}
	}
	nearest, about := j.nearest(report)
	switch {
	case j.p.SBOM.Signed && len(may) == 0:
		return errors.New("no key may attest anything of " + img.Ref.Name()), nil
	case j.p.SBOM.Signed:
		return report.RefusalOf(formats[cmp.Or(nearest, j.formats()[0])]), nil
	case about:
		return nil, nil // whoever attested it: that it is there is all that is wanted
	}
	var broken []error
	for _, n := range img.Signatures {
		ok, err := j.listsContents(ctx, img, n)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ok {
			return nil, nil
		}
		if err != nil {
			broken = append(broken, err)
		}
	}
	wanted := strings.Join(j.formats(), " or ")
	if cause := errors.Join(append(broken, img.Err)...); cause != nil {
		return fmt.Errorf("its contents cannot be read in %s: %w", wanted, cause), nil
	}
	return errors.New("no list of its contents in " + wanted + " is attached"), nil
}

// formats returns the formats that will do, in order.
func (j *judgement) formats() []string {
	if j.p.SBOM.Format != "" {
		return []string{j.p.SBOM.Format}
	}
	return []string{"spdx", "cyclonedx"}
}

// nearest returns the format that somebody attested, "" if nobody did, and whether
// that was of this very image.
func (j *judgement) nearest(r trust.Report) (format string, about bool) {
	for _, f := range r.Found {
		for _, wanted := range j.formats() {
			if f.Predicate == formats[wanted] && (format == "" || f.About && !about) {
				format, about = wanted, f.About
			}
		}
	}
	return format, about
}

// listsContents reports whether a manifest that is attached to an image holds a
// list of its contents that is whole.
func (j *judgement) listsContents(ctx context.Context, img trust.Image, n artifact.Named) (bool, error) {
	ref := n.Ref.WithDigest(n.Desc.Digest)
	raw, err := artifact.ReadManifest(ctx, img.Source, ref, n.Desc)
	if err != nil {
		return false, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return false, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
	}
	if n.Ref.Tag() == "" && (m.Subject == nil || m.Subject.Digest != img.Subjects[0].Digest) {
		return false, nil // of another image
	}
	for _, l := range m.Layers {
		if !slices.ContainsFunc(j.formats(), func(f string) bool { return strings.Contains(string(l.MediaType), f) }) {
			continue
		}
		if err := whole(ctx, img.Source, ref, l); err != nil {
			return false, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
		}
		return true, nil
	}
	return false, nil
}

// whole reads a blob and compares its digest.
func whole(ctx context.Context, src artifact.Source, ref artifact.Reference, d v1.Descriptor) error {
	r, err := src.Open(ctx, ref, d, 0)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != d.Digest.Hex {
		return fmt.Errorf("%s is damaged: its bytes have another digest", d.Digest)
	}
	return nil
}
