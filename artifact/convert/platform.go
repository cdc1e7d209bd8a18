package convert

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// work is the conversion for one platform.
type work struct {
	*converting
	ref      artifact.Reference // pinned to the manifest
	foreign  *foreign
	platform v1.Platform
	storage  *storage
	texts    *texts
	layers   []layer.Blob
	history  []v1.History
	report   Report
}

// platform converts the image of one platform, whose manifest ref names by digest.
func (c *converting) platform(ctx context.Context, ref artifact.Reference) (v1.Descriptor, Report, error) {
	h, _ := ref.Digest()
	key := c.key(h)
	if r, ok := c.recall(ctx, ref, key); ok {
		return r.Desc, r.Report, nil
	}
	desc, m, cfg, err := artifact.Manifest(ctx, c.src, ref, nil)
	if err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	raw, err := artifact.ReadManifest(ctx, c.src, ref, m.Config)
	if err != nil {
		return v1.Descriptor{}, Report{}, fmt.Errorf("config: %w", err)
	}
	if cfg.Config.Labels[artifact.LabelFormat] != "" {
		return v1.Descriptor{}, Report{}, ErrOurs
	}
	w := &work{converting: c, ref: ref, texts: newTexts(), report: Report{From: desc.Digest.String()}}
	w.storage = newStorage(func(ctx context.Context, d v1.Descriptor, r io.Reader) error {
		return airgap.Ingest(ctx, d, r, airgap.Options{Store: c.Store, Compression: c.Compression, Buffers: c.buffers})
	})
	w.foreign = readForeign(m, cfg, raw, &w.report)
	d, err := w.convert(ctx)
	if err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	w.report.Digest = d.Digest.String()
	return d, w.report, c.remember(key, record{d.Digest, d, w.report})
}

