package contents

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// assemble makes what is inside a cluster image of what its layers say.
func (r *reader) assemble(records []*record) *Contents {
	tree := merge(r.seed, records)
	a := &assembly{reader: r, tree: tree}
	out := &Contents{}
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if !ofLayout(name) {
			out.Files = append(out.Files, tree[name])
		}
	}
	out.Software = a.software("", tree)
	a.images(out)
	slices.Sort(a.notes)
	out.Notes = slices.Compact(a.notes)
	return out
}

// ofLayout reports whether a file is a part of the image layout in images/.
func ofLayout(name string) bool {
	switch name, ok := strings.CutPrefix(name, "images/"); {
	case !ok:
		return false
	case name == "index.json", name == "oci-layout", name == "blobs", name+"/" == blobs:
		return true
	default:
		return strings.HasPrefix(name, blobs)
	}
}

// assembly is the tree of a cluster image while it is taken apart.
type assembly struct {
	*reader
	tree  map[string]*File
	notes []string
}

// note takes in a sentence about a file of a container image, or of the tree.
func (a *assembly) note(where, what string) { a.notes = append(a.notes, where+": "+what) }

// blob returns what a blob of images/ told; nil if it is not there.
func (a *assembly) blob(h v1.Hash) *found {
	f := a.tree["images/"+layout.BlobPath(h)]
	switch {
	case f == nil:
		return nil
	case f.found == nil:
		return &found{}
	}
	return f.found
}

// software collects what files say, those of the container image of that name or
// of the tree.
func (a *assembly) software(image string, files map[string]*File) Software {
	var s Software
	programs := map[[32]byte]*Program{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name].found
		if f == nil || image == "" && ofLayout(name) {
			continue
		}
		if f.note != "" {
			a.note(strings.TrimPrefix(image+": "+name, ": "), f.note)
		}
		if f.os != nil && (s.OS == OS{}) { // etc/ comes before usr/lib/, as it has to
			s.OS = *f.os
		}
		s.Packages = append(s.Packages, f.packages...)
		s.Charts = append(s.Charts, f.charts...)
		if f.program == nil {
			continue
		}
		p := programs[f.program.SHA256]
		if p == nil {
			other := *f.program
			p = &other
			programs[p.SHA256] = p
		}
		p.Files = append(p.Files, name)
	}
	for _, p := range programs {
		s.Programs = append(s.Programs, *p)
	}
	slices.SortFunc(s.Programs, func(a, b Program) int { return cmp.Compare(a.Files[0], b.Files[0]) })
	slices.SortFunc(s.Charts, func(a, b Chart) int { return cmp.Compare(a.File, b.File) })
	slices.SortFunc(s.Packages, comparePackages)
	return s
}

func comparePackages(a, b Package) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version), cmp.Compare(a.File, b.File))
}

// entries returns what images/index.json lists, less what is attached to images.
func (a *assembly) entries() []v1.Descriptor {
	index := a.tree["images/index.json"]
	if index == nil || index.found == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(index.found.entries), func(d v1.Descriptor) bool { return layout.AttachedName(d) != "" })
}

// images fills in the container images.
func (a *assembly) images(out *Contents) {
	byDigest := map[v1.Hash]int{}
	for _, d := range a.entries() {
		i, ok := byDigest[d.Digest]
		if !ok {
			i = len(out.Images)
			byDigest[d.Digest] = i
			out.Images = append(out.Images, Image{Digest: d.Digest})
		}
		if name := layout.NameOf(d); name != "" {
			out.Images[i].Names = append(out.Images[i].Names, name)
		}
	}
	for i := range out.Images {
		img := &out.Images[i]
		slices.Sort(img.Names)
		img.Names = slices.Compact(img.Names)
	}
	slices.SortFunc(out.Images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Title(), b.Title()), bytes.Compare([]byte(a.Digest.Hex), []byte(b.Digest.Hex)))
	})
	for i := range out.Images {
		a.variants(&out.Images[i])
	}
}

// Title returns what to call an image: its first name, or else its digest.
func (i *Image) Title() string {
	if len(i.Names) > 0 {
		return i.Names[0]
	}
	return i.Digest.String()
}

// variants fills in what an image is for every platform that is here.
func (a *assembly) variants(img *Image) {
	if top := a.blob(img.Digest); top == nil || top.doc == nil {
		a.note(img.Title(), "its manifest is not inside, or no manifest")
		return
	}
	for _, h := range a.manifests(img.Digest) {
		m := a.blob(h)
		if m.doc == nil || m.doc.Config == nil {
			a.note(img.Title(), h.String()+" is no manifest of an image")
			continue
		}
		img.Variants = append(img.Variants, a.variant(img.Title(), h, m.doc))
	}
}

// manifests returns the manifests that a digest leads to and that are here.
func (a *assembly) manifests(h v1.Hash) []v1.Hash {
	top := a.blob(h)
	if top == nil || top.doc == nil {
		return nil
	}
	if top.doc.Config != nil {
		return []v1.Hash{h}
	}
	var list []v1.Hash
	for _, d := range top.doc.Manifests {
		if d.MediaType.IsImage() && a.blob(d.Digest) != nil {
			list = append(list, d.Digest)
		}
	}
	return list
}

// variant returns what a container image is for one platform.
func (a *assembly) variant(title string, h v1.Hash, m *document) Variant {
	v := Variant{Digest: h}
	if config := a.blob(m.Config.Digest); config != nil && config.doc != nil {
		v.Platform = strings.TrimSuffix(path.Join(config.doc.OS, config.doc.Architecture, config.doc.Variant), "/")
	}
	var records []*record
	for i, d := range m.Layers {
		if !d.MediaType.IsLayer() {
			continue
		}
		switch b := a.blob(d.Digest); {
		case b == nil:
			a.note(title, fmt.Sprintf("layer %d, %s, is not inside", i+1, d.Digest))
		case b.layer == nil:
			a.note(title, fmt.Sprintf("layer %d, %s: %s", i+1, d.Digest, cmp.Or(b.note, "it is no archive")))
		default:
			records = append(records, b.layer)
		}
	}
	v.Software = a.software(title, merge(a.seed, records))
	return v
}
