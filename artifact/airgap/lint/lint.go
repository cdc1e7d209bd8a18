// Package lint tells what is wrong with the container images that a tree asks
// for, before anything is fetched.
package lint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/sealrt/sealrt/artifact/airgap"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
)

// State is what was found out about an image.
type State string

// States of images that a tree asks for, and of what else there is to say.
const (
	StateFound       State = "found"          // it can be had for the platform
	StateUnchecked   State = "unchecked"      // nobody was asked
	StateMissing     State = "missing"        // it is not where it is looked for
	StatePlatform    State = "wrong platform" // it is there, for other platforms
	StateRefused     State = "refused"        // the registry wants other credentials
	StateUnreachable State = "unreachable"    // the registry does not answer
	StateUnreadable  State = "unreadable"     // what the registry answers is of no use
	StateBad         State = "bad"            // a place of the tree that cannot be read
	StateForgotten   State = "forgotten"      // the distribution needs it, the tree neither asks for it nor has it
	StateSuperfluous State = "superfluous"    // the tree has it, and nothing asks for it
	StateRepeated    State = "repeated"       // a line of a list says what another says already
)

// Severity says how bad a finding is.
type Severity uint8

const (
	Fine    Severity = iota
	Warning          // the image can be built, and may not be what was meant
	Wrong            // the image cannot be built, or the cluster lacks an image
)

// Finding is one row of the report.
type Finding struct {
	Image       string // as the user would write it; of StateBad the text of the line, if it is known
	State       State
	Where       []string // every file:line that asks for the image, or the file that has it
	Held        bool     // images/ of the tree has it already
	Floats      bool     // its name may mean another image tomorrow
	AnyPlatform bool     // it names no platform and is taken to fit
	Digest      v1.Hash  // that the name means now; zero when that was not found out
	Err         error    // says why, of what is wrong; otherwise nil
}

// Severity returns how bad it is.
func (f Finding) Severity() Severity {
	switch {
	case f.Err != nil:
		return Wrong
	case f.Floats, f.AnyPlatform, f.State == StateSuperfluous, f.State == StateRepeated:
		return Warning
	}
	return Fine
}

// Held is a container image that a tree has.
type Held struct {
	Ref    artifact.Reference
	Where  string          // the file that has it: images/index.json, or an archive
	Source artifact.Source // reads it from there; nil: it is there, and fits
}

// Needs are the images that a distribution says it needs.
type Needs struct {
	By       string         // who says so: bin/k0s, or the name of a file
	Images   []airgap.Image // Where is the line of the file, or the command
	Optional bool           // only with settings other than the default
}

// Options says what is known of a tree and who may be asked. Platform is required.
type Options struct {
	Source   artifact.Source                                              // where container images are looked for; nil: nobody is asked
	Place    func(ctx context.Context, from string) (airgap.Place, error) // opens From of an image, and is closed by others; nil: places are not asked
	Platform v1.Platform                                                  // of the cluster image
	Jobs     int                                                          // images at a time; 0 means 4
	Pinned   bool                                                         // a lock says what names mean, so that none floats
	Held     []Held                                                       // what the tree has
	IsList   func(file string) bool                                       // tells image lists from other files that name images; nil: none is
	Needs    []Needs                                                      // what the distribution says
	Ignored  func(ref artifact.Reference) bool                            // needs of the distribution that the user does not want; nil: none
}

// Images tells of each image that a tree asks for whether it can be had, and of what the tree has or names in vain. It
// reads manifests and configurations, and no layers. bad is the error of whoever read the tree. What is bad comes first,
// then the images in their order, then what else there is to say. The error is that of ctx.
func Images(ctx context.Context, images []airgap.Image, bad error, o Options) ([]Finding, error) {
	if o.Jobs <= 0 {
		o.Jobs = 4
	}
	images, sources, unread := o.expand(ctx, images)
	wanted, conflict := airgap.Merge(images, o.Platform)
	found, err := lookAll(ctx, wanted, sources, o)
	if err != nil {
		return nil, err
	}
	findings := badPlaces(errors.Join(bad, unread, conflict))
	findings = append(findings, found...)
	findings = append(findings, repeated(images, o)...)
	findings = append(findings, forgotten(images, o)...)
	for _, h := range o.unasked(images) {
		findings = append(findings, h.look(ctx, o))
	}
	return findings, nil
}

