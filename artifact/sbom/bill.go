package sbom

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/contents"
)

// maxFiles bounds the files of the tree that a document lists. Those in the
// directories of a cluster image, and beside these, come first.
const maxFiles = 10_000

// What an element is.
const (
	ofCluster = "cluster-image"
	ofImage   = "container-image"
	ofPackage = "package"
	ofProgram = "program"
	ofModule  = "module"
	ofChart   = "chart"
	ofDistro  = "distribution"
)

// element is a thing in a bill of materials.
type element struct {
	id      string // unique, and the same for the same thing
	kind    string
	name    string
	version string
	purl    string
	sha256  string // in hex
	licence string // as whoever made it writes it
	vendor  string
	comment string
}

// relation says what an element has to do with another.
type relation struct {
	from, to string
	depends  bool // from depends on to; otherwise it contains to
}

// bill is a bill of materials, whatever its format.
type bill struct {
	About
	root      *element
	elements  map[string]*element
	relations map[relation]bool
	files     []*contents.File
	made      map[string]string // by file of the tree: the program that it is
	notes     []string
}

// newBill lists what is in a cluster image.
func newBill(a About, c *contents.Contents) *bill {
	b := &bill{About: a, elements: map[string]*element{}, relations: map[relation]bool{}, made: map[string]string{}, notes: slices.Clone(c.Notes)}
	b.root = b.add(element{kind: ofCluster, name: a.Ref.Name(), version: a.version(), sha256: a.Digest.Hex,
		purl: imagePURL(a.Ref, a.Digest, a.Platform), comment: "cluster image"}, a.Digest.Hex)
	b.distribution()
	b.software(b.root, &c.Software, true)
	for i := range c.Images {
		b.image(&c.Images[i])
	}
	b.takeFiles(c.Files)
	return b
}

// add takes in an element, once. What says what it is makes its id.
func (b *bill) add(e element, what ...string) *element {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{e.kind}, what...), "\x00")))
	e.id = e.kind + "-" + hex.EncodeToString(sum[:8])
	if old := b.elements[e.id]; old != nil {
		return old
	}
	b.elements[e.id] = &e
	return &e
}

func (b *bill) contains(from, to *element)  { b.relations[relation{from.id, to.id, false}] = true }
func (b *bill) dependsOn(from, to *element) { b.relations[relation{from.id, to.id, true}] = true }

// distribution takes in what the labels say that the cluster image boots.
func (b *bill) distribution() {
	k := b.Kind
	if k.Distro == "" {
		return
	}
	e := b.add(element{kind: ofDistro, name: k.Distro, version: k.Version, purl: purl("generic", "", k.Distro, k.Version, nil, ""),
		comment: "distribution of Kubernetes, as the labels of the cluster image say"}, k.Distro, k.Version)
	b.contains(b.root, e)
	for _, binary := range artifact.Binaries {
		if binary.Distro == k.Distro {
			b.made[binary.Path] = e.id
		}
	}
}

// software takes in what is in a tree; own says that it is the cluster image's.
func (b *bill) software(in *element, s *contents.Software, own bool) {
	for _, p := range s.Packages {
		url := packagePURL(p, s.OS)
		b.contains(in, b.add(element{kind: ofPackage, name: p.Name, version: p.Version, purl: url, licence: p.Licence, vendor: p.Maintainer,
			comment: "found in " + p.File}, cmp.Or(url, p.Kind+" "+p.Name+" "+p.Version+" "+p.Arch)))
	}
	for i := range s.Programs {
		b.program(in, &s.Programs[i], own)
	}
	b.charts(in, s.Charts)
}

// program takes in a Go program and its modules.
func (b *bill) program(in *element, p *contents.Program, own bool) {
	digest := hex.EncodeToString(p.SHA256[:])
	e := b.add(element{kind: ofProgram, name: cmp.Or(p.Path, p.Main.Path, p.Files[0]), version: p.Main.Version, purl: modulePURL(p.Main, p.Path),
		sha256: digest, comment: "Go program, found as " + strings.Join(p.Files, ", ")}, digest)
	b.contains(in, e)
	if own {
		for _, name := range p.Files {
			if distro := b.elements[b.made[name]]; distro != nil {
				b.contains(distro, e)
			}
			b.made[name] = e.id
		}
	}
	if url, version := libraryPURL(p.Go); version != "" {
		b.dependsOn(e, b.add(element{kind: ofModule, name: "stdlib", version: version, purl: url, comment: "standard library of Go"}, "stdlib", version))
	}
	for _, m := range p.Modules {
		b.dependsOn(e, b.add(element{kind: ofModule, name: m.Path, version: m.Version, purl: modulePURL(m, "")}, m.Path, m.Version))
	}
}

