package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// images are the images of an archive or a layout. It implements Place.
type images struct {
	name   string // in errors
	o      Options
	layout layout         // the files as a layout, whether they are one or not
	docker *dockerArchive // nil if docker saved nothing there
	list   []*image
}

// openFolder opens an OCI image layout.
func openFolder(name, path string, o Options) (*images, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &images{name: name, o: o, layout: layout{folder{root}}}
	var found bool
	p.list, found, err = p.layout.images()
	if err == nil && !found {
		err = errors.New("it is no OCI image layout: it has no index.json")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), root.Close())
	}
	return p, nil
}

// openArchive opens an archive of whatever kind its content says.
func openArchive(ctx context.Context, name string, open func() (io.ReadCloser, error), o Options) (*images, error) {
	t, err := newTarball(ctx, open, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	p := &images{name: name, o: o, layout: layout{t}}
	if err := p.load(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), t.Close())
	}
	return p, nil
}

// load finds the images of an archive. Many tools write both forms into one
// archive: that of OCI goes first, since its images keep their digests, but only
// where it is whole, as docker's always is.
func (p *images) load(ctx context.Context) error {
	oci, isLayout, err := p.layout.images()
	if err != nil {
		return err
	}
	archive, saved, err := newDockerArchive(ctx, p.layout.files)
	switch {
	case err != nil:
		return err
	case archive == nil && !isLayout:
		return errors.New("it is no archive of container images: it has neither the manifest.json of `docker save` nor the index.json of an OCI image layout at its top")
	case archive == nil:
		p.list = oci
		return nil
	}
	p.docker = archive
	if len(oci) == 1 && len(saved) == 1 && !oci[0].named() && !saved[0].named() && p.whole(ctx, oci[0]) {
		p.list = oci // docker save IMAGE-ID
		return nil
	}
	names := map[artifact.Reference]bool{}
	for _, i := range oci {
		if i.named() && (p.whole(ctx, i) || !has(saved, i.refs[0])) {
			names[i.refs[0]] = true
			p.list = append(p.list, i)
		}
	}
	taken := func(ref artifact.Reference) bool { return names[ref] }
	for _, i := range saved {
		nameless := !i.named()
		if i.refs = slices.DeleteFunc(i.refs, taken); i.named() || nameless {
			p.list = append(p.list, i)
		}
	}
	return nil
}

// whole reports whether the layout has all of an image for the platform.
func (p *images) whole(ctx context.Context, i *image) bool {
	return p.layout.whole(ctx, i.choose(p.o.Platform), p.o.Platform, 0)
}

func has(list []*image, ref artifact.Reference) bool {
	return slices.ContainsFunc(list, func(i *image) bool { return slices.Contains(i.refs, ref) })
}

// Close implements Place.
func (p *images) Close() error { return p.layout.Close() }

// allNamed returns an error that lists the images without a name.
func (p *images) allNamed() error {
	var bad []string
	for _, i := range p.list {
		if !i.named() {
			bad = append(bad, cmp.Or(i.tag, i.text))
		}
	}
	if len(p.list) == 0 {
		return fmt.Errorf("%s: no image is in it", p.name)
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s has no full name by which a node could ask for it: save it by its name (docker save NAME:TAG), or name it where it is listed (docker-archive:FILE:NAME:TAG, oci:FOLDER:NAME:TAG)",
		p.name, strings.Join(bad, ", "))
}

// describe returns the descriptor of an image.
func (p *images) describe(ctx context.Context, i *image) (v1.Descriptor, error) {
	if i.docker == nil {
		return i.choose(p.o.Platform), nil
	}
	d, err := p.docker.describe(ctx, i.docker)
	if err != nil {
		return d, fmt.Errorf("%s: %w", p.name, err)
	}
	return d, nil
}

