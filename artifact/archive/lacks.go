package archive

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// maxMissing is how many missing blobs an error lists.
const maxMissing = 10

// holder is a place that can say whether it has a blob.
type holder interface {
	artifact.Source
	Has(ctx context.Context, ref artifact.Reference, d v1.Descriptor) (bool, error)
}

// Over is an archive laid over another place, where what it presumes is. It implements artifact.Source and
// artifact.Describer.
type Over struct {
	*Archive
	base holder
}

// Over returns a source of what is in a and, beside it, in base.
func (a *Archive) Over(base holder) *Over { return &Over{a, base} }

// Resolve implements artifact.Source.
func (o *Over) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return o.resolve(ctx, o, ref)
}

// Open implements artifact.Source.
func (o *Over) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if _, ok := o.blobs[d.Digest]; !ok {
		if has, err := o.base.Has(ctx, ref, d); err != nil || has {
			return o.base.Open(ctx, ref, d, offset)
		}
	}
	return o.Archive.Open(ctx, ref, d, offset)
}

// Has reports whether a blob is in the archive or the place below.
func (o *Over) Has(ctx context.Context, ref artifact.Reference, d v1.Descriptor) (bool, error) {
	if has, err := o.Archive.Has(ctx, ref, d); has || err != nil {
		return has, err
	}
	return o.base.Has(ctx, ref, d)
}

// RequireWhole returns an error that lists what images of the archive lack, in it and in the place below, and which
// image would bring it. It wraps artifact.ErrNotFound.
func (o *Over) RequireWhole(ctx context.Context, list []artifact.Named) error {
	return requireWhole(ctx, o, list, o.presumes)
}

// requireWhole is RequireWhole for any place.
func requireWhole(ctx context.Context, place holder, list []artifact.Named, presumes *Inventory) error {
	var lacks []planned
	seen := map[v1.Hash]bool{}
	for _, n := range list {
		if !artifact.IsManifest(n.Desc.MediaType) {
			return fmt.Errorf("%s: media type %q in index.json is that of no image", n.Ref.Familiar(), n.Desc.MediaType)
		}
		parts, missing, err := artifact.Contents(ctx, place, n.Ref, n.Desc)
		if err != nil {
			return err
		}
		lost := digests(missing)
		for _, p := range parts {
			has, err := place.Has(ctx, n.Ref, p.Descriptor)
			if err != nil {
				return err
			}
			if (!has || lost[p.Digest]) && !seen[p.Digest] {
				seen[p.Digest] = true
				lacks = append(lacks, planned{p, n.Ref})
			}
		}
	}
	if len(lacks) == 0 {
		return nil
	}
	return lacksError(lacks, presumes)
}

// lacksError says what is missing, of which image, and what would bring it.
func lacksError(lacks []planned, presumes *Inventory) error {
	bases := map[v1.Hash]string{}
	if presumes != nil {
		for _, b := range presumes.Blobs {
			bases[b.Digest] = presumes.image(b)
		}
	}
	var bring, text []string
	var size int64
	for _, l := range lacks {
		size += l.Size
		line := fmt.Sprintf("%s %s", l.Name, l.Digest)
		if !l.ref.IsZero() {
			line += " of " + l.ref.Familiar()
		}
		if base := bases[l.Digest]; base != "" {
			line += ", which " + base + " has"
			bring = append(bring, base)
		}
		text = append(text, line)
	}
	if n := len(text); n > maxMissing {
		text = append(text[:maxMissing], fmt.Sprintf("and %d more", n-maxMissing))
	}
	slices.SortFunc(bring, cmp.Compare)
	advice := "the images that the archive adds to have to be loaded first"
	if bring = slices.Compact(bring); len(bring) > 0 {
		advice = "load or pull " + strings.Join(bring, ", ") + " first, then this archive again"
	}
	return fmt.Errorf("%s (%s): %w in the archive or the store: %s: %s", counted(len(lacks), "blob"), disk.Bytes(size), artifact.ErrNotFound, strings.Join(text, "; "), advice)
}

func sortDescriptors(list []v1.Descriptor) {
	slices.SortFunc(list, func(a, b v1.Descriptor) int { return cmp.Compare(a.Digest.Hex, b.Digest.Hex) })
}

// counted writes a number of things: "1 blob", "2 blobs".
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
