package contents

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// ImageChange is a container image that was added, removed or changed: the name
// leads to another digest, or it is the only image of its repository on either
// side and has another name now.
type ImageChange struct {
	From, To *Image // nil: it is not there; Variants are not filled in, and there is one name
}

// Title returns what to call the image.
func (c ImageChange) Title() string {
	if c.To != nil {
		return c.To.Title()
	}
	return c.From.Title()
}

// list returns every name of images/index.json and what it leads to.
func (a *assembly) list() map[string]*Image {
	images := map[string]*Image{}
	for _, d := range a.entries() {
		img := &Image{Digest: d.Digest}
		if name := layout.NameOf(d); name != "" {
			img.Names = []string{name}
		}
		images[img.Title()] = img
	}
	return images
}

// compareImages tells what differs in two lists of images.
func compareImages(a, b map[string]*Image) []ImageChange {
	var list []ImageChange
	removed, added := map[string][]*Image{}, map[string][]*Image{}
	for _, name := range slices.Sorted(maps.Keys(a)) {
		switch to := b[name]; {
		case to == nil:
			repo := repository(a[name])
			removed[repo] = append(removed[repo], a[name])
		case to.Digest != a[name].Digest:
			list = append(list, ImageChange{a[name], to})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if a[name] == nil {
			repo := repository(b[name])
			added[repo] = append(added[repo], b[name])
		}
	}
	for repo, gone := range removed {
		if come := added[repo]; len(gone) == 1 && len(come) == 1 {
			list = append(list, ImageChange{gone[0], come[0]})
			delete(added, repo)
			continue
		}
		for _, img := range gone {
			list = append(list, ImageChange{From: img})
		}
	}
	for _, come := range added {
		for _, img := range come {
			list = append(list, ImageChange{To: img})
		}
	}
	slices.SortFunc(list, func(x, y ImageChange) int {
		return cmp.Or(cmp.Compare(x.Title(), y.Title()), cmp.Compare(sideOf(x), sideOf(y)))
	})
	return list
}

// sideOf orders what is called alike: what is gone comes first.
func sideOf(c ImageChange) int {
	if c.To == nil {
		return 0
	}
	return 1
}

// repository returns the name of an image without tag and digest. An image without
// a name that can be read is alone.
func repository(img *Image) string {
	if len(img.Names) == 0 {
		return img.Digest.String()
	}
	ref, err := artifact.ParseReference(img.Names[0])
	if err != nil {
		return img.Names[0]
	}
	return ref.Name()
}

// unread adds to blobs the layers of an image that were not read.
func (a *assembly) unread(img *Image, lacking map[string]bool) {
	for _, h := range a.manifests(img.Digest) {
		m := a.blob(h)
		if m.doc == nil {
			continue
		}
		for _, d := range m.doc.Layers {
			if b := a.blob(d.Digest); d.MediaType.IsLayer() && b != nil && b.layer == nil && b.note == "" {
				lacking[d.Digest.Hex] = true
			}
		}
	}
}

// PackageChange is a package whose versions differ.
type PackageChange struct {
	Image    string   // the container image that it is in; "" is the tree of the cluster image
	File     string   // the program that it is in, in the tree; "" is none
	Kind     string   // of the package, as in package URLs: deb, apk, golang, helm
	Name     string   // of the package
	From, To []string // its versions, sorted; none: it is not there
}

// packageKey is what a package is called somewhere.
type packageKey struct{ image, file, kind, name string }

// versions are those of packages.
type versions map[packageKey]map[string]bool

func (v versions) add(k packageKey, version string) {
	if v[k] == nil {
		v[k] = map[string]bool{}
	}
	v[k][cmp.Or(version, "unknown")] = true
}

// addAll takes in the software of a container image or, when that is "", of the
// tree, where each program counts by itself.
func (v versions) addAll(image string, s *Software) {
	for _, p := range s.Packages {
		v.add(packageKey{image, "", p.Kind, p.Name}, p.Version)
	}
	for _, c := range s.Charts {
		v.add(packageKey{image, "", "helm", c.Name}, c.Version)
	}
	for _, p := range s.Programs {
		file := ""
		if image == "" {
			file = p.Files[0]
		}
		if p.Main.Version != "" {
			v.add(packageKey{image, file, "golang", cmp.Or(p.Path, p.Main.Path)}, p.Main.Version)
		}
		if p.Go != "" {
			v.add(packageKey{image, file, "golang", "stdlib"}, strings.TrimPrefix(p.Go, "go"))
		}
		for _, m := range p.Modules {
			v.add(packageKey{image, file, "golang", m.Path}, m.Version)
		}
	}
}

// comparePackageLists tells what differs in the software of the trees, and of the
// container images that differ. An image is called as it is now.
func comparePackageLists(a, b *assembly, images []ImageChange) []PackageChange {
	from, to := versions{}, versions{}
	for side, v := range map[*assembly]versions{a: from, b: to} {
		s := side.software("", side.tree)
		v.addAll("", &s)
	}
	for _, change := range images {
		for _, side := range []struct {
			*assembly
			*Image
			versions
		}{{a, change.From, from}, {b, change.To, to}} {
			if side.Image == nil {
				continue
			}
			img := *side.Image
			side.variants(&img)
			for _, variant := range img.Variants {
				side.addAll(change.Title(), &variant.Software)
			}
		}
	}
	return from.compare(to)
}

// compare lists what differs.
func (v versions) compare(to versions) []PackageChange {
	keys := map[packageKey]bool{}
	for k := range v {
		keys[k] = true
	}
	for k := range to {
		keys[k] = true
	}
	var list []PackageChange
	for k := range keys {
		c := PackageChange{k.image, k.file, k.kind, k.name, slices.Sorted(maps.Keys(v[k])), slices.Sorted(maps.Keys(to[k]))}
		if !slices.Equal(c.From, c.To) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(x, y PackageChange) int {
		return cmp.Or(cmp.Compare(x.Image, y.Image), cmp.Compare(x.File, y.File), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name))
	})
	return list
}
