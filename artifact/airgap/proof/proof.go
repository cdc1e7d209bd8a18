// Package proof tells whether a cluster image has all the content of all the
// container images that its tree asks for.
package proof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// Result says of a cluster image for one platform whether every container image
// in it has all its content, and whether it has all that its tree asks for.
type Result struct {
	Platform   string      // of the cluster image
	Index      string      // digest of images/index.json; "" if there is none
	References []Reference // in the order of index.json
	Blobs      int         // in images/, all of which were read and compared
	Bytes      int64       // of these
	Defects    []Defect    // none: the proof succeeded
}

// Reference is one entry of images/index.json.
type Reference struct {
	Name     string   // as container runtimes look for it, or that of a signature
	Digest   string   // that it leads to
	Size     int64    // bytes of all that it consists of and that is there
	Complete bool     // all its content is there, and is what its digests say
	Where    []string // every file:line that asks for it
}

// Defect is something that a cluster image lacks.
type Defect struct {
	Name  string   // the reference; "" where it is about all of them
	Where []string // every file:line that asks for it
	What  string   // what is missing or wrong
	Next  string   // what to do
}

// String returns the defect as a line.
func (d Defect) String() string {
	var b strings.Builder
	if len(d.Where) > 0 {
		b.WriteString(strings.Join(d.Where, ", ") + ": ")
	}
	if d.Name != "" {
		b.WriteString(d.Name + ": ")
	}
	b.WriteString(d.What)
	if d.Next != "" {
		b.WriteString(": " + d.Next)
	}
	return b.String()
}

// Options says what to prove. The zero value is usable.
type Options struct {
	// Needs returns the images that the tree of the cluster image asks for; nil:
	// none. The tree has manifests/, charts/, the texts beside them and every
	// .imageignore.
	Needs func(ctx context.Context, tree fs.FS) ([]airgap.Image, error)
	Jobs  int // layers read at a time; 0 means 4
}

// What to do about defects.
const (
	buildAgain = "build the image again"
	fetchAgain = "pull or load the image again, or build it again"
)

