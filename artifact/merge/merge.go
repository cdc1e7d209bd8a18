// Package merge makes one cluster image of several.
//
// The first image stays as it is, layer for layer. What the others have besides what they share with it goes on top, in
// order: files of the later one count, and what one of them removes of the layers that they share is removed, and what a
// patch removes of any. Container images of
// all are in one images/, each blob once.
package merge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// Part is one of the images.
type Part struct {
	Ref    artifact.Reference
	Source artifact.Source // that has it
}

// Options says how images are merged. Store is required.
type Options struct {
	Store       *store.Store // where the new image goes
	Compression layer.Compression
	Created     time.Time // of what is added; zero is the Unix epoch
	Jobs        int       // layers of container images written at a time; 0 means 4
	Observe     func(artifact.Event)
}

// Report tells what came out for one platform.
type Report struct {
	Platform  string     `json:"platform"`
	Digest    string     `json:"digest"`
	Type      string     `json:"type"`
	Distro    string     `json:"distro,omitempty"`
	Version   string     `json:"version,omitempty"`
	Command   []string   `json:"command,omitempty"`
	Images    int        `json:"images"`              // entries of images/index.json
	Conflicts []Conflict `json:"conflicts,omitempty"` // what the images say differently
}

// Conflict is something that two of the images say differently, and what counts now.
type Conflict struct {
	What string `json:"what"`           // a file, a variable, a label, a container image
	From string `json:"from,omitempty"` // the image that counts; none: no image does
	Over string `json:"over"`           // the one that does not
	Why  string `json:"why,omitempty"`
}

// String returns the conflict as a line.
func (c Conflict) String() string {
	s := fmt.Sprintf("%s: that of %s counts, not of %s", c.What, c.From, c.Over)
	if c.From == "" {
		s = fmt.Sprintf("%s of %s", c.What, c.Over)
	}
	if c.Why != "" {
		s += ": " + c.Why
	}
	return s
}

// Images merges images into one, for the platforms that all of them have, and leaves it in the store. It returns the
// descriptor of the manifest, or of the index if there are several platforms, and a report for each. Equal images in the
// same order make the same image. The result stays in the store as long as somebody holds or tags it, see
// [store.Store.Hold].
func Images(ctx context.Context, parts []Part, o Options) (v1.Descriptor, []Report, error) {
	if o.Observe == nil {
		o.Observe = func(artifact.Event) {}
	}
	d, reports, err := images(ctx, parts, &merging{o, &layer.Buffers{}})
	if err != nil {
		return v1.Descriptor{}, nil, fmt.Errorf("merge: %w", err)
	}
	return d, reports, nil
}

// merging is one merge under way.
type merging struct {
	Options
	buffers *layer.Buffers
}

// version is a part for one platform.
type version struct {
	ref      artifact.Reference // pinned to the manifest
	src      artifact.Source
	manifest *v1.Manifest
	config   *v1.ConfigFile
}

// name is how the part is called in reports.
func (v version) name() string {
	if plain, err := v.ref.WithTag(v.ref.Tag()); err == nil {
		return plain.Familiar()
	}
	return v.ref.Familiar()
}

// platform returns the platform; zero is any.
func (v version) platform() v1.Platform {
	if p := v.config.Platform(); p != nil && p.OS != "" {
		return *p
	}
	return v1.Platform{}
}

func images(ctx context.Context, parts []Part, m *merging) (v1.Descriptor, []Report, error) {
	if len(parts) < 2 {
		return v1.Descriptor{}, nil, errors.New("two images are needed, at least")
	}
	all := make([][]version, len(parts))
	for i, p := range parts {
		if slices.ContainsFunc(parts[:i], func(other Part) bool { return other.Ref == p.Ref }) {
			return v1.Descriptor{}, nil, fmt.Errorf("%s is named twice: give the other image another name with `sealrt tag`", p.Ref.Familiar())
		}
		var err error
		if all[i], err = versions(ctx, p); err != nil {
			return v1.Descriptor{}, nil, err
		}
	}
	platforms, err := m.common(all)
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	var reports []Report
	for _, p := range platforms {
		chosen := make([]version, len(all))
		for i, list := range all {
			chosen[i] = fitting(list, p)
		}
		d, r, err := m.platform(ctx, chosen, p)
		if err != nil {
			return v1.Descriptor{}, nil, fmt.Errorf("%s: %w", text(p), err)
		}
		index.Manifests = append(index.Manifests, d)
		reports = append(reports, r)
	}
	if len(platforms) == 1 {
		return index.Manifests[0], reports, nil
	}
	d, err := m.Store.PutJSON(ctx, index.MediaType, index)
	return d, reports, err
}

