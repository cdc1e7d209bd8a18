package builder

import (
	"context"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// image is a stage's image while it is built.
type image struct {
	config   v1.ConfigFile
	layers   []*pending
	holds    [][]layer.Entry // what each layer holds
	tree     *tree
	inherits map[string]string    // labels of the base image that this Kubefile did not state again
	based    bool                 // a BASE instruction was met
	kept     []artifact.Reference // container images in archives that stay as they are
	index    v1.Hash              // of images/index.json, as BASE wrote it last
}

// clone returns an image that can be changed without changing m.
func (m *image) clone() *image {
	return &image{
		config: *m.config.DeepCopy(), layers: slices.Clone(m.layers), holds: slices.Clone(m.holds), tree: m.tree.clone(), inherits: copyMap(m.inherits), based: m.based, kept: slices.Clone(m.kept), index: m.index,
	}
}

// add puts a layer with these entries on top.
func (m *image) add(l *pending, entries []layer.Entry, createdBy string, created time.Time) {
	m.layers = append(m.layers, l)
	m.holds = append(m.holds, entries)
	m.tree.apply(entries)
	m.addHistory(createdBy, created, false)
}

func (m *image) addHistory(createdBy string, created time.Time, empty bool) {
	m.config.History = append(m.config.History, v1.History{CreatedBy: discreet(createdBy), Created: v1.Time{Time: created}, EmptyLayer: empty})
}

// remark adds to what the history says of the last instruction.
func (m *image) remark(text string) { m.config.History[len(m.config.History)-1].Comment = text }

// settle waits until all layers are written, and returns them, bottom first.
func (m *image) settle(ctx context.Context) ([]record, error) {
	list := make([]record, len(m.layers))
	for i, l := range m.layers {
		var err error
		if list[i], err = l.wait(ctx); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// store writes config and manifest, and returns the manifest's descriptor with the platform.
func (m *image) store(ctx context.Context, s *store.Store) (v1.Descriptor, error) {
	records, err := m.settle(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	layers, diffIDs := []v1.Descriptor{}, []v1.Hash{}
	for _, r := range records {
		layers = append(layers, r.layer())
		diffIDs = append(diffIDs, r.DiffID)
	}
	m.config.RootFS = v1.RootFS{Type: "layers", DiffIDs: diffIDs}
	config, err := s.PutJSON(ctx, types.OCIConfigJSON, m.config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	d, err := s.PutJSON(ctx, types.OCIManifestSchema1, v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers,
	})
	d.Platform = m.config.Platform()
	return d, err
}

// pending is a layer that may still be being written.
type pending struct {
	begin  func()        // starts writing when somebody first waits; nil: that was done
	once   sync.Once     // of begin
	done   chan struct{} // closed when record and err are there
	record record
	err    error
}

func newPending() *pending { return &pending{done: make(chan struct{})} }

// there is a layer that lies in the store.
func there(r record) *pending {
	p := newPending()
	p.set(r, nil)
	return p
}

func (p *pending) set(r record, err error) {
	p.record, p.err = r, err
	close(p.done)
}

func (p *pending) wait(ctx context.Context) (record, error) {
	if p.begin != nil {
		p.once.Do(p.begin)
	}
	select {
	case <-p.done:
		return p.record, p.err
	case <-ctx.Done():
		return record{}, context.Cause(ctx)
	}
}
