package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

const (
	// maxReferrers bounds the bytes of one page of a list that a registry sends.
	maxReferrers = 8 << 20
	// maxPages bounds the pages of such a list.
	maxPages = 50
)

// Referrers lists the manifests in the repository of ref that have the manifest h for their subject (OCI
// distribution-spec 1.1, "Listing Referrers"). It returns false when the registry has no such API, which it is asked
// once: those who wrote there keep the list as an index under ReferrersTag. A registry that refuses has nothing to say.
func (r *Client) Referrers(ctx context.Context, ref artifact.Reference, h v1.Hash) (list []v1.Descriptor, ok bool, err error) {
	err = r.atHome(ctx, ref, func(l location) error {
		c, err := r.dial(ctx, l, actionPull, ref)
		if err != nil {
			return err
		}
		list, ok, err = c.referrers(ctx, h)
		return err
	})
	return list, ok, err
}

// referrersAPI is what is known of one registry. Who holds mu may ask.
type referrersAPI struct {
	mu     sync.Mutex
	known  bool
	absent bool
}

// found says that the registry told that it has the API.
func (a *referrersAPI) found() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.known, a.absent = true, false
}

// present reports whether the registry is known to have the API.
func (a *referrersAPI) present() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known && !a.absent
}

// referrers is Referrers at one place.
func (c *repository) referrers(ctx context.Context, h v1.Hash) ([]v1.Descriptor, bool, error) {
	api := c.r.looks.apiOf(c.s.e.host)
	api.mu.Lock()
	if api.known {
		api.mu.Unlock()
		if api.absent {
			return nil, false, nil
		}
		return c.listReferrers(ctx, h)
	}
	defer api.mu.Unlock()
	list, ok, err := c.listReferrers(ctx, h)
	api.absent = err == nil && !ok
	api.known = api.absent || list != nil
	return list, ok, err
}

// listReferrers reads all pages of the list, which is never nil when the registry has the API and answers.
func (c *repository) listReferrers(ctx context.Context, h v1.Hash) ([]v1.Descriptor, bool, error) {
	list := []v1.Descriptor{}
	for url, page := c.path("referrers", h.String()), 0; url != "" && page < maxPages; page++ {
		resp, err := c.do(ctx, http.MethodGet, url, func(req *http.Request) { req.Header.Set("Accept", string(types.OCIImageIndex)) }, http.StatusOK)
		if errors.Is(err, artifact.ErrUnauthorized) {
			return nil, true, nil
		}
		if isRefusal(err) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, err
		}
		var idx struct {
			MediaType types.MediaType `json:"mediaType"`
			Manifests []v1.Descriptor `json:"manifests"`
		}
		err = readJSON(resp, &idx)
		if err != nil || !idx.MediaType.IsIndex() && !strings.HasPrefix(resp.Header.Get("Content-Type"), string(types.OCIImageIndex)) {
			return nil, false, nil //nolint:nilerr // an answer to something else: a web page, a proxy's own
		}
		list = append(list, idx.Manifests...)
		if url, err = nextPage(resp); err != nil {
			return nil, false, c.wrap(err)
		}
	}
	return list, true, nil
}

// isRefusal reports whether a registry answered that it will not say, now or later.
func isRefusal(err error) bool {
	var se *statusError
	return errors.As(err, &se) && !temporaryStatus(se.status)
}

// readJSON reads the body of an answer, which may be a few megabytes at most, and closes it.
func readJSON(resp *http.Response, into any) error {
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReferrers+1))
	if err != nil {
		return err
	}
	if len(b) > maxReferrers {
		return fmt.Errorf("the list has more than %s", disk.Bytes(maxReferrers))
	}
	return json.Unmarshal(b, into)
}

// nextPage returns where the list goes on, "" at its end (RFC 5988, as OCI distribution-spec, "Listing Tags", uses it).
// A page of another server is none.
func nextPage(resp *http.Response) (string, error) {
	target, rest, ok := strings.Cut(resp.Header.Get("Link"), ">")
	if !ok || !strings.Contains(strings.ReplaceAll(rest, `"`, ""), "rel=next") {
		return "", nil
	}
	u, err := resp.Request.URL.Parse(strings.TrimPrefix(strings.TrimSpace(target), "<"))
	if err != nil {
		return "", fmt.Errorf("where the list goes on: %w", err)
	}
	if !sameHost(u.Host, resp.Request.URL.Host) {
		return "", nil
	}
	return u.String(), nil
}