// versions reads a part for every platform that it has.
func versions(ctx context.Context, p Part) ([]version, error) {
	top, err := p.Source.Resolve(ctx, p.Ref)
	if err != nil {
		return nil, err
	}
	list := []v1.Descriptor{top}
	if top.MediaType.IsIndex() {
		raw, err := artifact.ReadManifest(ctx, p.Source, p.Ref, top)
		if err != nil {
			return nil, err
		}
		idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("%s: index: %w", p.Ref.Familiar(), err)
		}
		list = slices.DeleteFunc(idx.Manifests, func(d v1.Descriptor) bool { return d.Platform != nil && d.Platform.OS == "unknown" })
	}
	var found []version
	for _, d := range list {
		v := version{ref: p.Ref.WithDigest(d.Digest), src: p.Source}
		_, v.manifest, v.config, err = artifact.Manifest(ctx, p.Source, v.ref, nil)
		if errors.Is(err, artifact.ErrNotFound) && len(list) > 1 {
			continue // only some platforms were copied
		}
		if err != nil {
			return nil, err
		}
		if len(v.manifest.Layers) != len(v.config.RootFS.DiffIDs) {
			return nil, fmt.Errorf("%s has %d layers, its configuration tells of %d: build it again", p.Ref.Familiar(), len(v.manifest.Layers), len(v.config.RootFS.DiffIDs))
		}
		found = append(found, v)
	}
	return found, nil
}

// common returns the platforms that all images have, in the order of the first that names any. What is left out is told.
func (m *merging) common(all [][]version) ([]v1.Platform, error) {
	var platforms []v1.Platform
	some := false // an image names a platform
	for _, list := range all {
		if some || len(list) == 1 && list[0].platform().OS == "" {
			continue
		}
		some = true
		for _, v := range list {
			platforms = append(platforms, v.platform())
		}
	}
	if !some {
		return []v1.Platform{{}}, nil
	}
	var have []string
	for _, list := range all {
		var own []string
		for _, v := range list {
			own = append(own, text(v.platform()))
		}
		if len(list) > 0 {
			have = append(have, list[0].name()+" for "+strings.Join(own, ", "))
		}
	}
	every := len(platforms)
	platforms = slices.DeleteFunc(platforms, func(p v1.Platform) bool {
		return slices.ContainsFunc(all, func(list []version) bool { return fitting(list, p).config == nil })
	})
	switch {
	case len(platforms) == 0:
		return nil, fmt.Errorf("there is no platform that all images have: %s", strings.Join(have, "; "))
	case len(platforms) < every || slices.ContainsFunc(all, func(list []version) bool { return len(list) > len(platforms) }):
		var common []string
		for _, p := range platforms {
			common = append(common, text(p))
		}
		m.Observe(artifact.Event{Kind: artifact.EventNote, Name: fmt.Sprintf("the new image is for %s alone, which all have: %s", strings.Join(common, ", "), strings.Join(have, "; "))})
	}
	return platforms, nil
}

// fitting returns the version for a platform; one without a configuration is none.
func fitting(list []version, p v1.Platform) version {
	for _, v := range list {
		if have := v.platform(); have.OS == "" || artifact.MatchPlatform(have, p) {
			return v
		}
	}
	return version{}
}

// text writes a platform; zero is any.
func text(p v1.Platform) string {
	if p.OS == "" {
		return "any platform"
	}
	return p.String()
}
