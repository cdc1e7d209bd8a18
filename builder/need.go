package builder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/find"
	"github.com/sealrt/sealrt/artifact/airgap/lint"
	"github.com/sealrt/sealrt/artifact/airgap/transport"
)

// Needed is what the tree of an image asks for, and what it has, before container images are collected.
type Needed struct {
	Platform v1.Platform    // of the cluster image
	None     bool           // BASE none: nothing is collected, whatever the tree asks for
	Images   []airgap.Image // that BASE would collect
	Bad      error          // names every place of the tree that cannot be read; nil: there is none
	Notes    []string       // what else the user should know
	Lint     lint.Options   // whom to ask about the images, and what the tree has

	opened []transport.Place
}

// Need makes the tree of every platform as Build does, up to the last BASE, but collects no container images and writes
// no image. It tells report what each tree needs, one platform after the other; what it tells is of use until report
// returns. Layers that were made stay in the store until its next sweep, so that Build finds them. Mistakes in the
// Kubefile are kubefile.Errors.
func Need(ctx context.Context, o Options, report func(context.Context, Needed) error) (err error) {
	b, platforms, done, err := prepare(ctx, withDefaults(o))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	b.lookout = &lookout{seen: map[*stage][]Needed{}}
	defer func() { err = errors.Join(err, b.lookout.close()) }()
	found := map[string]Needed{}
	_, err = b.platforms(ctx, platforms, func(s *stage, ctx context.Context, m *image) (v1.Descriptor, error) {
		n, err := s.needed(ctx, m)
		b.lookout.mu.Lock()
		defer b.lookout.mu.Unlock()
		found[s.target.String()] = n
		return v1.Descriptor{}, err
	})
	if err != nil {
		return err
	}
	for _, p := range platforms {
		if err := report(ctx, found[p.String()]); err != nil {
			return err
		}
	}
	return nil
}

// lookout is what BASE lines tell a build that only looks.
type lookout struct {
	mu   sync.Mutex
	seen map[*stage][]Needed // in the order of the lines
}

// close closes what was opened to look into it.
func (l *lookout) close() (err error) {
	for _, all := range l.seen {
		for _, n := range all {
			err = errors.Join(err, n.close())
		}
	}
	return err
}

// untilBase returns the steps up to the last BASE: what follows works on a tree with container images, which nobody
// collects.
func untilBase(steps []step) []step {
	for i, s := range slices.Backward(steps) {
		if _, ok := s.(*baseStep); ok {
			return steps[:i+1]
		}
	}
	return steps
}

// needed joins what the BASE lines of the target, and of the stages that it starts from, said; without any it looks as
// the end of a build does.
func (s *stage) needed(ctx context.Context, m *image) (Needed, error) {
	if !m.based {
		w := &work{stage: s, image: m, task: s.newTask("look for container images"), step: s.source.From}
		w.task.work()
		if err := (&baseStep{}).look(ctx, w); err != nil {
			w.task.fail(ctx, err)
			return Needed{}, fmt.Errorf("%s: %s: %w", s.File.Name, artifact.HistoryBase, err)
		}
		w.task.done()
	}
	s.lookout.mu.Lock()
	defer s.lookout.mu.Unlock()
	var all []Needed
	for at := s; at != nil; at = at.parent {
		all = append(slices.Clone(s.lookout.seen[at]), all...)
	}
	last := all[len(all)-1] // its tree has what the others have
	for _, n := range slices.Backward(all[:len(all)-1]) {
		last.Images = append(slices.DeleteFunc(slices.Clone(n.Images), func(img airgap.Image) bool {
			return slices.ContainsFunc(last.Images, func(same airgap.Image) bool { return same.Ref == img.Ref && same.Where == img.Where })
		}), last.Images...)
		last.None = last.None && n.None
	}
	return last, nil
}

// look notes what the tree so far asks for, which is what do collects.
func (s *baseStep) look(ctx context.Context, w *work) error {
	n := Needed{Platform: w.platform, None: s.none}
	platform := w.platform
	if s.platform != nil {
		platform = *s.platform
	}
	n.Lint = lint.Options{Platform: platform, Jobs: w.Jobs, Pinned: w.Frozen, IsList: s.isList}
	if w.Source != nil {
		src, _, err := w.containerImages(ctx, platform, nil)
		if err != nil {
			return err
		}
		n.Lint.Source, n.Lint.Place = src, w.place(platform)
	}
	if !s.none {
		kind, _, err := w.kind()
		if err != nil {
			return err
		}
		n.Images, n.Bad = s.find(ctx, w)
		n.Bad = errors.Join(n.Bad, w.adoptLayout(ctx))
		tree := treeFS{w.image.tree}
		o, err := s.findOptions(w)
		if err != nil {
			return err
		}
		n.Lint.Ignored, _ = find.Ignored(tree, o) // BASE says what is wrong with the file
		n.hold(ctx, tree, o, w.placeOptions(platform))
		if n.Lint.Needs, n.Notes, err = w.distroNeeds(ctx, kind); err != nil {
			return err
		}
	}
	w.lookout.mu.Lock()
	defer w.lookout.mu.Unlock()
	w.lookout.seen[w.stage] = append(w.lookout.seen[w.stage], n)
	return nil
}

