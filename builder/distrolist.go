package builder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/airgap/lint"
	"github.com/sealrt/sealrt/kubefile"
)

// distroNeeds returns the images that the distribution of the tree says it needs, by files or by its program. notes
// says who could not be asked, and why; that is no error.
func (w *work) distroNeeds(ctx context.Context, kind artifact.Kind) (needs []lint.Needs, notes []string, err error) {
	needs, notes = listedNeeds(treeFS{w.image.tree})
	for _, known := range artifact.Binaries {
		if known.Distro != kind.Distro || len(distroQueries(kind)) == 0 || !w.hasFile(known.Path) {
			continue
		}
		config, note := w.distroConfig(kind.Distro)
		if note != "" {
			notes = append(notes, note)
		}
		a, err := w.askProgram(ctx, known.Path, config, kind)
		if err != nil {
			return nil, nil, err
		}
		if a.Why != "" {
			notes = append(notes, fmt.Sprintf("%s was not asked which images it needs: %s", known.Path, a.Why))
		}
		for _, l := range a.Lists {
			needs = append(needs, l.needs(known.Path))
		}
	}
	return needs, notes, nil
}

// listedNeeds reads the files in which k3s says what it needs, wherever in the tree they lie.
func listedNeeds(tree fs.FS) (needs []lint.Needs, notes []string) {
	for _, pattern := range []string{"k3s-images.txt", "*/k3s-images.txt"} {
		names, _ := fs.Glob(tree, pattern) // the patterns are good ones
		for _, name := range names {
			images, err := readList(tree, name)
			if err == nil {
				needs = append(needs, lint.Needs{By: name, Images: images})
			} else if !find.IsList(name) { // or BASE says so
				notes = append(notes, fmt.Sprintf("%s was not compared: %v", name, err))
			}
		}
	}
	return needs, notes
}

func readList(tree fs.FS, name string) ([]airgap.Image, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return airgap.ParseList(name, f)
}

// DistroNeeds returns the images that the distribution of a finished image of o.Store says it needs, by files or by its
// program, which was perhaps asked when the image was built. platform may be nil for an image of one. notes says who
// could not be asked, and why. Of o it uses Store, Platform, Runner and what is told of the work.
func DistroNeeds(ctx context.Context, o Options, ref artifact.Reference, platform *v1.Platform) (needs []lint.Needs, notes []string, err error) {
	o = withDefaults(o)
	o.File = &kubefile.File{Name: ref.Familiar()} // stands in errors
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	_, manifest, config, err := artifact.Manifest(ctx, o.Store, ref, platform)
	if err != nil {
		return nil, nil, err
	}
	trees, err := openTrees(o.Store)
	if err != nil {
		return nil, nil, err
	}
	b := &build{Options: o, trees: trees, runner: o.Runner}
	if b.runner == nil {
		b.runner = &local{store: o.Store, trees: trees}
	}
	s := &stage{build: b, base: &base{name: ref.Familiar(), manifest: manifest, config: config}}
	if p := config.Platform(); p != nil {
		s.platform, s.target = *p, *p
	}
	w := &work{stage: s, image: &image{tree: newTree(), config: *config.DeepCopy()}}
	if err := s.fill(ctx, w.image, nil); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	kind := artifact.KindOf(config)
	if meta, stated, err := w.metadata(); err == nil && stated {
		if merged, err := kind.Merge(meta); err == nil { // or the labels, which run goes by
			kind = merged
		}
	}
	if kind.Distro == "" {
		kind.Distro = w.distroInBin()
	}
	return w.distroNeeds(ctx, kind)
}

// compareDistro tells of images that the distribution needs and that the finished tree has not: neither its index nor
// kept, which are the images in archives that stay as they are. BASE none says that this is meant.
func (w *work) compareDistro(ctx context.Context, kind artifact.Kind, kept []artifact.Reference) error {
	if w.collectsNothing() {
		return nil
	}
	needs, notes, err := w.distroNeeds(ctx, kind)
	if err != nil {
		return err
	}
	for _, text := range notes {
		w.task.note("%s", text)
	}
	tree := treeFS{w.image.tree}
	held, err := heldIn(tree)
	if err != nil {
		return fmt.Errorf("%s: %w", w.File.Name, err)
	}
	have := slices.Clone(kept)
	for _, h := range held {
		have = append(have, h.Ref)
	}
	ignored, _ := find.Ignored(tree, find.Options{}) // BASE says what is wrong with the file
	for _, need := range needs {
		if text := lacking(need, have, ignored); text != "" {
			w.tell(Event{Kind: BuildWarning, Text: text})
		}
	}
	return nil
}

// lacking is the sentence about what a distribution needs and have lacks, "" for nothing.
func lacking(need lint.Needs, have []artifact.Reference, ignored func(artifact.Reference) bool) string {
	var names []string
	for _, img := range need.Lacking(have) {
		if !need.Optional && !ignored(img.Ref) {
			names = append(names, img.Ref.Familiar())
		}
	}
	if len(names) == 0 {
		return ""
	}
	return fmt.Sprintf("%s says that the distribution needs images that the image lacks: %s: add them to manifests/imageList, or name them in .imageignore",
		need.By, strings.Join(names, ", "))
}

// collectsNothing says whether the last BASE of the target is BASE none.
func (w *work) collectsNothing() bool {
	for s := w.stage; s != nil; s = s.parent {
		for _, i := range slices.Backward(s.source.Instructions) {
			if base, ok := i.(*kubefile.Base); ok {
				return base.None
			}
		}
	}
	return false
}
