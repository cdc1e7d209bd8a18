package main

import (
	"context"
	"io"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// defaultUploads is how many layers are sent at a time unless --jobs says.
const defaultUploads = 4

// reportUploads is how many bytes pass between two pieces of news about an upload.
const reportUploads = 1 << 20

// uploads sends layers to registries while others are still made. It does
// nothing but save time: an upload that fails is not an error, since the copy
// at the end of the build sends what is missing and says what is wrong.
type uploads struct {
	src     artifact.Source
	dst     artifact.Sink
	repos   []artifact.Reference        // one of each repository
	observe func(artifact.Event)        // may be called concurrently
	begin   func(func(context.Context)) // runs it when its turn comes
	stop    context.CancelFunc
	wait    sync.WaitGroup

	mu     sync.Mutex
	failed map[string]bool // repositories that are not tried again
	seen   map[string]bool // layer at a repository
}

// newUploads returns the uploads to the repositories of tags, jobs at a time.
// They end with ctx, and the caller calls end.
func newUploads(ctx context.Context, src artifact.Source, dst artifact.Sink, tags []artifact.Reference, jobs int, observe func(artifact.Event)) *uploads {
	if jobs <= 0 {
		jobs = defaultUploads
	}
	u := &uploads{src: src, dst: dst, observe: observe, failed: map[string]bool{}, seen: map[string]bool{}}
	ctx, u.stop = context.WithCancel(ctx)
	turns := make(chan struct{}, jobs)
	u.begin = func(work func(context.Context)) {
		u.wait.Go(func() {
			select {
			case turns <- struct{}{}:
				defer func() { <-turns }()
				work(ctx)
			case <-ctx.Done():
			}
		})
	}
	for _, tag := range tags {
		if !slices.ContainsFunc(u.repos, func(r artifact.Reference) bool { return r.Name() == tag.Name() }) {
			u.repos = append(u.repos, tag)
		}
	}
	return u
}

// send begins to send a layer to every repository, and does not wait for it.
// The uploads live as long as the build, not as its part that made the layer.
func (u *uploads) send(_ context.Context, d v1.Descriptor) {
	for _, repo := range u.repos {
		key := repo.Name() + "@" + d.Digest.String()
		u.mu.Lock()
		again := u.seen[key]
		u.seen[key] = true
		u.mu.Unlock()
		if !again {
			u.begin(func(ctx context.Context) { u.sendTo(ctx, repo, d) })
		}
	}
}

// end waits for what was begun; after a build that failed it is given up. On
// nil it does nothing.
func (u *uploads) end(err error) {
	if u == nil {
		return
	}
	if err != nil {
		u.stop()
	}
	u.wait.Wait()
	u.stop()
}

// sendTo sends a layer to a repository that lacks it.
func (u *uploads) sendTo(ctx context.Context, repo artifact.Reference, d v1.Descriptor) {
	if u.gaveUp(repo) {
		return
	}
	has, err := u.dst.Has(ctx, repo, d)
	if has {
		return
	}
	if err == nil {
		e := artifact.Event{Kind: artifact.EventStarted, Ref: repo.Familiar(), Digest: d.Digest, Name: "layer", Size: d.Size}
		u.observe(e)
		if err = u.dst.Put(ctx, repo, d, u.opener(ctx, repo, d, e)); err == nil {
			e.Kind, e.Done = artifact.EventDone, d.Size
			u.observe(e)
		}
	}
	if err != nil {
		u.mu.Lock()
		u.failed[repo.Name()] = true
		u.mu.Unlock()
	}
}

func (u *uploads) gaveUp(repo artifact.Reference) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failed[repo.Name()]
}

// opener opens a layer so that reading it is reported.
func (u *uploads) opener(ctx context.Context, repo artifact.Reference, d v1.Descriptor, e artifact.Event) artifact.OpenFunc {
	e.Kind = artifact.EventProgress
	var told int64 // over all that is opened, one after the other: a transfer that starts over does not go back
	return func(offset int64) (io.ReadCloser, error) {
		r, err := u.src.Open(ctx, repo, d, offset)
		if err != nil {
			return nil, err
		}
		return &reportedReader{ReadCloser: r, pos: offset, told: &told, tell: func(pos int64) {
			e.Done = pos
			u.observe(e)
		}}, nil
	}
}

// reportedReader tells how far it has come.
type reportedReader struct {
	io.ReadCloser
	pos  int64
	told *int64
	tell func(pos int64)
}

func (r *reportedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.pos += int64(n)
	if r.pos >= *r.told+reportUploads {
		*r.told = r.pos
		r.tell(r.pos)
	}
	return n, err
}
