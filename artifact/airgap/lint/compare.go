package lint

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/airgap"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// HeldIn returns the images that an index.json of images/ names. where is the name of that file. Entries without a
// name, such as those of signatures, are left out.
func HeldIn(index []byte, where string) ([]Held, error) {
	idx, err := layout.ParseIndex(index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	var held []Held
	for _, d := range idx.Manifests {
		name := layout.NameOf(d)
		if name == "" {
			continue
		}
		ref, err := artifact.ParseReference(name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		held = append(held, Held{Ref: ref, Where: where})
	}
	return held, nil
}

// means reports whether a runtime that looks for ref would take h: it looks for the digest, where there is one.
func (h Held) means(ref artifact.Reference) bool {
	return h.Ref.Name() == ref.Name() && h.Ref.Object() == ref.Object()
}

// Equivalent reports whether have may stand in for want on a node whose distribution was told of another registry: the
// tag is the same, and so is the end of the name, after a registry and whatever prefix it has. kubeadm leaves out the
// folder of coredns/coredns then (kubernetes, cmd/kubeadm/app/images, GetDNSImage).
func Equivalent(want, have artifact.Reference) bool {
	if have == want || have.Name() == want.Name() && have.Object() == want.Object() {
		return true
	}
	if want.Tag() == "" || want.Tag() != have.Tag() {
		return false
	}
	name := strings.TrimPrefix(want.Path(), "library/")
	if folder, last, ok := strings.Cut(name, "/"); ok && folder == last {
		name = last
	}
	return strings.HasSuffix("/"+have.Path(), "/"+name)
}

// Lacking returns those of the images that a distribution needs that none of have is or stands in for, each once.
func (n Needs) Lacking(have []artifact.Reference) []airgap.Image {
	var lacking []airgap.Image
	for _, want := range n.Images {
		fits := func(ref artifact.Reference) bool { return Equivalent(want.Ref, ref) }
		same := func(img airgap.Image) bool { return img.Ref == want.Ref }
		if !slices.ContainsFunc(have, fits) && !slices.ContainsFunc(lacking, same) {
			lacking = append(lacking, want)
		}
	}
	return lacking
}

// forgotten finds what the distribution needs and the tree neither asks for nor has.
func forgotten(images []airgap.Image, o Options) []Finding {
	var have []artifact.Reference
	for _, img := range images {
		have = append(have, img.Ref)
	}
	for _, h := range o.Held {
		have = append(have, h.Ref)
	}
	var found []Finding
	for _, n := range o.Needs {
		if n.Optional {
			continue
		}
		for _, img := range n.Lacking(have) {
			if o.Ignored != nil && o.Ignored(img.Ref) {
				continue
			}
			found = append(found, Finding{
				Image: img.Ref.Familiar(), State: StateForgotten, Where: []string{img.Where},
				Err: fmt.Errorf("%s: the distribution needs it: add it to manifests/imageList", img.Ref.Familiar()),
			})
			have = append(have, img.Ref)
		}
	}
	return found
}

// unasked returns what the tree has and does not ask for. Of what is held by digest, an index that is asked for by digest
// has company from its platform's manifest, and an image from its signatures.
func (o Options) unasked(images []airgap.Image) []Held {
	return slices.DeleteFunc(slices.Clone(o.Held), func(h Held) bool {
		return layout.SubjectOfTag(h.Ref) != (v1.Hash{}) || slices.ContainsFunc(images, func(img airgap.Image) bool {
			_, pinned := img.Ref.Digest()
			return h.means(img.Ref) || h.Ref.Tag() == "" && pinned && h.Ref.Name() == img.Ref.Name()
		})
	})
}

// needs reports whether the distribution needs an image, be it with other settings.
func (o Options) needs(ref artifact.Reference) bool {
	return slices.ContainsFunc(o.Needs, func(n Needs) bool {
		return slices.ContainsFunc(n.Images, func(img airgap.Image) bool { return Equivalent(img.Ref, ref) })
	})
}

// repeated finds the lines of image lists that ask for what another line of a list asks for. Lines for other platforms
// are alternatives.
func repeated(images []airgap.Image, o Options) []Finding {
	type line struct{ ref, platform, from string }
	first := map[line]string{}
	var found []Finding
	for _, img := range images {
		file := img.Where[:max(0, strings.LastIndexByte(img.Where, ':'))]
		if o.IsList == nil || !o.IsList(file) {
			continue
		}
		l := line{ref: img.Ref.String(), from: img.From}
		if img.Platform != nil {
			l.platform = img.Platform.String()
		}
		if where, again := first[l]; !again {
			first[l] = img.Where
		} else if where != img.Where {
			found = append(found, Finding{Image: img.Ref.Familiar(), State: StateRepeated, Where: []string{img.Where, where}})
		}
	}
	return found
}

// badPlaces makes a finding of each of the errors that are joined in err.
func badPlaces(err error) []Finding {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok && !oneLine(err) {
		var found []Finding
		for _, e := range joined.Unwrap() {
			found = append(found, badPlaces(e)...)
		}
		return found
	}
	f := Finding{State: StateBad, Err: err}
	var line *airgap.LineError
	if errors.As(err, &line) {
		f.Image, f.Where, f.Err = line.Text, []string{fmt.Sprintf("%s:%d", line.File, line.Line)}, line.Err
	} else if place := regexp.MustCompile(`^([^\s:]+:\d+|[^\s:]*[./][^\s:]*):`).FindStringSubmatch(err.Error()); place != nil {
		f.Where = []string{place[1]}
	}
	return []Finding{f}
}

// oneLine reports whether an error of several causes is one sentence rather than a list.
func oneLine(err error) bool { return !strings.Contains(err.Error(), "\n") }
