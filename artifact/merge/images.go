package merge

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// images joins the container images of all parts. The layers of the first image that hold some stay; what the others have
// besides goes on top.
func (w *work) images(ctx context.Context, cfg *v1.ConfigFile) error {
	inside := make([]*layout.Contents, len(w.parts))
	for i, v := range w.parts {
		contents, err := layout.OpenContents(ctx, v.src, v.ref, v.manifest)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			inside[i] = contents
		}
	}
	o := airgap.Options{
		Source: nowhere{}, Store: w.Store, Platform: w.platform, Jobs: w.Jobs, Observe: w.Observe,
		Created: w.Created, Compression: w.Compression, Buffers: w.buffers, BaseLayers: len(w.layers) + 1,
	}
	l := &listing{w: w, names: map[string]v1.Descriptor{}, owner: map[string]int{}, attached: map[string]bool{}}
	if first := inside[0]; first != nil {
		o.Base, o.BaseIndex = first, first.Index()
		o.Have = func(h v1.Hash) bool { _, err := first.BlobSize(ctx, h); return err == nil }
		cfg.Config.Labels[artifact.LabelImagesDigest] = first.Digest().String()
		for _, e := range first.Entries() {
			l.names[e.Name], l.attached[e.Carried] = e.Desc, true
		}
	}
	for i, contents := range inside[1:] {
		if contents != nil {
			l.add(i+1, contents.Entries())
		}
	}
	delete(l.names, "")
	if w.report.Images = len(l.names); len(l.order) == 0 {
		return nil
	}
	var wanted []airgap.Image
	for _, name := range l.order {
		from := w.parts[l.owner[name]].name()
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return fmt.Errorf("%s: images/index.json: %w", from, err)
		}
		wanted = append(wanted, airgap.Image{Ref: ref, From: from, Where: from})
	}
	o.Place = func(_ context.Context, from string) (airgap.Place, error) {
		i := slices.IndexFunc(w.parts, func(v version) bool { return v.name() == from })
		return inside[i], nil
	}
	return w.collect(ctx, wanted, o, cfg)
}

// listing is what images/index.json of the new image will have.
type listing struct {
	w        *work
	names    map[string]v1.Descriptor
	owner    map[string]int  // the part that an image is from
	attached map[string]bool // signatures, by name
	order    []string        // what is not in the first image, or has other signatures there
}

// add adds the entries of a part. Signatures come with what they sign.
func (l *listing) add(part int, entries []layout.Entry) {
	signed := map[string]bool{} // repositories with signatures that are not there yet
	for _, e := range entries {
		if ref, err := artifact.ParseReference(e.Carried); e.Carried != "" && !l.attached[e.Carried] && err == nil {
			signed[ref.Name()], l.attached[e.Carried] = true, true
		}
	}
	for _, e := range entries {
		have, there := l.names[e.Name]
		ref, err := artifact.ParseReference(e.Name)
		if e.Name == "" || there && have.Digest == e.Desc.Digest && (err != nil || !signed[ref.Name()]) {
			continue
		}
		if there && have.Digest != e.Desc.Digest {
			l.w.conflict("container image "+e.Name, l.w.parts[part].name(), l.w.parts[l.owner[e.Name]].name(), "")
		}
		if !slices.Contains(l.order, e.Name) {
			l.order = append(l.order, e.Name)
		}
		l.names[e.Name], l.owner[e.Name] = e.Desc, part
	}
}

// collect packs container images on top of those of the first image.
func (w *work) collect(ctx context.Context, wanted []airgap.Image, o airgap.Options, cfg *v1.ConfigFile) error {
	set, err := airgap.Collect(ctx, wanted, o)
	if err != nil {
		return err
	}
	for _, l := range set.Layers {
		w.add(l.Blob.Descriptor(), l.Blob.DiffID, artifact.HistoryBase)
	}
	cfg.Config.Labels[artifact.LabelImagesDigest] = set.Index.String()
	return nil
}

// nowhere is a source that has nothing: all images are in one of the parts.
type nowhere struct{ artifact.Source }

// Resolve implements artifact.Source.
func (nowhere) Resolve(_ context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, fmt.Errorf("%s: %w in the images that are merged", ref.Familiar(), artifact.ErrNotFound)
}

// sum returns the hash of the content of a file.
func sum(b []byte) [sha256.Size]byte { return sha256.Sum256(b) }
