package archive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// dockerImage is an entry of manifest.json in an archive of docker save
// (github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset Format").
type dockerImage struct {
	Config   string   // name of the file
	RepoTags []string // null: the image has no tag
	Layers   []string // names of the files, uncompressed tar archives
}

// WriteDocker writes images of src to w as one archive that docker load reads; of indexes the image for platform. Such
// archives know tags alone, digests and what is attached are lost; an image of refs without a tag is in it without a
// name. Layers are in it once and uncompressed: they are decompressed twice, since a tar archive says sizes first. The
// same images give the same bytes. WriteDocker does not close w.
func WriteDocker(ctx context.Context, w io.Writer, src artifact.Source, refs []artifact.Reference, platform v1.Platform) error {
	d := &dockerArchive{src: src, w: newWriter(w), layers: map[v1.Hash]planned{}, configs: map[string]planned{}}
	err := d.plan(ctx, platform, refs)
	if err == nil {
		err = d.write(ctx)
	}
	if err != nil {
		return fmt.Errorf("docker archive: %w", err)
	}
	return nil
}

// dockerArchive is such an archive while it is written.
type dockerArchive struct {
	src     artifact.Source
	w       *writer
	list    []*dockerImage
	configs map[string]planned // by the name of the file
	order   []v1.Hash          // diffIDs of the layers
	layers  map[v1.Hash]planned
}

// plan reads manifests and configs and says what the archive will hold.
func (a *dockerArchive) plan(ctx context.Context, platform v1.Platform, refs []artifact.Reference) error {
	byConfig := map[string]*dockerImage{}
	for _, ref := range refs {
		_, m, cfg, err := artifact.Manifest(ctx, a.src, ref, &platform)
		if err != nil {
			return err
		}
		if !m.Config.MediaType.IsConfig() || len(cfg.RootFS.DiffIDs) != len(m.Layers) {
			return fmt.Errorf("%s is no container image, which is all that docker takes: write it with --format oci", ref.Familiar())
		}
		name := m.Config.Digest.Hex + ".json"
		img := byConfig[name]
		if img == nil {
			img = &dockerImage{Config: name, Layers: []string{}}
			a.configs[name] = planned{artifact.Part{Descriptor: m.Config, Name: "config"}, ref}
			for i, id := range cfg.RootFS.DiffIDs {
				a.addLayer(id, planned{artifact.Part{Descriptor: m.Layers[i], Name: "layer"}, ref})
				img.Layers = append(img.Layers, id.Hex+".tar")
			}
			byConfig[name] = img
			a.list = append(a.list, img)
		}
		if tagged, err := ref.WithTag(ref.Tag()); err == nil && !slices.Contains(img.RepoTags, tagged.Familiar()) {
			img.RepoTags = append(img.RepoTags, tagged.Familiar())
		}
	}
	return nil
}

func (a *dockerArchive) addLayer(id v1.Hash, e planned) {
	if _, known := a.layers[id]; !known {
		a.layers[id] = e
		a.order = append(a.order, id)
	}
}

// write writes the archive: what says what is inside before the layers.
func (a *dockerArchive) write(ctx context.Context) error {
	manifest, err := json.Marshal(a.list)
	if err != nil {
		return err
	}
	if err := a.w.bytes("manifest.json", manifest); err != nil {
		return err
	}
	for _, img := range a.list {
		e := a.configs[img.Config]
		config, err := artifact.ReadManifest(ctx, a.src, e.ref, e.Descriptor)
		if err != nil {
			return err
		}
		if err := a.w.bytes(img.Config, config); err != nil {
			return err
		}
	}
	for _, id := range a.order {
		if err := a.layer(ctx, id, a.layers[id]); err != nil {
			return fmt.Errorf("layer %s: %w", a.layers[id].Digest, err)
		}
	}
	return a.w.end()
}

// layer writes a layer, and compares it with its diffID.
func (a *dockerArchive) layer(ctx context.Context, id v1.Hash, e planned) error {
	size := e.Size
	if e.MediaType != types.OCIUncompressedLayer && e.MediaType != types.DockerUncompressedLayer {
		size = 0
		err := a.unpack(ctx, e, func(r io.Reader) (err error) {
			size, err = io.Copy(io.Discard, layer.UntilDone(ctx, r))
			return err
		})
		if err != nil {
			return err
		}
	}
	h := sha256.New()
	err := a.unpack(ctx, e, func(r io.Reader) error {
		return a.w.file(id.Hex+".tar", size, func() error {
			_, err := io.CopyBuffer(a.w, layer.UntilDone(ctx, io.TeeReader(r, h)), make([]byte, chunk))
			return err
		})
	})
	if got := fmt.Sprintf("%x", h.Sum(nil)); err == nil && got != id.Hex {
		err = fmt.Errorf("unpacked it has digest sha256:%s, the config says %s: the image is damaged", got, id)
	}
	return err
}

// unpack shows do the layer without its compression.
func (a *dockerArchive) unpack(ctx context.Context, e planned, do func(io.Reader) error) error {
	blob, err := a.src.Open(ctx, e.ref, e.Descriptor, 0)
	if err != nil {
		return err
	}
	defer blob.Close()
	plain, err := layer.Decompress(blob)
	if err != nil {
		return err
	}
	defer plain.Close()
	return do(plain)
}