func (w *work) convert(ctx context.Context) (v1.Descriptor, error) {
	if err := w.Store.CheckSpace(artifact.Size(w.foreign.manifest)); err != nil {
		return v1.Descriptor{}, err
	}
	layers := w.foreign.manifest.Layers
	for i, d := range layers {
		if err := w.layer(ctx, i, d); err != nil {
			return v1.Descriptor{}, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	maker := w.foreign.maker(len(w.storage.parts) > 0)
	if maker == "" {
		return v1.Descriptor{}, errors.New("nothing says that sealos or sealer made it, no label and no registry/ in it: any other image needs no import, `sealrt pull` or `sealrt load` takes it as it is")
	}
	meta, raw := w.metadata()
	bin := ""
	for _, known := range artifact.Binaries {
		if bin == "" && w.texts.has(known.Path) {
			bin = known.Distro
		}
	}
	w.report.Maker = maker
	kind := w.foreign.kind(maker, meta, bin, &w.report)
	w.report.Type, w.report.Distro, w.report.Version = kind.Type, kind.Distro, kind.Version
	cfg := w.foreign.settings(maker, kind, &w.report)
	w.platform = v1.Platform{OS: cmp.Or(cfg.OS, "linux"), Architecture: artifact.Arch(cmp.Or(cfg.Architecture, meta.Arch)), Variant: cfg.Variant}
	if w.platform.Architecture == "" {
		return v1.Descriptor{}, errors.New("nothing says which architecture it is for, neither its configuration nor Metadata: build or save it again")
	}
	cfg.OS, cfg.Architecture = w.platform.OS, w.platform.Architecture
	w.report.Platform = w.platform.String()
	if err := w.images(ctx, maker, kind, &cfg); err != nil {
		return v1.Descriptor{}, err
	}
	if kind.Type == artifact.TypeRootfs {
		if err := w.addMetadata(ctx, kind, raw); err != nil {
			return v1.Descriptor{}, fmt.Errorf("%s: %w", artifact.MetadataFile, err)
		}
	}
	w.look()
	return w.write(ctx, cfg)
}

// layer rewrites a layer of the tree, while what is in registry/ goes into the store.
func (w *work) layer(ctx context.Context, n int, d v1.Descriptor) error {
	if !d.MediaType.IsDistributable() && len(d.URLs) > 0 {
		return fmt.Errorf("%s is to be fetched from %s and is not part of the image", d.Digest, d.URLs[0])
	}
	event := artifact.Event{Kind: artifact.EventStarted, Ref: w.name(), Digest: d.Digest, Name: "layer", Size: d.Size}
	w.Observe(event)
	blob, err := w.src.Open(ctx, w.ref, d, 0)
	if err != nil {
		return err
	}
	r := layout.Verify(blob, d, func(done int64, end bool) {
		event.Kind, event.Done = artifact.EventProgress, done
		if end {
			event.Kind = artifact.EventDone
		}
		w.Observe(event)
	})
	defer r.Close()
	out, err := w.Store.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	made, entries, err := layer.Rewrite(ctx, out, r, layer.Options{Compression: w.Compression, Buffers: w.buffers}, func(hdr *tar.Header, content io.Reader) (io.Reader, error) {
		return w.entry(ctx, hdr, content)
	})
	if err == nil {
		_, err = io.Copy(io.Discard, layer.UntilDone(ctx, r)) // what follows the end of the archive belongs to the digest
	}
	if err != nil {
		return err
	}
	w.storage.endLayer()
	w.texts.endLayer()
	h := w.historyOf(n)
	if h.EmptyLayer = entries == 0; !h.EmptyLayer {
		if err := out.Commit(made.Digest, made.Size); err != nil {
			return err
		}
		w.layers = append(w.layers, made)
	}
	w.history = append(w.history, h)
	return nil
}

// name is how the image is called, without the digest if there is a tag.
func (w *work) name() string {
	if plain, err := w.ref.WithTag(w.ref.Tag()); err == nil {
		return plain.Familiar()
	}
	return w.ref.Familiar()
}

// entry decides about an entry of a layer.
func (w *work) entry(ctx context.Context, hdr *tar.Header, content io.Reader) (io.Reader, error) {
	if hdr.Name == "images/index.json" || hdr.Name == "images/oci-layout" {
		return nil, errors.New("the image has an image layout in images/ already, where the container images of registry/ are to go: move it elsewhere")
	}
	ours, err := w.storage.take(ctx, hdr, content)
	if ours || err != nil {
		return nil, err
	}
	return w.texts.take(hdr, content)
}

// historyOf returns what the history says of a layer.
func (w *work) historyOf(n int) v1.History {
	full := slices.DeleteFunc(slices.Clone(w.foreign.config.History), func(h v1.History) bool { return h.EmptyLayer })
	if len(full) == len(w.foreign.manifest.Layers) && full[n].CreatedBy != artifact.HistoryBase {
		return full[n]
	}
	return v1.History{CreatedBy: "import of layer " + w.foreign.manifest.Layers[n].Digest.String(), Created: v1.Time{Time: w.Created}}
}

// metadata reads the file Metadata of the tree.
func (w *work) metadata() (meta metadata, raw map[string]any) {
	f := w.texts.files[artifact.MetadataFile]
	if f == nil {
		return meta, nil
	}
	if err := json.Unmarshal(f.Data, &raw); err != nil {
		w.report.remark("file "+artifact.MetadataFile, string(f.Data), "it cannot be read: %v", err)
		return meta, nil
	}
	if err := json.Unmarshal(f.Data, &meta); err != nil {
		w.report.remark("file "+artifact.MetadataFile, string(f.Data), "it cannot be read: %v", err)
	}
	return meta, raw
}

// images packs the container images into layers of images/.
func (w *work) images(ctx context.Context, maker string, k artifact.Kind, cfg *v1.ConfigFile) error {
	names := newNaming(maker)
	if err := names.learnAll(ctx, w.foreign, w.texts, k, w.Names, &w.report); err != nil {
		return err
	}
	visible := w.storage.visible()
	wanted, named, err := w.storage.wanted(ctx, names, func(ctx context.Context, h v1.Hash) (*found, error) { return w.find(ctx, visible, h) }, &w.report)
	if err != nil || len(wanted) == 0 {
		return err
	}
	set, err := airgap.Collect(ctx, wanted, airgap.Options{
		Source: &inStore{w.Store, named}, Store: w.Store, Platform: w.platform, Jobs: w.Jobs, Observe: w.Observe,
		Created: w.Created, Compression: w.Compression, Buffers: w.buffers, BaseLayers: len(w.layers) + 1,
	})
	if err != nil {
		return err
	}
	for _, l := range set.Layers {
		w.layers = append(w.layers, l.Blob)
		w.history = append(w.history, v1.History{CreatedBy: artifact.HistoryBase, Created: v1.Time{Time: w.Created}})
		for _, h := range l.Blobs {
			delete(visible, h)
		}
	}
	cfg.Config.Labels[artifact.LabelImagesDigest] = set.Index.String()
	for _, img := range wanted {
		w.report.Images = append(w.report.Images, img.Ref.Familiar())
	}
	slices.Sort(w.report.Images)
	var left int64
	for _, size := range visible {
		left += size
	}
	if len(visible) > 0 {
		w.report.remark("registry/", "", "%d of its blobs, %d bytes, belong to no container image for %s that has a name, and are left out", len(visible), left, w.platform)
	}
	return nil
}

// visible returns the blobs of the storage with their sizes in bytes.
func (s *storage) visible() map[v1.Hash]int64 {
	list := map[v1.Hash]int64{}
	for _, p := range s.parts {
		if p.repo == "" {
			list[p.digest] = p.size
		}
	}
	return list
}

// find looks at an image of the storage. One that cannot be taken over is an error wrapping errLacking.
func (w *work) find(ctx context.Context, visible map[v1.Hash]int64, h v1.Hash) (*found, error) {
	if _, ok := visible[h]; !ok {
		return nil, fmt.Errorf("%w: its manifest %s is not in the registry", errLacking, h)
	}
	ref := artifact.Reference{}.WithDigest(h)
	d, err := w.Store.Resolve(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLacking, err)
	}
	_, m, cfg, err := artifact.Manifest(ctx, w.Store, ref, &w.platform)
	if err != nil {
		return nil, cmp.Or(context.Cause(ctx), fmt.Errorf("%w: %w", errLacking, err))
	}
	if !artifact.Fits(cfg, w.platform) {
		return nil, fmt.Errorf("%w: it is for %s/%s, and the cluster image for %s", errLacking, cfg.OS, cfg.Architecture, w.platform)
	}
	for _, l := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if _, ok := visible[l.Digest]; !ok {
			return nil, fmt.Errorf("%w: its blob %s is not in the registry", errLacking, l.Digest)
		}
	}
	f := &found{Descriptor: d}
	if d.MediaType.IsIndex() {
		children, err := layout.Children(ctx, w.Store, d)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errLacking, err)
		}
		for _, child := range children {
			f.children = append(f.children, child.Digest)
		}
	}
	return f, nil
}

