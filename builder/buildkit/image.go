package buildkit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/client/llb"
	digest "github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// tree offers the tree of layers, which lie in store, as an image of its own and returns it as a file system. Equal
// layers give an equal image, so that the daemon finds what it cached. No layers are an empty tree.
func (o *offer) tree(ctx context.Context, store *store.Store, layers []v1.Descriptor, diffIDs []v1.Hash, p ocispecs.Platform) (llb.State, error) {
	if len(layers) == 0 {
		return llb.Scratch(), nil
	}
	config := ocispecs.Image{
		Platform: ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant},
		RootFS:   ocispecs.RootFS{Type: "layers"},
	}
	manifest := ocispecs.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageManifest}
	for i, d := range layers {
		if len(diffIDs) == 0 {
			id, err := diffID(ctx, store, d)
			if err != nil {
				return llb.State{}, err
			}
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(id.String()))
		} else {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(diffIDs[i].String()))
		}
		manifest.Layers = append(manifest.Layers, ocispecs.Descriptor{MediaType: string(d.MediaType), Digest: digest.Digest(d.Digest.String()), Size: d.Size})
		o.add(d.Digest, blob{size: d.Size, open: func(ctx context.Context, offset int64) (io.ReadCloser, error) {
			return store.Open(ctx, artifact.Reference{}, d, offset)
		}})
	}
	data, err := json.Marshal(config)
	if err != nil {
		return llb.State{}, err
	}
	if manifest.Config, err = o.addBytes(ocispecs.MediaTypeImageConfig, data); err != nil {
		return llb.State{}, err
	}
	if data, err = json.Marshal(manifest); err != nil {
		return llb.State{}, err
	}
	d, err := o.addBytes(ocispecs.MediaTypeImageManifest, data)
	if err != nil {
		return llb.State{}, err
	}
	h, err := v1.NewHash(d.Digest.String())
	return o.state(h), err
}

// diffID returns the digest of a layer's tar archive. It reads the layer once; the store remembers.
func diffID(ctx context.Context, store *store.Store, d v1.Descriptor) (v1.Hash, error) {
	if d.MediaType == layer.None.MediaType() {
		return d.Digest, nil
	}
	key := "diffid/" + d.Digest.Hex
	var known struct {
		Digest v1.Hash `json:"digest"` // of the layer, with which the record goes
		DiffID v1.Hash `json:"diffID"`
	}
	if data, ok := store.CacheGet(key); ok && json.Unmarshal(data, &known) == nil && known.DiffID.Algorithm == "sha256" {
		return known.DiffID, nil
	}
	id, err := hashArchive(ctx, store.BlobPath(d.Digest))
	if err != nil {
		return v1.Hash{}, fmt.Errorf("layer %s: %w", d.Digest, err)
	}
	known.Digest, known.DiffID = d.Digest, id
	data, err := json.Marshal(known)
	if err != nil {
		return v1.Hash{}, err
	}
	return id, store.CachePut(key, data)
}

func hashArchive(ctx context.Context, file string) (_ v1.Hash, err error) {
	f, err := os.Open(file)
	if err != nil {
		return v1.Hash{}, err
	}
	defer f.Close()
	r, err := layer.Decompress(f)
	if err != nil {
		return v1.Hash{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, layer.UntilDone(ctx, r)); err != nil {
		return v1.Hash{}, err
	}
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}, nil
}