// isList tells image lists from other files of the tree.
func (s *baseStep) isList(name string) bool { return name == s.list || find.IsList(name) }

// NeedOf tells what a tree needs that is there as it is, without a Kubefile: for o.Platforms, or else this machine's
// architecture. Of o it uses Context, for places that lists name, Platform, Platforms, Store, Source, Jobs and the address of
// docker. No program of the tree is run.
func NeedOf(ctx context.Context, tree fs.FS, o Options, report func(context.Context, Needed) error) error {
	o = withDefaults(o)
	platforms := o.Platforms
	if len(platforms) == 0 {
		platforms = []v1.Platform{{OS: "linux", Architecture: o.Platform.Architecture, Variant: o.Platform.Variant}}
	}
	meta, _, err := readMetadata(tree)
	if err != nil {
		return err
	}
	for _, p := range platforms {
		if err := needOf(ctx, tree, p, meta.Version, o, report); err != nil {
			return err
		}
	}
	return nil
}

func needOf(ctx context.Context, tree fs.FS, p v1.Platform, version string, o Options, report func(context.Context, Needed) error) (err error) {
	n := Needed{Platform: p, Lint: lint.Options{Platform: p, Source: o.Source, Jobs: o.Jobs, IsList: find.IsList}}
	defer func() { err = errors.Join(err, n.close()) }()
	if o.Source != nil && o.Store != nil {
		n.Lint.Source = airgap.FirstOf(airgap.Complete(o.Store, p), o.Source)
	}
	at := transport.Options{Dir: o.Context, Platform: p, DockerHost: o.DockerHost, DockerCerts: o.DockerCerts}
	n.Lint.Place = func(ctx context.Context, name string) (airgap.Place, error) {
		at := at
		at.Adopt = true
		place, err := transport.Open(ctx, name, at)
		if err != nil {
			return nil, err
		}
		n.opened = append(n.opened, place)
		return place, nil
	}
	search := find.Options{KubeVersion: version, Note: func(text string) { n.Notes = append(n.Notes, text) }}
	n.Images, n.Bad = find.Images(ctx, tree, search)
	_, err = adopted(ctx, tree, p)
	n.Bad = errors.Join(n.Bad, err)
	n.Lint.Ignored, _ = find.Ignored(tree, search) // n.Bad says what is wrong with the file
	n.hold(ctx, tree, search, at)
	var notes []string
	n.Lint.Needs, notes = listedNeeds(tree)
	n.Notes = append(n.Notes, notes...)
	for _, known := range artifact.Binaries {
		if info, err := fs.Stat(tree, known.Path); err == nil && !info.IsDir() && len(distroQueries(artifact.Kind{Distro: known.Distro})) > 0 {
			n.Notes = append(n.Notes, known.Path+" was not asked which images it needs: that takes a Kubefile that copies it")
		}
	}
	return report(ctx, n)
}

// hold adds what the tree has in images/: what its index names, and what lies in archives, which stay open until close.
func (n *Needed) hold(ctx context.Context, tree fs.FS, o find.Options, at transport.Options) {
	var err error
	if n.Lint.Held, err = heldIn(tree); err != nil {
		n.Bad = errors.Join(n.Bad, err)
	}
	names, err := find.Archives(tree, o)
	if err != nil {
		return // BASE says so, too
	}
	for _, name := range names {
		if err := n.openArchive(ctx, tree, name, at); err != nil {
			n.Bad = errors.Join(n.Bad, err)
		}
	}
}

func (n *Needed) openArchive(ctx context.Context, tree fs.FS, name string, at transport.Options) error {
	place, err := transport.Tarball(ctx, name, func() (io.ReadCloser, error) { return tree.Open(name) }, at)
	if err != nil {
		return err
	}
	n.opened = append(n.opened, place)
	refs, err := place.Refs(ctx)
	for _, r := range refs {
		if n.Lint.Ignored(r.Ref) {
			continue
		}
		n.Lint.Held = append(n.Lint.Held, lint.Held{Ref: r.Ref, Where: name, Source: place})
	}
	return err
}

// heldIn returns what the index of images/ names.
func heldIn(tree fs.FS) ([]lint.Held, error) {
	index, err := fs.ReadFile(tree, imagesIndex)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lint.HeldIn(index, imagesIndex)
}

// close closes the archives and places.
func (n *Needed) close() (err error) {
	for _, p := range n.opened {
		err = errors.Join(err, p.Close())
	}
	return err
}
