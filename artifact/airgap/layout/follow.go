package layout

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Reached is what an entry of index.json consists of.
type Reached struct {
	Seen    map[v1.Hash]bool // blobs that were looked for
	Size    int64            // bytes of those that are here
	Lacks   []string         // what is missing or wrong, each as a sentence
	Subject bool             // a manifest among them is about another image
}

// Follow visits d and all that it refers to, each blob once. The error is about
// layers that cannot be read; what is missing or wrong otherwise is in Lacks.
func Follow(ctx context.Context, blobs Blobs, d v1.Descriptor) (Reached, error) {
	w := &following{blobs: blobs, Reached: Reached{Seen: map[v1.Hash]bool{}}}
	err := w.follow(ctx, d)
	return w.Reached, err
}

type following struct {
	blobs Blobs
	Reached
}

// follow visits d and all that it refers to.
func (w *following) follow(ctx context.Context, d v1.Descriptor) error {
	if w.Seen[d.Digest] {
		return nil
	}
	w.Seen[d.Digest] = true
	size, err := w.blobs.BlobSize(ctx, d.Digest)
	var unread *layerError
	switch {
	case errors.As(err, &unread) || ctx.Err() != nil:
		return err
	case errors.Is(err, artifact.ErrNotFound):
		w.Lacks = append(w.Lacks, fmt.Sprintf("%s %s is missing", kindOf(d), d.Digest))
		return nil
	case err != nil:
		w.Lacks = append(w.Lacks, err.Error())
		return nil
	case size != d.Size:
		w.Lacks = append(w.Lacks, fmt.Sprintf("%s %s has %d bytes instead of %d", kindOf(d), d.Digest, size, d.Size))
		return nil
	}
	w.Size += size
	if !d.MediaType.IsImage() && !d.MediaType.IsIndex() {
		return nil
	}
	b, err := artifact.ReadManifest(ctx, w.blobs, artifact.Reference{}, d)
	if err != nil {
		w.Lacks = append(w.Lacks, err.Error())
		return ctx.Err()
	}
	children, optional, err := parseChildren(d, b)
	if err != nil {
		w.Lacks = append(w.Lacks, err.Error())
		return nil
	}
	w.Subject = w.Subject || parseSubject(b).Subject != nil
	here := 0
	for _, child := range children {
		_, err := w.blobs.BlobSize(ctx, child.Digest)
		if optional && errors.Is(err, artifact.ErrNotFound) {
			continue
		}
		here++
		if err := Check(child); err != nil {
			w.Lacks = append(w.Lacks, err.Error())
		} else if err := w.follow(ctx, child); err != nil {
			return err
		}
	}
	if optional && here == 0 {
		w.Lacks = append(w.Lacks, fmt.Sprintf("index %s has none of its images here", d.Digest))
	}
	return nil
}

// kindOf returns what a blob is to people.
func kindOf(d v1.Descriptor) string {
	switch {
	case d.MediaType.IsIndex():
		return "index"
	case d.MediaType.IsImage():
		return "manifest"
	case d.MediaType.IsConfig():
		return "config"
	}
	return "blob"
}
