package builder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder/remote"
	"github.com/sealrt/sealrt/kubefile"
)

// Options are everything that a build depends on. File, Context and Store are required.
type Options struct {
	File    *kubefile.File
	Context string          // directory that COPY reads
	Store   *store.Store    // receives the image; base images are looked for here first
	Source  artifact.Source // where base images and container images come from, a registry; nil: nowhere
	// ImageSources are where container images are looked for before Source: places as transport.Open knows them, and
	// cluster images.
	ImageSources []string
	DockerHost   string       // address of the docker daemon that docker-daemon: means; "" is the usual one
	DockerCerts  string       // folder of the certificates that it wants, as DOCKER_CERT_PATH; "" is no TLS
	Platform     *v1.Platform // of this machine; nil: that of this program
	// Platforms are what to build for; empty is the platform of FROM --platform, or else this machine's architecture.
	Platforms   []v1.Platform
	BuildArgs   map[string]string
	Target      string            // stage to build, by name or number; empty is the last
	Created     time.Time         // of the image and every file in it; the zero time is the Unix epoch
	Compression layer.Compression // of layers of files; container images stay as they are
	NoCache     bool              // make every layer anew
	Jobs        int               // what is done at a time, blobs or layers; 0 is a default for each
	Tags        []artifact.Reference

	Runner   Runner            // carries out RUN commands; nil: this machine
	AddHosts []string          // host:ip, for RUN
	CAFile   string            // PEM certificates that downloads and tools of RUN trust in addition; may be empty
	Secrets  map[string][]byte // what RUN --mount=type=secret finds, by id
	Timeout  time.Duration     // for each RUN command; 0: no limit

	// Helper returns the file of the sealrt program for a platform, which the image is to hold; nil: it holds none.
	Helper func(p v1.Platform) (file string, err error)

	Lock   *remote.Lock // answers what names mean, and records it; may be nil
	Frozen bool         // what Lock does not say is an error

	// Check is asked about every container image in the built one, with its signatures; nil: none has to be signed.
	Check func(ctx context.Context, s airgap.Signed) error

	CacheFrom []artifact.Reference // images of CacheTo in Source, whose layers need not be made again
	CacheTo   []artifact.Reference // where in CacheSink to leave the layers that were used or made
	CacheSink artifact.Sink

	OnLayer func(context.Context, v1.Descriptor) // called when a layer of files is in the store, from any goroutine; may be nil
	Observe func(Event)                          // called one event at a time; may be nil
	Now     func() time.Time                     // the clock of events; nil: time.Now
	Proxy   func(name string) string             // value of HTTPS_PROXY and its like, for ADD; a build argument wins; nil: none
}

// Build builds the image for every platform, leaves it in the store under all tags, and returns the descriptor of
// the manifest, or of an index when there are several platforms. Nothing is tagged when it fails. Mistakes in the
// Kubefile are kubefile.Errors. An image without tags is there until the next sweep of the store.
func Build(ctx context.Context, o Options) (d v1.Descriptor, err error) {
	o = withDefaults(o)
	b, platforms, done, err := prepare(ctx, o)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer func() { err = errors.Join(err, done()) }()
	reportUnknownArgs(b)
	built, err := b.platforms(ctx, platforms, (*stage).finish)
	if err != nil {
		return v1.Descriptor{}, err
	}
	if d, err = unite(ctx, o.Store, built); err != nil {
		return v1.Descriptor{}, err
	}
	if err := b.cache.export(ctx, b); err != nil {
		return v1.Descriptor{}, err
	}
	for _, tag := range o.Tags {
		if err := o.Store.Tag(ctx, tag, d); err != nil {
			return v1.Descriptor{}, err
		}
		b.note(tag.Familiar() + " is " + d.Digest.String())
	}
	return d, nil
}

