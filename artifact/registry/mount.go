package registry

import (
	"context"
	"net/http"
	"net/url"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// Mount asks the registry to take d from another of its repositories, and reports whether it did (OCI distribution-spec,
// "Mounting a blob from another repository"). A registry that does not has begun an upload instead, which Put goes on
// with.
func (r *Client) Mount(ctx context.Context, to artifact.Reference, d v1.Descriptor, src artifact.Source, from artifact.Reference) bool {
	if s, ok := src.(*Client); !ok || s != r || from.Domain() != to.Domain() || from.Path() == to.Path() {
		return false
	}
	way := to.Name() + " " + from.Name()
	if r.uploads.closed(way) {
		return false
	}
	l, err := r.target(to)
	if err != nil {
		return false
	}
	e, err := r.endpoint(ctx, l)
	if err != nil {
		return false
	}
	s, err := r.session(e, l, "repository:"+to.Path()+":"+actionPush, "repository:"+from.Path()+":"+actionPull)
	if err != nil {
		return false
	}
	c := &repository{r: r, ref: to, l: l, s: s, hc: &http.Client{Transport: s}}
	q := url.Values{"mount": {d.Digest.String()}, "from": {from.Path()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.path("blobs", "uploads/")+"?"+q.Encode(), nil)
	if err != nil {
		return false
	}
	resp, err := c.once(req, []int{http.StatusCreated, http.StatusAccepted})
	if err != nil {
		if isRefusal(err) {
			r.uploads.close(way)
		}
		return false
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted && resp.Header.Get("OCI-Chunk-Min-Length") == "" {
		if loc, err := resolveURL(resp); err == nil {
			r.uploads.put(to, d.Digest, loc)
		}
	}
	return resp.StatusCode == http.StatusCreated
}

// uploads knows uploads that were begun and have no bytes yet, and between which repositories nothing can be mounted. The
// zero value is ready for use.
type uploads struct {
	mu      sync.Mutex
	begun   map[string]*url.URL // by repository and digest
	refused map[string]bool     // by both repositories
}

func (u *uploads) put(ref artifact.Reference, h v1.Hash, loc *url.URL) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.begun == nil {
		u.begun = map[string]*url.URL{}
	}
	u.begun[ref.Name()+"@"+h.String()] = loc
}

// take returns where the upload of a blob goes on that was begun, nil if none was.
func (u *uploads) take(ref artifact.Reference, h v1.Hash) *url.URL {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := ref.Name() + "@" + h.String()
	loc := u.begun[key]
	delete(u.begun, key)
	return loc
}

func (u *uploads) closed(way string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refused[way]
}

func (u *uploads) close(way string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.refused == nil {
		u.refused = map[string]bool{}
	}
	u.refused[way] = true
}
