package contents

import (
	"context"
	"fmt"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact/layer"
)

// CompareOptions says what to compare beside the configuration.
type CompareOptions struct {
	Options
	Files    bool
	Images   bool
	Packages bool
}

// Difference is what tells one cluster image from another. The lists are sorted
// by name.
type Difference struct {
	Config   []SettingChange
	Files    []FileChange
	Images   []ImageChange
	Packages []PackageChange
	Notes    []string // what could not be read, each as a sentence
}

// Empty reports whether nothing differs of what was compared.
func (d *Difference) Empty() bool {
	return len(d.Config)+len(d.Files)+len(d.Images)+len(d.Packages) == 0
}

// FileChange is an entry of the tree that was added, removed or changed.
type FileChange struct {
	Name     string
	From, To *File // nil: it is not there
}

// Compare tells what differs from one cluster image to another. Layers that both
// have are read once, and of their content only what the other layers touch.
func Compare(ctx context.Context, from, to Cluster, o CompareOptions) (*Difference, error) {
	c := &comparison{reader: newReader(o.Options), o: o, records: map[v1.Hash]*record{}}
	d, err := c.run(ctx, from, to)
	if err != nil {
		return nil, fmt.Errorf("compare %s with %s: %w", from.Ref.Familiar(), to.Ref.Familiar(), err)
	}
	return d, nil
}

// comparison is one comparison under way.
type comparison struct {
	*reader
	o       CompareOptions
	shared  []place             // layers that both have and that were read
	records map[v1.Hash]*record // by the digest of the layer
}

// place is a layer and the cluster image that it is read from.
type place struct {
	in    Cluster
	layer v1.Descriptor
}

// some wants some of what is in layers.
type some struct {
	file func(name string) bool
	blob func(name string) bool
}

func (s some) content(name string) bool { return s.file(name) }
func (s some) image(blob string) bool   { return s.blob(blob) }
func (some) all() bool                  { return false }

// run reads the layers and compares what they show.
func (c *comparison) run(ctx context.Context, from, to Cluster) (*Difference, error) {
	out := &Difference{Config: compareConfigs(from.Config, to.Config)}
	same := slices.EqualFunc(from.Manifest.Layers, to.Manifest.Layers, func(a, b v1.Descriptor) bool { return a.Digest == b.Digest })
	if same || !c.o.Files && !c.o.Images && !c.o.Packages {
		return out, nil
	}
	if err := c.layers(ctx, from, to); err != nil {
		return nil, err
	}
	a := &assembly{reader: c.reader, tree: merge(c.seed, c.stackOf(from))}
	b := &assembly{reader: c.reader, tree: merge(c.seed, c.stackOf(to))}
	if c.o.Files {
		out.Files = compareFiles(a.tree, b.tree)
	}
	images := compareImages(a.list(), b.list())
	if c.o.Images {
		out.Images = images
	}
	if c.o.Packages {
		if err := c.complete(ctx, a, b, images); err != nil {
			return nil, err
		}
		out.Packages = comparePackageLists(a, b, images)
	}
	out.Notes = append(a.notes, b.notes...)
	slices.Sort(out.Notes)
	out.Notes = slices.Compact(out.Notes)
	return out, nil
}

// layers reads the layers that only one image has, and then what matters of those
// that both have.
func (c *comparison) layers(ctx context.Context, from, to Cluster) error {
	s := c.split(from, to)
	content := c.o.Files || c.o.Packages
	err := c.read(ctx, s.own, some{
		file: func(string) bool { return content },
		blob: func(string) bool { return c.o.Packages },
	}, c.take)
	if err != nil {
		return err
	}
	touched := newStack(c.seed)
	for _, r := range c.records {
		touched.add(r)
	}
	w := some{
		file: func(name string) bool { return content && (!s.ordered || touched.hides(name)) },
		blob: func(string) bool { return false },
	}
	if err := c.read(ctx, s.shared, w, c.take); err != nil {
		return err
	}
	c.shared = s.shared
	needed := c.needs(from, to, len(s.base))
	base := slices.DeleteFunc(s.base, func(p place) bool { return c.records[p.layer.Digest] != nil })
	if needed {
		c.shared = append(c.shared, base...)
		return c.read(ctx, base, w, c.take)
	}
	for _, p := range base {
		c.take(p.layer, &record{})
	}
	return nil
}

