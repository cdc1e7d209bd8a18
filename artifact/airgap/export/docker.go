package export

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

// dockerImage is an entry of manifest.json in an archive of docker save
// (github.com/moby/docker-image-spec, "Combined Image JSON + Filesystem Changeset
// Format").
type dockerImage struct {
	Config   string   // name of the file
	RepoTags []string // null: the image has no tag
	Layers   []string // names of the files, uncompressed tar archives
}

// WriteDocker writes images to w as one archive that docker load reads: those of
// the given full names, or all when there are none; of indexes the image for
// platform. Such archives know tags alone, digests are lost; an image that has
// only a digest is in it without a name, of which note is told. Layers are in it
// once and uncompressed: they are decompressed twice, since a tar archive says
// sizes first. The same images give the same bytes. WriteDocker does not close w.
func WriteDocker(ctx context.Context, w io.Writer, images layout.Images, platform v1.Platform, names []string, note func(text string)) error {
	d := &dockerArchive{images: images, tar: tar.NewWriter(w), layers: map[v1.Hash]v1.Descriptor{}, configs: map[string]v1.Descriptor{}}
	err := d.plan(ctx, platform, names, note)
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
	images  layout.Images
	tar     *tar.Writer
	list    []*dockerImage
	configs map[string]v1.Descriptor // by the name of the file
	order   []v1.Hash                // diffIDs of the layers
	layers  map[v1.Hash]v1.Descriptor
}

// plan reads manifests and configs and says what the archive will hold.
func (a *dockerArchive) plan(ctx context.Context, platform v1.Platform, names []string, note func(string)) error {
	chosen, err := chooseEntries(a.images, names)
	if err != nil {
		return err
	}
	byConfig := map[string]*dockerImage{}
	for _, e := range chosen {
		ref, err := artifact.ParseReference(e.Name)
		if err != nil {
			return fmt.Errorf("images/index.json: %w", err)
		}
		m, cfg, err := a.read(ctx, ref, e.Desc, platform)
		if err != nil {
			return err
		}
		name := m.Config.Digest.Hex + ".json"
		img := byConfig[name]
		if img == nil {
			img = &dockerImage{Config: name, Layers: []string{}}
			for i, id := range cfg.RootFS.DiffIDs {
				a.addLayer(id, m.Layers[i])
				img.Layers = append(img.Layers, id.Hex+".tar")
			}
			byConfig[name] = img
			a.list = append(a.list, img)
		}
		if ref.Tag() != "" {
			if tagged, err := ref.WithTag(ref.Tag()); err == nil && !slices.Contains(img.RepoTags, tagged.Familiar()) {
				img.RepoTags = append(img.RepoTags, tagged.Familiar())
			}
		}
	}
	for _, e := range chosen {
		if ref, err := artifact.ParseReference(e.Name); err == nil && ref.Tag() == "" && note != nil {
			note(ref.Familiar() + ": a docker archive keeps no digests, so that the image is not found by this name: --format oci keeps it")
		}
	}
	return nil
}

// read returns the manifest and config of an image.
func (a *dockerArchive) read(ctx context.Context, ref artifact.Reference, d v1.Descriptor, platform v1.Platform) (*v1.Manifest, *v1.ConfigFile, error) {
	_, m, cfg, err := artifact.Manifest(ctx, a.images, ref.WithDigest(d.Digest), &platform)
	if err != nil {
		return nil, nil, err
	}
	if !m.Config.MediaType.IsConfig() || len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return nil, nil, fmt.Errorf("%s is no container image, which is all that docker takes: write it with --format oci", ref.Familiar())
	}
	a.configs[m.Config.Digest.Hex+".json"] = m.Config
	return m, cfg, nil
}

func (a *dockerArchive) addLayer(id v1.Hash, d v1.Descriptor) {
	if _, known := a.layers[id]; !known {
		a.layers[id] = d
		a.order = append(a.order, id)
	}
}

// write writes the archive: what says what is inside before the layers.
func (a *dockerArchive) write(ctx context.Context) error {
	manifest, err := json.Marshal(a.list)
	if err != nil {
		return err
	}
	if err := a.file(ctx, "manifest.json", int64(len(manifest)), bytes.NewReader(manifest)); err != nil {
		return err
	}
	for _, img := range a.list {
		config, err := artifact.ReadManifest(ctx, a.images, artifact.Reference{}, a.configs[img.Config])
		if err != nil {
			return err
		}
		if err := a.file(ctx, img.Config, int64(len(config)), bytes.NewReader(config)); err != nil {
			return err
		}
	}
	for _, id := range a.order {
		if err := a.layer(ctx, id, a.layers[id]); err != nil {
			return fmt.Errorf("layer %s: %w", a.layers[id].Digest, err)
		}
	}
	return a.tar.Close()
}

func (a *dockerArchive) file(ctx context.Context, name string, size int64, content io.Reader) error {
	hdr := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0)}
	if err := a.tar.WriteHeader(hdr); err != nil {
		return err
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{a.tar}, layer.UntilDone(ctx, content), make([]byte, 256<<10))
	if err == nil && n != size {
		err = fmt.Errorf("%s: %d bytes instead of %d", name, n, size)
	}
	return err
}

// layer writes a layer, and compares it with its diffID.
func (a *dockerArchive) layer(ctx context.Context, id v1.Hash, d v1.Descriptor) error {
	size := d.Size
	if !layout.IsPlain(d.MediaType) {
		var err error
		if size, err = a.unpack(ctx, d, func(r io.Reader) (int64, error) { return io.Copy(io.Discard, layer.UntilDone(ctx, r)) }); err != nil {
			return err
		}
	}
	h := sha256.New()
	_, err := a.unpack(ctx, d, func(r io.Reader) (int64, error) {
		return size, a.file(ctx, id.Hex+".tar", size, io.TeeReader(r, h))
	})
	if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != id.Hex {
		err = fmt.Errorf("unpacked it has digest sha256:%s, the config says %s: the image is damaged", got, id)
	}
	return err
}

// unpack shows do the layer without its compression.
func (a *dockerArchive) unpack(ctx context.Context, d v1.Descriptor, do func(io.Reader) (int64, error)) (int64, error) {
	blob, err := a.images.Open(ctx, artifact.Reference{}, d, 0)
	if err != nil {
		return 0, err
	}
	defer blob.Close()
	plain, err := layer.Decompress(blob)
	if err != nil {
		return 0, err
	}
	defer plain.Close()
	return do(plain)
}
