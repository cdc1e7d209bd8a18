package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// Options are everything that a build depends on. File, Context and Store are required.
type Options struct {
	File     *kubefile.File
	Context  string          // directory that COPY reads
	Store    *artifact.Store // receives the image; base images are looked for here first
	Source   artifact.Source // where base images and container images come from, a registry; nil: nowhere
	Platform *v1.Platform    // of this machine, whose programs RUN executes; nil: that of this program
	// Platforms are what to build for; empty is the platform of FROM --platform, or else this machine's architecture.
	Platforms   []v1.Platform
	BuildArgs   map[string]string
	Target      string            // stage to build, by name or number; empty is the last
	Created     time.Time         // of the image and every file in it; the zero time is the Unix epoch
	Compression layer.Compression // of layers of files; container images stay as they are
	NoCache     bool              // make every layer anew
	Jobs        int               // what is done at a time, blobs or compression goroutines; 0 is a default for each
	Tags        []artifact.Reference
	AddHosts    []string             // host:ip, for RUN
	CAFile      string               // PEM certificates that tools of RUN trust in addition; may be empty
	Observe     func(artifact.Event) // called one event at a time; may be nil
	Log         io.Writer            // output of RUN commands; nil discards
}

// Build builds the image for every platform, leaves it in the store under all tags, and returns the descriptor of
// the manifest, or of an index when there are several platforms. Nothing is tagged when it fails. Mistakes in the
// Kubefile are kubefile.Errors. An image without tags is there until the next sweep of the store.
func Build(ctx context.Context, o Options) (d v1.Descriptor, err error) {
	o = withDefaults(o)
	platforms, err := platformsOf(o)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if err := check(o, platforms, nil); err != nil {
		return v1.Descriptor{}, err
	}
	if o.Store == nil {
		return v1.Descriptor{}, errors.New("build: a store is needed")
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := PruneTrees(o.Store); err != nil {
		return v1.Descriptor{}, err
	}
	files, err := openContext(o.Context, o.Store.Root())
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer files.Close()
	if files.store != "" {
		o.Observe(artifact.Event{Kind: artifact.EventNote, Name: "the store, " + files.store + ", is no part of the context"})
	}
	reportUnknownArgs(o)
	buffers := &layer.Buffers{}
	var built []v1.Descriptor
	for _, p := range platforms {
		d, err := buildPlatform(ctx, o, files, buffers, p)
		if err != nil {
			return v1.Descriptor{}, err
		}
		built = append(built, d)
	}
	if d, err = unite(ctx, o.Store, built); err != nil {
		return v1.Descriptor{}, err
	}
	for _, tag := range o.Tags {
		if err := o.Store.Tag(ctx, tag, d); err != nil {
			return v1.Descriptor{}, err
		}
		o.Observe(artifact.Event{Kind: artifact.EventTagged, Ref: tag.Familiar(), Digest: d.Digest})
	}
	return d, nil
}

func withDefaults(o Options) Options {
	if o.Platform == nil {
		o.Platform = &v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	}
	if o.Created.IsZero() {
		o.Created = time.Unix(0, 0)
	}
	o.Created = o.Created.UTC().Truncate(time.Second)
	if o.Observe == nil {
		o.Observe = func(artifact.Event) {}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	return o
}

// unite returns the only descriptor, or that of an index of all.
func unite(ctx context.Context, store *artifact.Store, built []v1.Descriptor) (v1.Descriptor, error) {
	if len(built) == 1 {
		return v1.Descriptor{MediaType: built[0].MediaType, Digest: built[0].Digest, Size: built[0].Size}, nil
	}
	data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: built})
	if err != nil {
		return v1.Descriptor{}, err
	}
	return store.PutBytes(ctx, types.OCIImageIndex, data)
}

// building is the build of one platform's image.
type building struct {
	Options
	file     string // name of the Kubefile
	platform v1.Platform
	files    *contextDir
	buffers  *layer.Buffers // of all layers, which are written one after another
	image    *image
	lastRun  kubefile.Instruction // the RUN that ran last, for blame; nil without one
	based    bool                 // a BASE instruction was met
	inherits map[string]string    // labels of the base image
}

// buildPlatform builds the image for p and returns the descriptor of its manifest, with the platform.
func buildPlatform(ctx context.Context, o Options, files *contextDir, buffers *layer.Buffers, p v1.Platform) (v1.Descriptor, error) {
	stage := o.File.Stages[len(o.File.Stages)-1]
	b := &building{Options: o, file: o.File.Name, platform: p, files: files, buffers: buffers}
	base, err := b.findBase(ctx, stage.From)
	if err != nil {
		return v1.Descriptor{}, err
	}
	steps, err := b.plan(stage, base.config)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if b.image, err = b.start(ctx, base); err != nil {
		return v1.Descriptor{}, b.at(stage.From, err)
	}
	b.inherits = copyMap(b.image.config.Config.Labels)
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return v1.Descriptor{}, context.Cause(ctx)
		}
		b.note("[%d/%d] %s", i+1, len(steps), firstLine(s.source().String()))
		if err := s.do(ctx, b, len(steps)-i-1); err != nil {
			return v1.Descriptor{}, b.at(s.source(), err)
		}
	}
	if err := b.finish(ctx, stage); err != nil {
		return v1.Descriptor{}, err
	}
	return b.image.store(ctx, o.Store)
}

// finish adds what the Kubefile implies rather than says.
func (b *building) finish(ctx context.Context, stage *kubefile.Stage) error {
	if !b.based {
		if err := (&baseStep{}).collect(ctx, b, 1); err != nil {
			return fmt.Errorf("%s: %s: %w", b.file, artifact.HistoryBase, err)
		}
	}
	return b.describe(ctx, stage)
}

// at says at which instruction err happened.
func (b *building) at(i kubefile.Instruction, err error) error {
	return fmt.Errorf("%s:%d:%d: %s: %w", b.file, i.Pos().Line, i.Pos().Column, shorten(firstLine(i.String())), err)
}

// note tells the user a sentence.
func (b *building) note(format string, args ...any) {
	b.Observe(artifact.Event{Kind: artifact.EventNote, Ref: b.platform.String(), Name: fmt.Sprintf(format, args...)})
}