// inStore is a source of images of the store that have names nowhere else.
type inStore struct {
	*store.Store
	named map[artifact.Reference]v1.Descriptor
}

// Resolve implements artifact.Source.
func (s *inStore) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	if d, ok := s.named[ref]; ok {
		return d, nil
	}
	return s.Store.Resolve(ctx, ref)
}

// addMetadata adds a layer with the file Metadata, which says what the image is, and what it said before.
func (w *work) addMetadata(ctx context.Context, k artifact.Kind, said map[string]any) error {
	all := maps.Clone(said)
	if all == nil {
		all = map[string]any{}
	}
	all["distro"], all["version"], all["arch"] = k.Distro, k.Version, w.platform.Architecture
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	out, err := w.Store.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	made, err := layer.Write(ctx, out, layer.Sorted([]layer.Entry{{
		Name: artifact.MetadataFile, Mode: 0o644, Size: int64(len(b)),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}}), layer.Options{Compression: w.Compression, Created: w.Created, Buffers: w.buffers})
	if err != nil {
		return err
	}
	w.layers = append(w.layers, made)
	w.history = append(w.history, v1.History{CreatedBy: artifact.MetadataFile, Created: v1.Time{Time: w.Created}})
	return out.Commit(made.Digest, made.Size)
}

// look remarks what the tree has that nobody reads.
func (w *work) look() {
	for _, name := range slices.Sorted(slices.Values(w.texts.below("images"))) {
		if ext := path.Ext(name); path.Dir(name) == "images" && (ext == ".tar" || ext == ".tgz" || ext == ".gz" || ext == ".zst") {
			w.report.remark("file "+name, "", "it stays as it is, and what is in it is not among the container images of the new image")
		}
	}
	if len(w.texts.below("plugins"))+len(w.texts.below("plugin")) > 0 {
		w.report.remark("plugins/", "", "plugins of sealer are not run")
	}
	if len(w.texts.large) > 0 {
		w.report.remark("names of images", strings.Join(w.texts.large, ", "), "these files are too large to be searched for names")
	}
	if w.storage.others > 0 && len(w.storage.parts) == 0 {
		w.report.remark("registry/", "", "%d files that are no blobs and no links are left out", w.storage.others)
	}
}

// write writes configuration and manifest, and returns the manifest's descriptor with the platform.
func (w *work) write(ctx context.Context, cfg v1.ConfigFile) (v1.Descriptor, error) {
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}, Annotations: maps.Clone(w.foreign.manifest.Annotations)}
	cfg.RootFS, cfg.History = v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}, w.history
	for _, l := range w.layers {
		m.Layers = append(m.Layers, l.Descriptor())
		cfg.RootFS.DiffIDs = append(cfg.RootFS.DiffIDs, l.DiffID)
	}
	var err error
	if m.Config, err = w.Store.PutJSON(ctx, types.OCIConfigJSON, cfg); err != nil {
		return v1.Descriptor{}, err
	}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[baseDigest] = w.report.From
	d, err := w.Store.PutJSON(ctx, m.MediaType, m)
	d.Platform = cfg.Platform()
	return d, err
}

// baseDigest is the annotation with the digest of the image that this one was made of (OCI image-spec annotations.md).
const baseDigest = "org.opencontainers.image.base.digest"
