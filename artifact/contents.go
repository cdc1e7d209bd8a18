package artifact

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Contents lists what the image d in src consists of, each thing once: what a manifest points at before the manifest,
// d last. Layers that are to be fetched from elsewhere (IsForeign) are no part of it. Manifests that src lacks are in
// missing too; what they point at is not known.
func Contents(ctx context.Context, src Source, ref Reference, d v1.Descriptor) (list, missing []Part, err error) {
	w := &contents{src: src, ref: ref, seen: map[v1.Hash]bool{d.Digest: true}}
	err = w.walk(ctx, Part{d, "manifest"}, 0)
	return w.list, w.missing, err
}

type contents struct {
	src           Source
	ref           Reference
	seen          map[v1.Hash]bool
	list, missing []Part
}

func (w *contents) walk(ctx context.Context, p Part, depth int) error {
	if depth > MaxIndexDepth {
		return fmt.Errorf("%s: indexes are nested more than %d deep", w.ref.Familiar(), MaxIndexDepth)
	}
	raw, err := ReadManifest(ctx, w.src, w.ref, p.Descriptor)
	if errors.Is(err, ErrNotFound) {
		w.list, w.missing = append(w.list, p), append(w.missing, p)
		return nil
	}
	if err != nil {
		return err
	}
	list, err := Parts(p.Descriptor, raw)
	if err != nil {
		return fmt.Errorf("%s: manifest %s: %w", w.ref.Familiar(), p.Digest, err)
	}
	for _, c := range list {
		if w.seen[c.Digest] || IsForeign(c.Descriptor) {
			continue
		}
		w.seen[c.Digest] = true
		if !IsManifest(c.MediaType) {
			w.list = append(w.list, c)
		} else if err := w.walk(ctx, c, depth+1); err != nil {
			return err
		}
	}
	w.list = append(w.list, p)
	return nil
}
