package store

import (
	"context"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// wanted goes through what images need.
type wanted struct {
	c      *verification
	keep   map[v1.Hash]bool
	wrong  map[v1.Hash]*Problem
	beside map[string][]v1.Descriptor // what is attached, by its subject
}

// walk goes through what one image needs, from p down.
func (w *wanted) walk(ctx context.Context, image string, p artifact.Part, seen map[v1.Hash]bool, depth int) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if seen[p.Digest] || artifact.IsForeign(p.Descriptor) || depth > artifact.MaxIndexDepth+1 {
		return nil
	}
	seen[p.Digest], w.keep[p.Digest] = true, true
	if !artifact.IsManifest(p.MediaType) {
		w.whole(p, image)
		return nil
	}
	for _, d := range w.beside[p.Digest.String()] {
		if err := w.walk(ctx, image, artifact.Part{Descriptor: d, Name: "attachment"}, seen, depth+1); err != nil {
			return err
		}
	}
	if !w.whole(p, image) {
		return nil
	}
	raw, err := artifact.ReadManifest(ctx, w.c.s, artifact.Reference{}, p.Descriptor)
	if err == nil {
		var list []artifact.Part
		if list, err = artifact.Parts(p.Descriptor, raw); err == nil {
			for _, child := range list {
				if err := w.walk(ctx, image, child, seen, depth+1); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	wrong := w.blame(p.Digest, p.Name, image)
	wrong.Kind, wrong.Cause = ProblemDamaged, err.Error()
	return nil
}

// whole reports whether a part of an image is there and in order.
func (w *wanted) whole(p artifact.Part, image string) bool {
	size, ok := w.c.there[p.Digest]
	if !ok { // it may have come since, with the name
		fi, err := os.Stat(w.c.s.BlobPath(p.Digest))
		if ok = err == nil; ok {
			size = fi.Size()
		}
	}
	if _, bad := w.c.damaged[p.Digest]; bad || !ok {
		w.blame(p.Digest, p.Name, image)
		return false
	}
	if size != p.Size {
		wrong := w.blame(p.Digest, p.Name, image)
		wrong.Kind, wrong.Cause = ProblemDamaged, fmt.Sprintf("it has %d bytes, its image says %d", size, p.Size)
		return false
	}
	return true
}

// blame notes that an image has a problem with a blob.
func (w *wanted) blame(h v1.Hash, name, image string) *Problem {
	p := w.wrong[h]
	if p == nil {
		p = &Problem{Kind: ProblemMissing, What: h.String(), Part: name}
		if d, bad := w.c.damaged[h]; bad {
			p.Kind, p.Cause = ProblemDamaged, d.cause.Error()
			if d.info == nil {
				p.Kind = ProblemUnreadable
			}
		}
		w.wrong[h] = p
	}
	if image != "" {
		p.Images = append(p.Images, image)
	}
	return p
}