// charts takes in charts, and what they depend on.
func (b *bill) charts(in *element, charts []contents.Chart) {
	added := make([]*element, len(charts))
	for i, c := range charts {
		comment := "Helm chart, found as " + c.File
		if c.AppVersion != "" {
			comment += "; version of the application: " + c.AppVersion
		}
		added[i] = b.add(element{kind: ofChart, name: c.Name, version: c.Version, purl: chartPURL(c.Name, c.Version), comment: comment}, c.File, c.Name, c.Version)
		b.contains(in, added[i])
	}
	for i, c := range charts {
		for _, d := range c.Dependencies {
			at := slices.IndexFunc(charts, func(other contents.Chart) bool { return other.Name == d.Name && isBelow(c.File, other.File) })
			if at >= 0 {
				b.dependsOn(added[i], added[at])
				continue
			}
			comment := "Helm chart that is not inside; wanted: " + cmp.Or(d.Version, "any version")
			if d.Repository != "" {
				comment += " from " + d.Repository
			}
			b.dependsOn(added[i], b.add(element{kind: ofChart, name: d.Name, purl: chartPURL(d.Name, ""), comment: comment}, "", d.Name, d.Version, d.Repository))
		}
	}
}

// isBelow reports whether a chart's file is in the directory of another's, or in
// that archive.
func isBelow(parent, child string) bool {
	dir := strings.TrimSuffix(parent, "Chart.yaml")
	return child != parent && strings.HasPrefix(child, dir)
}

// image takes in a container image and what is in it for each platform.
func (b *bill) image(img *contents.Image) {
	for _, v := range img.Variants {
		e := b.imageElement(img, v.Digest, v.Platform)
		b.contains(b.root, e)
		b.software(e, &v.Software, false)
		if v.Digest != img.Digest {
			index := b.imageElement(img, img.Digest, "")
			b.contains(b.root, index)
			b.contains(index, e)
		}
	}
	if len(img.Variants) == 0 {
		b.contains(b.root, b.imageElement(img, img.Digest, ""))
	}
}

func (b *bill) imageElement(img *contents.Image, h v1.Hash, platform string) *element {
	var ref artifact.Reference // zero: it has no package URL then
	if len(img.Names) > 0 {
		ref, _ = artifact.ParseReference(img.Names[0])
	}
	e := element{kind: ofImage, name: img.Title(), version: h.String(), sha256: h.Hex, purl: imagePURL(ref, h, platform), comment: "container image"}
	if platform != "" {
		e.comment += " for " + platform
	}
	if len(img.Names) > 1 {
		e.comment += ", also called " + strings.Join(img.Names[1:], ", ")
	}
	if ref.Tag() != "" {
		e.name, e.version = ref.Name(), ref.Tag()
	}
	return b.add(e, h.Hex)
}

// takeFiles takes in the files of the tree.
func (b *bill) takeFiles(files []*contents.File) {
	var first, rest []*contents.File
	for _, f := range files {
		top, _, below := strings.Cut(f.Name, "/")
		switch {
		case f.Digest().Hex == "":
		case !below || artifact.IsWellKnown(top):
			first = append(first, f)
		default:
			rest = append(rest, f)
		}
	}
	b.files = append(first, rest...)
	if left := len(b.files) - maxFiles; left > 0 {
		b.files = b.files[:maxFiles]
		b.notes = append(b.notes, fmt.Sprintf("%d files of the tree are not listed, beside the %d that are", left, maxFiles))
	}
	slices.SortFunc(b.files, func(x, y *contents.File) int { return cmp.Compare(x.Name, y.Name) })
}

// fileID returns the identifier of a file of the tree.
func fileID(f *contents.File) string {
	sum := sha256.Sum256([]byte(f.Name))
	return "file-" + hex.EncodeToString(sum[:8])
}

// sorted returns the elements, the cluster image first.
func (b *bill) sorted() []*element {
	list := make([]*element, 0, len(b.elements))
	for _, e := range b.elements {
		list = append(list, e)
	}
	slices.SortFunc(list, func(x, y *element) int {
		return cmp.Or(cmp.Compare(rank(x.kind), rank(y.kind)), cmp.Compare(x.name, y.name), cmp.Compare(x.version, y.version), cmp.Compare(x.id, y.id))
	})
	return list
}

// rank orders kinds of elements.
func rank(kind string) int {
	return slices.Index([]string{ofCluster, ofDistro, ofImage, ofChart, ofProgram, ofPackage, ofModule}, kind)
}

// links returns the relations, sorted.
func (b *bill) links() []relation {
	list := make([]relation, 0, len(b.relations))
	for r := range b.relations {
		list = append(list, r)
	}
	slices.SortFunc(list, func(x, y relation) int {
		return cmp.Or(cmp.Compare(x.from, y.from), cmp.Compare(x.to, y.to), compareBool(x.depends, y.depends))
	})
	return list
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// remarks returns what a reader of the document has to know of what it lacks.
func (b *bill) remarks() []string {
	const limits = "Of container images the packages of dpkg and apk and the modules of Go programs are listed, not their files; " +
		"packages of RPM and of other languages, and what is packed into a program, are not read."
	return append([]string{limits}, b.notes...)
}