// prepare checks what can be checked beforehand, and opens what a build works with: the store is held, and the context
// open, until done is called.
func prepare(ctx context.Context, o Options) (b *build, platforms []v1.Platform, done func() error, err error) {
	var opened closers
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if platforms, err = platformsOf(o); err == nil {
		err = check(o, nil)
	}
	if err == nil && o.Store == nil {
		err = errors.New("build: a store is needed")
	}
	if err == nil {
		err = o.Store.CheckWritable()
	}
	if err != nil {
		return nil, nil, nil, err
	}
	release, err := o.Store.Hold(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	opened = append(opened, release)
	if err = PruneTrees(o.Store); err != nil {
		return nil, nil, nil, err
	}
	files, err := openContext(o.Context, o.Store.Root())
	if err != nil {
		return nil, nil, nil, err
	}
	opened = append(opened, files.Close)
	if b, err = newBuild(ctx, o, files, platforms); err != nil {
		return nil, nil, nil, err
	}
	opened = append(opened, b.close)
	if files.store != "" {
		b.note("the store, " + files.store + ", is no part of the context")
	}
	return b, platforms, opened.close, nil
}

// closers end what was opened, the last first.
type closers []func() error

func (c closers) close() (err error) {
	for _, end := range slices.Backward(c) {
		err = errors.Join(err, end())
	}
	return err
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
		o.Observe = func(Event) {}
	}
	if o.OnLayer == nil {
		o.OnLayer = func(context.Context, v1.Descriptor) {}
	}
	if o.Proxy == nil {
		o.Proxy = func(string) string { return "" }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// proxy returns the value of HTTPS_PROXY and its like.
func (o Options) proxy(name string) string {
	if v, ok := o.BuildArgs[name]; ok {
		return v
	}
	return o.Proxy(name)
}

// unite returns the only descriptor, or that of an index of all.
func unite(ctx context.Context, store *store.Store, built []v1.Descriptor) (v1.Descriptor, error) {
	if len(built) == 1 {
		return v1.Descriptor{MediaType: built[0].MediaType, Digest: built[0].Digest, Size: built[0].Size}, nil
	}
	data, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: built})
	if err != nil {
		return v1.Descriptor{}, err
	}
	return store.PutBytes(ctx, types.OCIImageIndex, data)
}

// build is what all stages and platforms of one Build share.
type build struct {
	Options
	files       *contextDir
	cache       *cache
	trees       *trees
	runner      Runner
	buffers     *layer.Buffers
	writers     chan struct{}      // one for each layer that is written at a time
	shared      singleflight.Group // what several stages or platforms need at the same time
	group       *errgroup.Group    // stages, and layers that are being written
	several     bool               // platforms
	first       string             // of the platforms
	stages      map[string]*stage  // planned so far
	lookout     *lookout           // BASE tells it what it would collect, and collects nothing; nil: BASE collects
	spools      spools
	places      places
	downloads   *remote.Downloader
	downloading downloading

	mu    sync.Mutex // guards what follows
	tasks int        // begun so far
}

func newBuild(ctx context.Context, o Options, files *contextDir, platforms []v1.Platform) (*build, error) {
	trees, err := openTrees(o.Store)
	if err != nil {
		return nil, err
	}
	b := &build{
		Options: o, files: files, trees: trees, buffers: &layer.Buffers{Jobs: compressors(o.Jobs)}, runner: o.Runner,
		writers: make(chan struct{}, max(2, runtime.GOMAXPROCS(0))), several: len(platforms) > 1, first: platforms[0].String(),
		stages: map[string]*stage{},
	}
	if b.runner == nil {
		b.runner = &local{store: o.Store, trees: trees}
	}
	client, err := remote.NewClient(o.CAFile, remote.ProxyOf(o.proxy))
	if err != nil {
		return nil, err
	}
	b.downloads = &remote.Downloader{
		Store: o.Store, Client: client, Lock: o.Lock, Frozen: o.Frozen,
		Progress: b.downloading.progress,
		Note: func(format string, args ...any) {
			b.tell(Event{Kind: BuildWarning, Text: fmt.Sprintf(format, args...)})
		},
	}
	b.cache, err = openCache(ctx, b)
	return b, err
}

// compressors is the number of goroutines that compress; 0 is the layer's own choice. More than there are processors would
// only take memory.
func compressors(jobs int) int {
	if jobs <= 0 {
		return 0
	}
	return min(jobs, runtime.GOMAXPROCS(0))
}

// close gives up what the entries of layers were read from.
func (b *build) close() error { return errors.Join(b.spools.close(), b.places.close()) }

// platforms builds for every platform and returns what end makes of the target's image: the descriptors of the
// manifests, with their platforms.
func (b *build) platforms(ctx context.Context, platforms []v1.Platform, end func(*stage, context.Context, *image) (v1.Descriptor, error)) ([]v1.Descriptor, error) {
	targets := make([]*stage, len(platforms))
	for i, p := range platforms {
		var err error
		if targets[i], err = b.target(ctx, p); err != nil {
			return nil, err
		}
		if b.lookout != nil {
			targets[i].steps = untilBase(targets[i].steps)
		}
	}
	built := make([]v1.Descriptor, len(platforms))
	group, ctx := errgroup.WithContext(ctx)
	b.group = group
	for _, s := range b.stages {
		group.Go(func() error {
			_, err := s.solve(ctx)
			return err
		})
	}
	for i, s := range targets {
		group.Go(func() error {
			m, err := s.solve(ctx)
			if err != nil {
				return err
			}
			built[i], err = end(s, ctx, m)
			return err
		})
	}
	return built, group.Wait()
}
