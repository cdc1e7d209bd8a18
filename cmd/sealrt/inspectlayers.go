package main

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// layerJSON is one layer, or an instruction that made none.
type layerJSON struct {
	CreatedBy string     `json:"createdBy,omitempty"`
	Created   *time.Time `json:"created,omitempty"`
	MediaType string     `json:"mediaType,omitempty"`
	Digest    string     `json:"digest,omitempty"`
	DiffID    string     `json:"diffID,omitempty"`
	Size      int64      `json:"size"` // bytes in a registry
	Comment   string     `json:"comment,omitempty"`
}

// storedImage reads an image of the store for all platforms that are there.
func storedImage(ctx context.Context, env *environment, name string) (artifact.Named, []variant, error) {
	store, refs, err := env.stored(ctx, []string{name})
	if err != nil {
		return artifact.Named{}, nil, err
	}
	n := artifact.Named{Ref: refs[0]}
	if n.Desc, err = store.Resolve(ctx, n.Ref); err != nil {
		return n, nil, err
	}
	versions, err := variants(ctx, store, n)
	if err == nil && len(versions) == 0 {
		err = fmt.Errorf("%s: the store has none of its platforms: pull it again", n.Ref.Familiar())
	}
	return n, versions, err
}

// layersOf joins the history of an image with its layers.
func layersOf(v variant) []layerJSON {
	var list []layerJSON
	next := 0
	add := func(h v1.History) {
		l := layerJSON{CreatedBy: h.CreatedBy, Comment: h.Comment}
		if !h.Created.IsZero() {
			l.Created = &h.Created.Time
		}
		if !h.EmptyLayer && next < len(v.manifest.Layers) {
			d := v.manifest.Layers[next]
			l.MediaType, l.Digest, l.Size = string(d.MediaType), d.Digest.String(), d.Size
			if next < len(v.config.RootFS.DiffIDs) {
				l.DiffID = v.config.RootFS.DiffIDs[next].String()
			}
			next++
		}
		list = append(list, l)
	}
	for _, h := range v.config.History {
		add(h)
	}
	for next < len(v.manifest.Layers) { // the history says less than there is
		add(v1.History{})
	}
	return list
}