// needs reports whether the layers that both images lie on matter: unless the
// layers above hide just the same of them, and have the same container images.
func (c *comparison) needs(from, to Cluster, base int) bool {
	var stacks [2]*stack
	var lists [2]map[string]*Image
	for i, side := range [2]Cluster{from, to} {
		stacks[i] = newStack(c.seed)
		above := c.stackOf(side)[base:]
		for _, r := range above {
			stacks[i].add(r)
		}
		lists[i] = (&assembly{reader: c.reader, tree: merge(c.seed, above)}).list()
	}
	a, b := stacks[0], stacks[1]
	return !maps.Equal(a.dirs, b.dirs) || !maps.Equal(a.solid, b.solid) || !maps.Equal(a.gone, b.gone) || !maps.Equal(a.opaque, b.opaque) ||
		len(compareImages(lists[0], lists[1])) > 0
}

// take keeps the record of a layer.
func (c *comparison) take(d v1.Descriptor, r *record) { c.records[d.Digest] = r }

// layering is how the layers of two images lie to each other.
type layering struct {
	base    []place // both images begin with these
	shared  []place // others that both have
	own     []place // those that only one has
	ordered bool    // what both have comes in the same order
}

// split tells how the layers of two images lie to each other. Each is named once.
func (c *comparison) split(from, to Cluster) layering {
	var s layering
	seen := map[v1.Hash]bool{}
	a, b := from.Manifest.Layers, to.Manifest.Layers
	for i := range min(len(a), len(b)) {
		if a[i].Digest != b[i].Digest {
			break
		}
		s.base = append(s.base, place{from, a[i]})
	}
	var sequences [2][]v1.Hash
	for i, side := range [2]Cluster{from, to} {
		other := [2]Cluster{to, from}[i].Manifest.Layers
		for _, d := range side.Manifest.Layers[len(s.base):] {
			p, both := place{side, d}, slices.ContainsFunc(other, func(o v1.Descriptor) bool { return o.Digest == d.Digest })
			if both {
				sequences[i] = append(sequences[i], d.Digest)
			}
			switch {
			case seen[d.Digest]:
			case both:
				s.shared = append(s.shared, p)
			default:
				s.own = append(s.own, p)
			}
			seen[d.Digest] = true
		}
	}
	s.ordered = slices.Equal(sequences[0], sequences[1])
	return s
}

// read reads layers and gives their records to take, in order.
func (c *comparison) read(ctx context.Context, places []place, w wanted, take func(v1.Descriptor, *record)) error {
	records := make([]*record, len(places))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.jobs())
	for i, p := range places {
		g.Go(func() (err error) {
			if records[i], err = c.layer(gctx, p.in, p.layer, w); err != nil {
				err = fmt.Errorf("layer %s of %s: %w", p.layer.Digest, p.in.Ref.Familiar(), err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i, p := range places {
		take(p.layer, records[i])
	}
	return nil
}

// stackOf returns the records of an image's layers, the lowest first.
func (c *comparison) stackOf(side Cluster) []*record {
	list := make([]*record, len(side.Manifest.Layers))
	for i, d := range side.Manifest.Layers {
		list[i] = c.records[d.Digest]
	}
	return list
}

// complete reads, in layers that both cluster images have, the layers of container
// images that differ otherwise.
func (c *comparison) complete(ctx context.Context, a, b *assembly, images []ImageChange) error {
	lacking := map[string]bool{}
	for _, change := range images {
		for side, img := range map[*assembly]*Image{a: change.From, b: change.To} {
			if img != nil {
				side.unread(img, lacking)
			}
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	var places []place
	for _, p := range c.shared {
		has := func(blob string) bool { return c.records[p.layer.Digest].files["images/"+blobs+blob] != nil }
		if slices.ContainsFunc(slices.Collect(maps.Keys(lacking)), has) {
			places = append(places, p)
		}
	}
	w := some{file: func(string) bool { return false }, blob: func(blob string) bool { return lacking[blob] }}
	return c.read(ctx, places, w, func(d v1.Descriptor, r *record) {
		for name, f := range c.records[d.Digest].files {
			if again := r.files[name]; again != nil && f.found == nil {
				f.found = again.found
			}
		}
	})
}

// compareFiles tells what differs in two trees.
func compareFiles(a, b map[string]*File) []FileChange {
	var list []FileChange
	for name, from := range a {
		if to := b[name]; !ofLayout(name) && (to == nil || !from.same(to)) {
			list = append(list, FileChange{name, from, to})
		}
	}
	for name, to := range b {
		if a[name] == nil && !ofLayout(name) {
			list = append(list, FileChange{name, nil, to})
		}
	}
	slices.SortFunc(list, func(x, y FileChange) int { return layer.Compare(x.Name, y.Name) })
	return list
}

// same reports whether two entries are alike.
func (f *File) same(o *File) bool {
	return f == o || f.Mode == o.Mode && f.UID == o.UID && f.GID == o.GID && f.Size == o.Size && f.Link == o.Link && f.SHA256 == o.SHA256
}
