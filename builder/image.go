package builder

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// image is one platform's image while it is built.
type image struct {
	config v1.ConfigFile
	layers []v1.Descriptor // in the order of config.RootFS.DiffIDs
	tree   *tree
}

// add puts a layer with these entries on top.
func (m *image) add(l record, entries []layer.Entry, createdBy string, created time.Time) {
	m.layers = append(m.layers, l.layer())
	m.config.RootFS.DiffIDs = append(m.config.RootFS.DiffIDs, l.DiffID)
	m.tree.apply(entries)
	m.addHistory(createdBy, created, false)
}

func (m *image) addHistory(createdBy string, created time.Time, empty bool) {
	m.config.History = append(m.config.History, v1.History{CreatedBy: createdBy, Created: v1.Time{Time: created}, EmptyLayer: empty})
}

// store writes config and manifest, and returns the manifest's descriptor with the platform.
func (m *image) store(ctx context.Context, s *artifact.Store) (v1.Descriptor, error) {
	m.config.RootFS.Type = "layers"
	config, err := put(ctx, s, types.OCIConfigJSON, m.config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	layers := m.layers
	if layers == nil {
		layers = []v1.Descriptor{}
	}
	d, err := put(ctx, s, types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers,
	})
	d.Platform = m.config.Platform()
	return d, err
}

// put stores a value as JSON, in the form in which text stays readable: a RUN's "&&" is no "\u0026\u0026".
func put(ctx context.Context, s *artifact.Store, mediaType types.MediaType, value any) (v1.Descriptor, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		return v1.Descriptor{}, err
	}
	data := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	if len(data) > artifact.MaxManifest {
		return v1.Descriptor{}, fmt.Errorf("%s of %d bytes is larger than registries take: use fewer layers", mediaType, len(data))
	}
	return s.PutBytes(ctx, mediaType, data)
}
