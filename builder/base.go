package builder

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/remote"
)

// imageIgnoreFile names what is not to be collected, in the context and in the tree.
const imageIgnoreFile = ".imageignore"

// baseStep collects the container images that the tree so far names.
type baseStep struct {
	from
	platform *v1.Platform // nil: that of the image
	list     string       // the only list to read; empty: all usual places
	keep     bool         // leave the archives in images/ as they are
	env      bool         // look into the environment of containers too
	none     bool
}

func (s *baseStep) do(ctx context.Context, w *work) error {
	w.image.based = true
	if w.lookout != nil {
		return s.look(ctx, w)
	}
	if s.none {
		w.image.addHistory(s.Instruction.String(), w.Created, true)
		return w.checkKept(ctx)
	}
	before := len(w.image.layers)
	if err := s.collect(ctx, w, w.later+1); err != nil {
		return err
	}
	if len(w.image.layers) <= before {
		w.image.addHistory(s.Instruction.String(), w.Created, true)
	}
	return nil
}

// collect adds the layers of the container images; none when the tree names none. The image gets at most later
// layers afterwards.
func (s *baseStep) collect(ctx context.Context, w *work, later int) error {
	images, err := s.find(ctx, w)
	if err != nil {
		return err
	}
	if err := w.adoptLayout(ctx); err != nil {
		return err
	}
	platform := w.platform
	if s.platform != nil {
		platform = *s.platform
	}
	archives, err := s.archives(ctx, w, platform)
	if err != nil {
		return err
	}
	if len(images)+len(archives.images) == 0 {
		return w.checkKept(ctx)
	}
	if !w.hasFile(imageIgnoreFile) && len(w.files.imageIgnore) > 0 { // so that the image itself tells what it need not have
		w.addFiles(ctx, []layer.Entry{textEntry(imageIgnoreFile, string(w.files.imageIgnore))}, artifact.HistoryBase)
	}
	if s.keep {
		for _, i := range archives.images {
			w.image.kept = append(w.image.kept, i.Ref)
		}
	} else {
		images = append(images, archives.images...)
		if err := w.dropArchives(ctx, archives.names); err != nil {
			return err
		}
	}
	src, signatures, err := w.containerImages(ctx, platform, archives.sources)
	if err != nil {
		return err
	}
	o := airgap.Options{
		Source: src, Place: w.place(platform), Store: w.Store, Platform: platform, Jobs: w.Jobs,
		Observe: w.task.transfer, Created: w.Created, Compression: w.Compression, Buffers: w.buffers,
		BaseLayers: len(w.image.layers) + later,
		Signatures: signatures, NeedSignatures: w.Frozen, Check: w.Check,
	}
	if err := w.image.inside(&o); err != nil {
		return err
	}
	w.task.work()
	set, err := airgap.Collect(ctx, images, o)
	if err != nil {
		return err
	}
	return w.addImages(ctx, set)
}

// addImages puts what was collected on top.
func (w *work) addImages(ctx context.Context, set *airgap.Set) error {
	w.image.index = set.Index
	for _, l := range set.Layers {
		d := l.Blob.Descriptor()
		entries, err := w.viewLayer(ctx, d)
		if err != nil {
			return err
		}
		w.image.add(there(recordOf(l.Blob)), entries, artifact.HistoryBase, w.Created)
	}
	return nil
}

// containerImages joins the places where container images are looked for: archives of the tree, this store, the places
// that the user named, and registries. Their signatures are where they are.
func (w *work) containerImages(ctx context.Context, p v1.Platform, archives []artifact.Source) (artifact.Source, airgap.Signatures, error) {
	named, err := w.sourcesOf(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	sources := slices.Concat(archives, named, []artifact.Source{airgap.Complete(w.Store, p)})
	registry := w.Source
	if registry == nil {
		registry = noRegistry{}
	}
	sources = append(sources, registry)
	all := airgap.FirstOf(sources...)
	return w.locked(all, remote.LockImage, p), w.signatures(all, p), nil
}

// find looks for the images that the tree asks for.
func (s *baseStep) find(ctx context.Context, w *work) ([]airgap.Image, error) {
	tree := treeFS{w.image.tree}
	if s.list == "" {
		o, err := s.findOptions(w)
		if err != nil {
			return nil, err
		}
		return find.Images(ctx, tree, o)
	}
	f, err := tree.Open(s.list)
	if err != nil {
		return nil, fmt.Errorf("--list: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("--list: %s is a directory", s.list)
	}
	return airgap.ParseList(s.list, io.Reader(f))
}

// findOptions says how the tree is searched. Charts are rendered for the version of the distribution, where the tree or
// the base tells it.
func (s *baseStep) findOptions(w *work) (find.Options, error) {
	kind, _, err := w.kind()
	if err != nil {
		return find.Options{}, fmt.Errorf("%s: %w", w.File.Name, err)
	}
	version, _, _ := strings.Cut(kind.Version, "+") // the suffix of the distribution means nothing to charts
	return find.Options{
		KubeVersion: version, Env: w.defaults(), EnvImages: s.env, Ignore: w.files.imageIgnore,
		Note: func(text string) { w.tell(Event{Kind: BuildWarning, Text: text}) },
	}, nil
}

// defaults are the variables of the image so far.
func (w *work) defaults() map[string]string {
	env := map[string]string{}
	for _, kv := range w.image.config.Config.Env {
		name, value, _ := strings.Cut(kv, "=")
		env[name] = value
	}
	return env
}