// expand opens the places that images are to be read from. It returns all images by their names, with every image of
// a place where the whole of it is asked for, and where those images are to be looked for that are not in the usual
// places. The error names what cannot be read.
func (o Options) expand(ctx context.Context, images []airgap.Image) (all []airgap.Image, sources map[artifact.Reference]artifact.Source, bad error) {
	type open struct {
		place airgap.Place
		err   error
	}
	places := map[string]open{}
	sources = map[artifact.Reference]artifact.Source{}
	for _, img := range images {
		if img.From == "" {
			all = append(all, img)
			continue
		}
		p, known := places[img.From]
		if !known && o.Place != nil {
			p.place, p.err = o.Place(ctx, img.From)
			places[img.From] = p
		}
		list, err := []airgap.Image{img}, p.err
		if err == nil && img.Ref.IsZero() {
			list, err = allOf(ctx, p.place, img)
		}
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("%s: %s: %w", img.Where, img.From, err))
			continue
		}
		for _, img := range list {
			if _, known := sources[img.Ref]; !known {
				sources[img.Ref] = p.place
			}
		}
		all = append(all, list...)
	}
	return all, sources, bad
}

// allOf returns every image of a place; none of one that nobody may open.
func allOf(ctx context.Context, place airgap.Place, asked airgap.Image) (all []airgap.Image, err error) {
	if place == nil {
		return nil, nil
	}
	list, err := place.Refs(ctx)
	if err == nil && len(list) == 0 {
		err = errors.New("there is no image in it that has a name")
	}
	for _, n := range list {
		img := asked
		img.Ref = n.Ref
		all = append(all, img)
	}
	return all, err
}

// lookAll looks for every image that is asked for, several at a time.
func lookAll(ctx context.Context, wanted []*airgap.Request, sources map[artifact.Reference]artifact.Source, o Options) ([]Finding, error) {
	found := make([]Finding, len(wanted))
	var g errgroup.Group
	g.SetLimit(o.Jobs)
	for i, r := range wanted {
		g.Go(func() error {
			src, named := sources[r.Ref]
			if !named {
				src = o.Source
			}
			if ctx.Err() == nil {
				found[i] = look(ctx, src, r, o)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in found
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return found, nil
}

// look tells of one image.
func look(ctx context.Context, src artifact.Source, r *airgap.Request, o Options) Finding {
	_, pinned := r.Ref.Digest()
	f := Finding{Image: r.Ref.Familiar(), State: StateFound, Where: slices.Compact(slices.Clone(r.Where)), Floats: !pinned && !o.Pinned}
	for _, h := range o.Held {
		if h.means(r.Ref) && !f.Held {
			f.Held, src = true, h.Source
		}
	}
	if src == nil && f.Held {
		return f
	}
	if src == nil {
		f.State = StateUnchecked
		return f
	}
	top, err := src.Resolve(ctx, r.Ref)
	if err == nil {
		f.Digest = top.Digest
		err = f.read(ctx, src, r)
	}
	if err != nil {
		f.State, f.Err = stateOf(err), err
	}
	return f
}

// look tells of an image that the tree has and does not ask for.
func (h Held) look(ctx context.Context, o Options) Finding {
	f := Finding{Image: h.Ref.Familiar(), State: StateFound, Where: []string{h.Where}, Held: true}
	if h.Source != nil {
		f = look(ctx, h.Source, &airgap.Request{Ref: h.Ref, Platform: o.Platform, Where: f.Where}, o)
		f.Floats = false // nobody asks for it by this name
	}
	if f.Err == nil && !o.needs(h.Ref) {
		f.State = StateSuperfluous
	}
	return f
}

// read looks at the image for the platform.
func (f *Finding) read(ctx context.Context, src artifact.Source, r *airgap.Request) error {
	_, _, config, err := artifact.Manifest(ctx, src, r.Ref.WithDigest(f.Digest), &r.Platform)
	if err != nil {
		return err
	}
	f.AnyPlatform = config.OS == "" || config.Architecture == ""
	if !artifact.Fits(config, r.Platform) {
		have := v1.Platform{OS: cmp.Or(config.OS, r.Platform.OS), Architecture: cmp.Or(config.Architecture, r.Platform.Architecture)}
		return fmt.Errorf("%s: %w: the image is for %s, %s is wanted: name an image for that platform", f.Image, artifact.ErrPlatform, have, r.Platform)
	}
	return nil
}

// stateOf sorts the errors of looking for an image.
func stateOf(err error) State {
	var refusal net.Error
	var request *url.Error
	switch {
	case errors.Is(err, artifact.ErrPlatform):
		return StatePlatform
	case errors.Is(err, artifact.ErrNotFound):
		return StateMissing
	case errors.Is(err, artifact.ErrUnauthorized):
		return StateRefused
	case errors.As(err, &refusal), errors.As(err, &request):
		return StateUnreachable
	}
	return StateUnreadable
}
