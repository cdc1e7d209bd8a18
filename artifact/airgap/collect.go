package airgap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// defaultJobs is how much is fetched at a time.
const defaultJobs = 4

// Options says where Collect reads and writes. Source, Store and Platform are
// required.
type Options struct {
	Source artifact.Source // where the container images are
	// Place opens the place that Image.From names. Nothing is closed; nil: no
	// image has one.
	Place func(ctx context.Context, from string) (Place, error)
	// Check is asked about each image with the signatures that were found of it;
	// nil: signatures are carried along unchecked.
	Check func(ctx context.Context, s Signed) error
	// Signatures finds the signatures that are carried along; nil: none are,
	// but those that a Place lists.
	Signatures Signatures
	// NeedSignatures makes it an error that a signature which Signatures lists
	// cannot be had. Otherwise it is left out, and the user told.
	NeedSignatures bool
	Store          *store.Store       // where the layers go
	Platform       v1.Platform        // of the cluster image
	Jobs           int                // images or layers at a time; 0 means 4
	Have           func(v1.Hash) bool // blobs that the base image carries; nil: none
	BaseIndex      []byte             // images/index.json of the base image, whose other entries are kept; nil: none
	// Base opens the blobs that Have reports. With it, an image that BaseIndex names and the base image has whole is kept
	// as it is, without asking anybody. nil: the base image's are asked for like others.
	Base       artifact.Source
	BaseLayers int // layers that the cluster image has besides
	// Compression is that of layers whose blob is not compressed; Buffers are
	// what they are compressed with, see [layer.Options].
	Compression layer.Compression
	Buffers     *layer.Buffers
	// Created is the time of the entries of the last layer, which holds the
	// index. Layers of blobs follow from the blobs alone: theirs is the Unix epoch.
	Created time.Time
	Observe func(artifact.Event) // called one event at a time, from any goroutine; may be nil
}

// Place is a source that knows what it has.
type Place interface {
	artifact.Source
	Refs(ctx context.Context) ([]artifact.Named, error)
}

// Layer is a layer of a cluster image that holds a part of images/.
type Layer struct {
	Blob  layer.Blob
	Blobs []v1.Hash // the blobs inside; none for the layer of the index
}

// Set is the images/ directory of a cluster image as layers.
type Set struct {
	Layers []Layer // in the order in which the cluster image lists them; none when the base image has it all
	Index  v1.Hash // digest of images/index.json
}

// MissingError lists every image that could not be had.
type MissingError struct {
	Missing []Missing
}

// Missing is one image that could not be had, and why.
type Missing struct {
	Ref   artifact.Reference
	Where []string // every file:line that asks for it
	Err   error    // names the image
}

func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of the images cannot be collected:", len(e.Missing))
	for _, m := range e.Missing {
		fmt.Fprintf(&b, "\n  %s: %v", strings.Join(m.Where, ", "), m.Err)
	}
	b.WriteString("\ncorrect these lines, or make the images available where they are looked for")
	return b.String()
}

// Unwrap returns the causes.
func (e *MissingError) Unwrap() []error {
	errs := make([]error, len(e.Missing))
	for i, m := range e.Missing {
		errs[i] = m.Err
	}
	return errs
}

// Collect packs images into layers, which it leaves in o.Store. A blob is
// fetched once, whichever images share it, and not at all when the base image
// carries it or an earlier Collect packed it. One that broke off with an earlier
// Collect is fetched from there on. When images cannot be had, the error is a
// *MissingError that lists all of them; when o.Check refuses some, it is an
// *UnsignedError. Layers stay in the store
// only as long as somebody holds or tags them, see [store.Store.Hold].
func Collect(ctx context.Context, images []Image, o Options) (*Set, error) {
	if o.Jobs <= 0 {
		o.Jobs = defaultJobs
	}
	o.Observe = artifact.OneByOne(o.Observe)
	srcs, err := newSources(o)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	images, missing, err := srcs.expand(ctx, images)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	wanted, err := Merge(images, o.Platform)
	if err != nil {
		return nil, err
	}
	found, err := resolveAll(ctx, wanted, srcs, missing, o)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	if err := checkSignatures(ctx, wanted, found, o); err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	index, err := formatIndex(found, o.BaseIndex)
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	set, err := pack(ctx, wanted, found, index, o)
	if err == nil {
		err = srcs.usual.remember(wanted)
	}
	if err != nil {
		return nil, fmt.Errorf("collect images: %w", err)
	}
	return set, nil
}

// Request is an image that is asked for, with everybody who asks.
type Request struct {
	Ref      artifact.Reference
	Platform v1.Platform
	From     []string // the places to read it from; none: the usual ones
	Where    []string // every file:line that asks for it
}

// missing is r in the list of what could not be had.
func (r *Request) missing(err error) Missing {
	return Missing{Ref: r.Ref, Where: slices.Compact(r.Where), Err: err}
}

// Merge makes one request of all images of one name, in the order of the first
// of each. Lines that ask for one name on several platforms are alternatives:
// the platform of the cluster image is taken. The error names all
// that ask for other platforms.
func Merge(images []Image, platform v1.Platform) ([]*Request, error) {
	var order []*Request
	byRef := map[artifact.Reference]*Request{}
	var bad []error
	for _, img := range images {
		want := platform
		if img.Platform != nil {
			want = *img.Platform
		}
		r, known := byRef[img.Ref]
		switch {
		case !known:
			r = &Request{Ref: img.Ref, Platform: want}
			byRef[img.Ref] = r
			order = append(order, r)
		case r.Platform.Equals(want):
		case want.Equals(platform):
			r.Platform = want
		case !r.Platform.Equals(platform):
			bad = append(bad, fmt.Errorf("%s: %s is asked for on %s, but on %s by %s: a tree holds one of them",
				img.Where, img.Ref.Familiar(), want, r.Platform, r.Where[0]))
		}
		r.Where = append(r.Where, img.Where)
		if img.From != "" && !slices.Contains(r.From, img.From) {
			r.From = append(r.From, img.From)
		}
	}
	return order, errors.Join(bad...)
}

// resolveAll looks every request up, several at a time. What is missing already
// is told with what it misses.
func resolveAll(ctx context.Context, wanted []*Request, srcs *sources, missing []Missing, o Options) ([]*resolved, error) {
	found := make([]*resolved, len(wanted))
	errs := make([]error, len(wanted))
	var g errgroup.Group
	g.SetLimit(o.Jobs)
	for i, r := range wanted {
		g.Go(func() error {
			if errs[i] = ctx.Err(); errs[i] == nil {
				found[i], errs[i] = srcs.find(ctx, r, o)
			}
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i, err := range errs {
		if err != nil {
			missing = append(missing, wanted[i].missing(err))
		}
	}
	if len(missing) > 0 {
		return nil, &MissingError{Missing: missing}
	}
	return found, nil
}
