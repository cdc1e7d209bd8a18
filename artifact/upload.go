package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// upload sends a blob: POST, PATCH with the bytes, PUT with the digest (OCI distribution-spec, "Pushing blobs"). What
// breaks off goes on where the registry says it stopped, or else from the start.
func (c *client) upload(ctx context.Context, d v1.Descriptor, open OpenFunc) error {
	u := &uploading{c: c, d: d, open: open}
	for try := 0; ; try++ {
		err := u.attempt(ctx)
		if err == nil {
			return nil
		}
		var se *statusError
		retry := isTemporary(err) || u.begun && errors.As(err, &se) && se.restart()
		if u.sourceErr != nil {
			return u.sourceErr
		}
		if !retry || try >= c.r.o.Retries {
			return c.wrap(fmt.Errorf("upload %s: %w", d.Digest, err))
		}
		if werr := c.r.wait(ctx, try, err); werr != nil {
			return c.wrap(werr)
		}
		u.locate(ctx)
	}
}

// uploading is one blob on its way.
type uploading struct {
	c         *client
	d         v1.Descriptor
	open      OpenFunc
	loc       *url.URL // where the upload goes on; nil: begin one
	begun     bool     // the last attempt got past the first request
	pos       int64    // what the registry has
	sourceErr error    // what the blob's reader said: no use in sending again
}

func (u *uploading) attempt(ctx context.Context) error {
	if u.loc == nil {
		u.begun = false
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	u.begun = true
	if u.pos < u.d.Size {
		if err := u.send(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

func (u *uploading) begin(ctx context.Context) error {
	resp, err := u.c.repeat(ctx, func() (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodPost, u.c.path("blobs", "uploads/"), nil)
	}, []int{http.StatusAccepted})
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.pos = 0
	u.loc, err = resolveURL(resp)
	return err
}

// send streams the bytes that the registry lacks.
func (u *uploading) send(ctx context.Context) error {
	r, err := u.open(u.pos)
	if err != nil {
		u.sourceErr = err
		return err
	}
	body := &body{r: r}
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, u.loc.String(), body)
	if err != nil {
		return err
	}
	req.ContentLength = u.d.Size - u.pos
	req.Header.Set("Content-Type", "application/octet-stream")
	if u.pos > 0 {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.pos, u.d.Size-1))
	}
	resp, err := u.c.once(req, []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent})
	if rerr := body.end(); rerr != nil && err != nil {
		u.sourceErr = rerr
	}
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.pos = u.d.Size
	if l, err := resolveURL(resp); err == nil {
		u.loc = l
	}
	return nil
}

// finish says that all is sent, and which digest it has.
func (u *uploading) finish(ctx context.Context) error {
	loc := *u.loc
	q := loc.Query()
	q.Set("digest", u.d.Digest.String())
	loc.RawQuery = q.Encode()
	resp, err := u.c.repeat(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, loc.String(), nil)
		if err == nil {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
		return req, err
	}, []int{http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted})
	if err == nil {
		return resp.Body.Close()
	}
	if isTemporary(err) || errors.Is(err, ErrNotFound) { // it may have got through all the same
		if head, herr := u.c.do(ctx, http.MethodHead, u.c.url(u.d), nil, http.StatusOK); herr == nil {
			return head.Body.Close()
		}
	}
	return err
}

// locate asks how far the upload has come; when the registry does not tell, it begins anew.
func (u *uploading) locate(ctx context.Context) {
	loc := u.loc
	u.loc = nil
	if loc == nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, loc.String(), nil)
	if err != nil {
		return
	}
	resp, err := u.c.once(req, []int{http.StatusNoContent})
	if err != nil {
		return
	}
	resp.Body.Close()
	_, last, ok := strings.Cut(strings.TrimPrefix(resp.Header.Get("Range"), "bytes="), "-")
	n, err := strconv.ParseInt(last, 10, 64)
	if !ok || err != nil || n <= 0 || n >= u.d.Size {
		return // nothing there, or we disagree
	}
	u.pos, u.loc = n+1, loc
	if l, err := resolveURL(resp); err == nil {
		u.loc = l
	}
}

// mount asks the registry to take d from another of its repositories, and reports whether it did.
func (r *Registry) mount(ctx context.Context, to Reference, d v1.Descriptor, src Source, from Reference) bool {
	if s, ok := src.(*Registry); !ok || s != r || from.Domain() != to.Domain() || from.Path() == to.Path() {
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
	c := &client{r: r, ref: to, l: l, s: s, hc: &http.Client{Transport: s}}
	q := url.Values{"mount": {d.Digest.String()}, "from": {from.Path()}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.path("blobs", "uploads/")+"?"+q.Encode(), nil)
	if err != nil {
		return false
	}
	resp, err := c.once(req, []int{http.StatusCreated, http.StatusAccepted})
	if err != nil {
		return false
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusAccepted {
		c.abandon(ctx, resp)
	}
	return resp.StatusCode == http.StatusCreated
}

// abandon gives up an upload that nothing was sent for; the registry would forget it in time anyway.
func (c *client) abandon(ctx context.Context, resp *http.Response) {
	loc, err := resolveURL(resp)
	if err != nil {
		return
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, loc.String(), nil)
	if err != nil {
		return
	}
	if resp, err := c.hc.Do(req); err == nil {
		resp.Body.Close()
	}
}

// body is what an upload reads from: it keeps the error of the blob's reader apart from those of the connection, and
// lets nobody read any more once the request is over, which the HTTP client does not promise.
type body struct {
	mu    sync.Mutex
	r     io.ReadCloser
	err   error
	ended bool
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, io.ErrClosedPipe
	}
	n, err := b.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}

// Close implements io.Closer for the HTTP client.
func (b *body) Close() error {
	_ = b.end() // of a source, read as far as it was wanted
	return nil
}

// end closes the blob's reader and returns the error that it ended with, if it did.
func (b *body) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended {
		b.ended = true
		b.r.Close()
	}
	return b.err
}
