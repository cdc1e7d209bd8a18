package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
)

// dockerArchive reads the images of an archive as docker save writes it: files
// that a manifest.json lists (moby image-spec v1.2, "Combined Image JSON +
// Filesystem Changeset Format"), which keep no manifest of a registry. Each image
// gets one here that follows from its config and layers alone.
type dockerArchive struct {
	files

	mu    sync.Mutex
	blobs map[v1.Hash]*dockerBlob // configs, layers by their diffID, and manifests that were asked for
}

// dockerImage is an image of manifest.json.
type dockerImage struct {
	*dockerConfig
	desc v1.Descriptor // zero until it was asked for
}

// dockerConfig is what the config of an image says.
type dockerConfig struct {
	hash   v1.Hash
	layers []v1.Hash // diffIDs
}

// dockerItem is what manifest.json says about one image.
type dockerItem struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// newDockerArchive returns the images of manifest.json; nil when there is none.
// Configs are read, layers are only looked for.
func newDockerArchive(ctx context.Context, all files) (*dockerArchive, []*image, error) {
	f, err := all.file("manifest.json")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	b, err := read(f, "manifest.json")
	if err != nil {
		return nil, nil, err
	}
	var items []dockerItem
	if err := json.Unmarshal(b, &items); err != nil {
		return nil, nil, fmt.Errorf("manifest.json: %w", err)
	}
	a := &dockerArchive{files: all, blobs: map[v1.Hash]*dockerBlob{}}
	configs := map[string]*dockerConfig{} // each is read once, however many name it
	var list []*image
	for n, item := range items {
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		i, err := a.image(item, configs)
		if err != nil {
			return nil, nil, fmt.Errorf("image %d of manifest.json: %w", n+1, err)
		}
		list = append(list, i)
	}
	return a, list, nil
}

func (a *dockerArchive) image(item dockerItem, configs map[string]*dockerConfig) (*image, error) {
	i := &image{}
	for _, tag := range item.RepoTags {
		if strings.HasPrefix(tag, "<none>") {
			continue
		}
		ref, err := artifact.ParseReference(tag)
		if err != nil {
			return nil, err
		}
		i.refs = append(i.refs, ref)
	}
	name := path.Clean(item.Config)
	config := configs[name]
	if config == nil {
		var err error
		if config, err = a.config(name); err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		configs[name] = config
	}
	if len(item.Layers) != len(config.layers) {
		return nil, fmt.Errorf("it has %d layers, its config %s tells of %d", len(item.Layers), name, len(config.layers))
	}
	for n, diffID := range config.layers {
		name, f, err := a.part(item.Layers[n])
		if err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		if a.blobs[diffID] == nil {
			a.blobs[diffID] = &dockerBlob{name: name, layer: true, file: f, size: -1}
		}
	}
	i.text, i.docker = config.hash.String(), &dockerImage{dockerConfig: config}
	return i, nil
}

// config reads the config of an image.
func (a *dockerArchive) config(name string) (*dockerConfig, error) {
	name, f, err := a.part(name)
	if err != nil {
		return nil, err
	}
	b, err := read(f, name)
	if err != nil {
		return nil, err
	}
	var config struct {
		RootFS struct {
			DiffIDs []v1.Hash `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(b, &config); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, diffID := range config.RootFS.DiffIDs {
		if diffID.Algorithm != "sha256" {
			return nil, fmt.Errorf("%s: diffID %q is not sha256", name, diffID)
		}
	}
	h, size, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	if hex, ok := strings.CutPrefix(name, "blobs/sha256/"); ok && hex != h.Hex {
		return nil, fmt.Errorf("%s has digest %s: the archive is damaged: save it again", name, h)
	}
	a.blobs[h] = &dockerBlob{name: name, file: f, size: size}
	return &dockerConfig{hash: h, layers: config.RootFS.DiffIDs}, nil
}

// part returns a file that manifest.json names.
func (a *dockerArchive) part(name string) (string, file, error) {
	clean := path.Clean(name)
	if path.IsAbs(clean) || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", file{}, fmt.Errorf("%q leads out of the archive", name)
	}
	f, err := a.file(clean)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: the archive is damaged or cut short: save it again", err)
	}
	return clean, f, err
}

// describe makes the manifest of an image. Layers that are compressed in the
// archive are read once, to know their sizes. The manifest is one of OCI: its
// types say that the layers are not compressed, and current docker saves the same.
func (a *dockerArchive) describe(ctx context.Context, i *dockerImage) (v1.Descriptor, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i.desc.Size > 0 {
		return i.desc, nil
	}
	m := v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
		Config: v1.Descriptor{MediaType: types.OCIConfigJSON, Size: a.blobs[i.hash].size, Digest: i.hash},
		Layers: []v1.Descriptor{},
	}
	for _, h := range i.layers {
		size, err := a.blobs[h].measure(ctx)
		if err != nil {
			return v1.Descriptor{}, err
		}
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: size, Digest: h})
	}
	b, err := json.Marshal(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	h, size, err := v1.SHA256(bytes.NewReader(b))
	if err != nil {
		return v1.Descriptor{}, err
	}
	a.blobs[h] = &dockerBlob{size: size, file: file{size, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}}
	i.desc = v1.Descriptor{MediaType: m.MediaType, Size: size, Digest: h}
	return i.desc, nil
}

// blob returns how to open a manifest that was made, a config or a layer; nil for
// others.
func (a *dockerArchive) blob(h v1.Hash) func() (io.ReadCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if b, ok := a.blobs[h]; ok {
		return b.open
	}
	return nil
}