// Of reads every layer of a cluster image once, compares every blob of
// images/ with its digest, and follows every reference in images/index.json to
// all its content. m and cfg are what artifact.Manifest returned for ref in src.
// The error is about layers and files that cannot be read; what is missing or
// wrong otherwise is among the defects.
func Of(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest, cfg *v1.ConfigFile, o Options) (*Result, error) {
	tree := newSmallTree(len(m.Layers))
	c, err := layout.ReadContents(ctx, src, ref, m, o.Jobs, tree.add)
	if errors.Is(err, artifact.ErrNotFound) { // the store says what to do
		return nil, fmt.Errorf("prove %s: %w", ref.Familiar(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("prove %s: %w: %s", ref.Familiar(), err, fetchAgain)
	}
	p := &proving{c: c, platform: v1.Platform{OS: cfg.OS, Architecture: cfg.Architecture, Variant: cfg.Variant}}
	p.proof.Platform = p.platform.String()
	var needs []airgap.Image
	if o.Needs != nil {
		if needs, err = o.Needs(ctx, tree.merge()); err != nil {
			return nil, fmt.Errorf("prove %s: %w", ref.Familiar(), err)
		}
	}
	if err := p.prove(ctx, cfg.Config.Labels[artifact.LabelImagesDigest], needs); err != nil {
		return nil, fmt.Errorf("prove %s: %w", ref.Familiar(), err)
	}
	return &p.proof, nil
}

// proving is one proof under way.
type proving struct {
	c        *layout.Contents
	platform v1.Platform
	proof    Result
}

// defect notes that something is wrong.
func (p *proving) defect(name string, where []string, what, next string) {
	p.proof.Defects = append(p.proof.Defects, Defect{Name: name, Where: where, What: what, Next: next})
}

// prove looks at what the layers hold.
func (p *proving) prove(ctx context.Context, label string, needs []airgap.Image) error {
	files := p.c.Files()
	for _, f := range files {
		if strings.HasPrefix(f.Name, "blobs/") {
			p.proof.Blobs++
			p.proof.Bytes += max(f.Size, 0)
		}
	}
	switch index := p.c.Digest(); {
	case index.Hex != "":
		p.proof.Index = index.String()
		p.checkLayout(label, files)
	case label != "":
		p.defect("", nil, "the label "+artifact.LabelImagesDigest+" says that there are container images, but there is no images/index.json", buildAgain)
	}
	asked := p.checkNeeds(needs)
	seen := map[v1.Hash]bool{}
	for i, e := range p.c.Entries() {
		if err := p.checkEntry(ctx, i, e, asked, seen); err != nil {
			return err
		}
	}
	for _, f := range files {
		h := v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(f.Name, "blobs/sha256/")}
		if f.Err != nil && (f.Name != layout.BlobPath(h) || !seen[h]) {
			p.defect("", nil, f.Err.Error(), fetchAgain)
		}
	}
	return nil
}

// checkLayout compares what the directory says of itself.
func (p *proving) checkLayout(label string, files []layout.File) {
	switch {
	case label == "":
		p.defect("", nil, "the label "+artifact.LabelImagesDigest+" is missing, which locks the images: it would be "+p.proof.Index, buildAgain+" with sealrt")
	case label != p.proof.Index:
		p.defect("", nil, fmt.Sprintf("the label %s says %s, but images/index.json has %s", artifact.LabelImagesDigest, label, p.proof.Index), buildAgain)
	}
	if !slices.ContainsFunc(files, func(f layout.File) bool { return f.Name == "oci-layout" }) {
		p.defect("", nil, "images/oci-layout is missing, without which images/ is no image layout", buildAgain)
	}
}

// checkNeeds notes every image that the tree asks for and that has no entry of
// the form that a node looks up, and returns who asks for which entry.
func (p *proving) checkNeeds(needs []airgap.Image) map[string][]airgap.Image {
	has := map[string]bool{}
	for _, e := range p.c.Entries() {
		has[e.Name] = true
	}
	asked := map[string][]airgap.Image{}
	var order []string
	for _, img := range needs {
		if img.Ref.IsZero() { // all of a tarball: it is their names that count
			continue
		}
		forms := layout.Forms(img.Ref)
		name := forms[len(forms)-1] // with a digest the tag does not count
		if _, known := asked[name]; !known {
			order = append(order, name)
		}
		for _, form := range forms {
			asked[form] = append(asked[form], img)
		}
	}
	for _, name := range order {
		if !has[name] {
			p.defect(name, wheres(asked[name]), "the tree asks for it, and images/index.json does not have it", buildAgain+", which fetches it")
		}
	}
	return asked
}

// wheres returns every place that asks for one of the images, once.
func wheres(images []airgap.Image) []string {
	var list []string
	for _, img := range images {
		list = append(list, img.Where)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// checkEntry follows entry i of index.json to all its content.
func (p *proving) checkEntry(ctx context.Context, i int, entry layout.Entry, asked map[string][]airgap.Image, seen map[v1.Hash]bool) error {
	name, d := entry.Name, entry.Desc
	e := Reference{Name: cmp.Or(name, entry.Carried), Digest: d.Digest.String(), Where: wheres(asked[name]), Complete: true}
	wrong := func(what, next string) {
		e.Complete = false
		p.defect(e.Name, e.Where, what, next)
	}
	if what := p.c.Flaw(i); what != "" {
		wrong(what, buildAgain)
	}
	all, err := layout.Follow(ctx, p.c, d)
	if err != nil {
		return err
	}
	maps.Copy(seen, all.Seen)
	e.Size = all.Size
	for _, what := range all.Lacks {
		wrong(what, fetchAgain)
	}
	if name == "" && e.Name == "" && !all.Subject {
		wrong(fmt.Sprintf("entry %d of images/index.json, %s, has no name: no container runtime finds it", i+1, d.Digest), buildAgain)
	}
	if name != "" && len(all.Lacks) == 0 && p.platform.OS != "" {
		if what, err := p.checkPlatform(ctx, d, asked[name]); err != nil {
			return err
		} else if what != "" {
			wrong(what, buildAgain)
		}
	}
	p.proof.References = append(p.proof.References, e)
	return nil
}

// checkPlatform says when an image is not for the platform that it is wanted on.
func (p *proving) checkPlatform(ctx context.Context, d v1.Descriptor, asked []airgap.Image) (string, error) {
	wanted := []v1.Platform{p.platform}
	for _, img := range asked {
		if img.Platform != nil {
			wanted = append(wanted, *img.Platform)
		}
	}
	var have string
	for _, want := range wanted {
		_, _, cfg, err := artifact.Manifest(ctx, p.c, artifact.Reference{}.WithDigest(d.Digest), &want)
		if errors.Is(err, artifact.ErrNotFound) {
			have = fmt.Sprintf("the index has nothing for %s, or that is not here", want)
			continue
		}
		if err != nil {
			return "", err
		}
		if artifact.Fits(cfg, want) {
			return "", nil
		}
		is := v1.Platform{OS: cmp.Or(cfg.OS, want.OS), Architecture: cmp.Or(cfg.Architecture, want.Architecture)}
		have = fmt.Sprintf("it is for %s, the cluster image for %s", is, p.platform)
	}
	return have, nil
}
