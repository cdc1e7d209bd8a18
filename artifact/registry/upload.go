package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// whole is the size in bytes up to which a blob goes with the last request of its upload, which saves one. From there on
// it goes before, so that what breaks off can go on.
const whole = 2 << 20

// upload sends a blob: POST, PATCH with the bytes, PUT with the digest (OCI distribution-spec, "Pushing blobs"). What
// breaks off goes on where the registry says it stopped, or else from the start.
func (c *repository) upload(ctx context.Context, d v1.Descriptor, open artifact.OpenFunc) error {
	u := &uploading{c: c, d: d, open: open, loc: c.r.uploads.take(c.ref, d.Digest)}
	for try := 0; ; try++ {
		err := u.attempt(ctx)
		if u.sourceErr != nil {
			return u.sourceErr
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return c.wrap(context.Cause(ctx)) // which may be what became of another blob
		}
		if u.smaller(err) {
			try-- // as often as there are sizes
			u.locate(ctx)
			continue
		}
		if !u.retry(err) || try >= c.r.o.Retries {
			return c.wrap(fmt.Errorf("upload %s: %w", d.Digest, u.explain(err)))
		}
		if werr := c.r.wait(ctx, try, err); werr != nil {
			return c.wrap(werr)
		}
		u.locate(ctx)
	}
}

// uploading is one blob on its way.
type uploading struct {
	c         *repository
	d         v1.Descriptor
	open      artifact.OpenFunc
	loc       *url.URL // where the upload goes on; nil: begin one
	begun     bool     // the last attempt got past the first request
	pos       int64    // what the registry has
	least     int64    // bytes that a piece has to have, except the last one
	sent      int64    // bytes in the last body of this attempt
	broken    bool     // a body broke off
	sourceErr error    // what the blob's reader said: no use in sending again
}

func (u *uploading) attempt(ctx context.Context) error {
	u.sent = 0
	if u.loc == nil {
		u.begun = false
		if err := u.begin(ctx); err != nil {
			return err
		}
	}
	u.begun = true
	if u.pos == 0 && u.d.Size > 0 && u.d.Size <= whole && u.piece() == u.d.Size {
		return u.sendWhole(ctx)
	}
	for u.pos < u.d.Size {
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
	u.least, _ = strconv.ParseInt(resp.Header.Get("OCI-Chunk-Min-Length"), 10, 64)
	u.loc, err = resolveURL(resp)
	return err
}

// send streams the bytes that the registry lacks, or as many of them as it takes at a time (OCI distribution-spec,
// "Pushing a blob in chunks").
func (u *uploading) send(ctx context.Context) error {
	n := u.piece()
	resp, err := u.transfer(ctx, http.MethodPatch, u.loc, n, []int{http.StatusAccepted, http.StatusCreated, http.StatusNoContent})
	if err != nil {
		return err
	}
	resp.Body.Close()
	u.pos += n
	if l, err := resolveURL(resp); err == nil {
		u.loc = l
	}
	return nil
}

// sendWhole sends all bytes with the digest.
func (u *uploading) sendWhole(ctx context.Context) error {
	resp, err := u.transfer(ctx, http.MethodPut, u.last(), u.d.Size, finished[:])
	if err == nil {
		return resp.Body.Close()
	}
	return u.unlessThere(ctx, err)
}

// transfer sends n bytes from pos on.
func (u *uploading) transfer(ctx context.Context, method string, to *url.URL, n int64, ok []int) (*http.Response, error) {
	r, err := u.open(u.pos)
	if err != nil {
		u.sourceErr = err
		return nil, err
	}
	body := newBody(r, n, u.pos+n == u.d.Size)
	defer body.Close()
	req, err := http.NewRequestWithContext(ctx, method, to.String(), body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = n
	req.Header.Set("Content-Type", "application/octet-stream")
	if n < u.d.Size {
		req.Header.Set("Content-Range", fmt.Sprintf("%d-%d", u.pos, u.pos+n-1))
	}
	if u.broken { // maybe by somebody who does not want this much, and was not heard
		req.Header.Set("Expect", "100-continue")
	}
	u.sent = n
	resp, err := u.c.once(req, ok)
	if rerr := body.end(); rerr != nil && err != nil {
		u.sourceErr = rerr
		if body.file != nil {
			u.sourceErr = cmp.Or(u.checkSource(), rerr)
		}
	}
	var se *statusError
	u.broken = u.broken || err != nil && !errors.As(err, &se)
	return resp, err
}

// finished are the statuses of an upload that is complete.
var finished = [...]int{http.StatusCreated, http.StatusOK, http.StatusNoContent, http.StatusAccepted} //nolint:gochecknoglobals // a table that nothing changes

// last is where an upload ends, with its digest.
func (u *uploading) last() *url.URL {
	loc := *u.loc
	q := loc.Query()
	q.Set("digest", u.d.Digest.String())
	loc.RawQuery = q.Encode()
	return &loc
}

// finish says that all is sent, and which digest it has.
func (u *uploading) finish(ctx context.Context) error {
	resp, err := u.c.repeat(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.last().String(), nil)
		if err == nil {
			req.Header.Set("Content-Type", "application/octet-stream")
		}
		return req, err
	}, finished[:])
	if err == nil {
		return resp.Body.Close()
	}
	return u.unlessThere(ctx, err)
}

// unlessThere returns err, why an upload did not end, unless it has got through all the same.
func (u *uploading) unlessThere(ctx context.Context, err error) error {
	if u.sourceErr == nil && (isTemporary(err) || errors.Is(err, artifact.ErrNotFound)) {
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