// Refs implements Place.
func (p *images) Refs(ctx context.Context) ([]artifact.Named, error) {
	if err := p.allNamed(); err != nil {
		return nil, err
	}
	byName := map[artifact.Reference]v1.Descriptor{}
	for _, i := range p.list {
		d, err := p.describe(ctx, i)
		if err != nil {
			return nil, err
		}
		for _, ref := range i.refs {
			byName[ref] = d
		}
	}
	var list []artifact.Named
	for ref, d := range byName {
		list = append(list, artifact.Named{Ref: ref, Desc: d})
	}
	slices.SortFunc(list, func(a, b artifact.Named) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return list, nil
}

// Resolve implements artifact.Source.
func (p *images) Resolve(ctx context.Context, ref artifact.Reference) (v1.Descriptor, error) {
	h, pinned := ref.Digest()
	if pinned {
		if d, err := p.layout.describe(h); !errors.Is(err, fs.ErrNotExist) {
			return d, p.wrap(ref, err)
		}
	}
	list := p.find(ref)
	if len(list) == 0 {
		return v1.Descriptor{}, fmt.Errorf("%s: %w in %s%s", ref.Familiar(), artifact.ErrNotFound, p.name, p.names())
	}
	for _, i := range list {
		d, err := p.describe(ctx, i)
		if err != nil {
			return v1.Descriptor{}, p.wrap(ref, err)
		}
		if !pinned || d.Digest == h {
			return d, nil
		}
	}
	return v1.Descriptor{}, fmt.Errorf("%s: %w by this digest in %s: docker saves images without the manifests that their digests in registries are of", ref.Familiar(), artifact.ErrNotFound, p.name)
}

func (p *images) wrap(ref artifact.Reference, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", ref.Familiar(), err)
}

// find returns the images that ref may mean, the last of a name first: docker load
// gives the name to that one, too.
func (p *images) find(ref artifact.Reference) []*image {
	var list, nameless []*image
	for _, i := range slices.Backward(p.list) {
		if slices.ContainsFunc(i.refs, func(have artifact.Reference) bool { return fits(have, ref) }) {
			list = append(list, i)
		}
	}
	if len(list) > 0 || !p.o.Adopt {
		return list
	}
	for _, i := range p.list {
		whole, err := artifact.ParseReference(i.tag) // skopeo writes what it is told: oci:FOLDER:nginx
		switch {
		case i.named():
		case i.tag == "":
			nameless = append(nameless, i)
		case i.tag == ref.Tag(), err == nil && fits(whole, ref):
			list = append(list, i)
		}
	}
	if len(p.list) == 1 && len(list) == 0 {
		return nameless
	}
	return list
}

// fits reports whether an image called have may be meant by want: by its tag, or
// else by a digest that is still to be compared.
func fits(have, want artifact.Reference) bool {
	_, pinned := want.Digest()
	return have.Name() == want.Name() && (have.Tag() == want.Tag() || pinned && (have.Tag() == "" || want.Tag() == ""))
}

// maxNames is how many names an error lists.
const maxNames = 5

// names tells what is there instead of what was asked for.
func (p *images) names() string {
	var list []string
	for _, i := range p.list {
		for _, ref := range i.refs {
			list = append(list, ref.Familiar())
		}
	}
	slices.Sort(list)
	list = slices.Compact(list)
	switch n := len(list); {
	case n == 0:
		return ", where no image has a name"
	case n > maxNames:
		return fmt.Sprintf(", which has %s and %d more", strings.Join(list[:maxNames], ", "), n-maxNames)
	}
	return ", which has " + strings.Join(list, ", ")
}

// Open implements artifact.Source.
func (p *images) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	open := p.blob(d.Digest)
	if open == nil && p.docker != nil && (d.MediaType.IsImage() || d.MediaType == "") { // a manifest that another process saw
		for _, i := range p.list {
			if _, err := p.describe(ctx, i); err != nil {
				return nil, p.wrap(ref, err)
			}
		}
		open = p.blob(d.Digest)
	}
	if open == nil {
		return nil, fmt.Errorf("%s: blob %s: %w in %s: it is not complete: save the image again", ref.Familiar(), d.Digest, artifact.ErrNotFound, p.name)
	}
	r, err := from(open, offset)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", ref.Familiar(), p.name, err)
	}
	return r, nil
}

// blob returns how to open a blob, nil if it is not there.
func (p *images) blob(h v1.Hash) func() (io.ReadCloser, error) {
	if f, err := p.layout.file(blobPath(h)); err == nil {
		return f.open
	}
	if p.docker != nil {
		return p.docker.blob(h)
	}
	return nil
}
