package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/disk"
)

// repository speaks to one repository of one registry, on behalf of the reference that the user gave.
type repository struct {
	r   *Client
	ref artifact.Reference
	l   location
	s   *session
	hc  *http.Client
}

// dial returns the client for a repository; it finds out how the registry is spoken to and who we are there.
func (r *Client) dial(ctx context.Context, l location, action string, ref artifact.Reference) (*repository, error) {
	e, err := r.endpoint(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	s, err := r.session(e, l, "repository:"+l.path+":"+action)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref.Familiar(), err)
	}
	return &repository{r: r, ref: ref, l: l, s: s, hc: &http.Client{Transport: s}}, nil
}

// path makes the URL of something in the repository (OCI distribution-spec, "Endpoints").
func (c *repository) path(kind, object string) string {
	return c.s.e.url("/v2/" + c.l.path + "/" + kind + "/" + object)
}

func (c *repository) url(d v1.Descriptor) string {
	if artifact.IsManifest(d.MediaType) {
		return c.path("manifests", d.Digest.String())
	}
	return c.path("blobs", d.Digest.String())
}

// wrap says about which image an error is, if there is one.
func (c *repository) wrap(err error) error {
	if err == nil {
		return nil
	}
	if c.ref.IsZero() { // a login
		if errors.Is(err, artifact.ErrUnauthorized) {
			return fmt.Errorf("%w: the registry refuses this user name or password; nothing was stored", err)
		}
		return c.r.explain(c.l.domain, err)
	}
	return fmt.Errorf("%s: %w", c.ref.Familiar(), c.r.explain(c.l.domain, err))
}

// do sends a request without a body, again while that may help, until the answer has one of the statuses ok. The
// caller closes the body. Any other status is a *statusError.
func (c *repository) do(ctx context.Context, method, url string, edit func(*http.Request), ok ...int) (*http.Response, error) {
	resp, err := c.repeat(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, nil)
		if err == nil && edit != nil {
			edit(req)
		}
		if err == nil && (method == http.MethodHead || method == http.MethodGet) && req.Header.Get("Accept") == "" {
			acceptManifests(req)
			req.Header.Add("Accept", "*/*")
		}
		return req, err
	}, ok)
	return resp, c.wrap(err)
}

// doBody is do with a small body.
func (c *repository) doBody(ctx context.Context, method, url, contentType string, body []byte, ok ...int) (*http.Response, error) {
	resp, err := c.repeat(ctx, func() (*http.Request, error) {
		req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
		if err == nil && contentType != "" {
			req.Header.Set("Content-Type", contentType)
		}
		return req, err
	}, ok)
	return resp, c.wrap(err)
}

// repeat sends what build makes, again while that may help. Its errors are not wrapped yet.
func (c *repository) repeat(ctx context.Context, build func() (*http.Request, error), ok []int) (*http.Response, error) {
	var p patience
	for try := 0; ; try++ {
		req, err := build()
		if err != nil {
			return nil, err
		}
		resp, err := c.once(req, ok)
		if err == nil {
			return resp, nil
		}
		if asked, tooLong := p.more(err); tooLong != nil {
			return nil, tooLong
		} else if asked && c.r.o.Retries >= 0 {
			try-- // the host's gate waits, and who obeys may ask again
			continue
		}
		if try >= c.r.o.Retries || !isTemporary(err) {
			return nil, err
		}
		if err := c.r.wait(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

// once sends a request once.
func (c *repository) once(req *http.Request, ok []int) (*http.Response, error) {
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, withoutSecrets(err, c.s.secrets()...)
	}
	if slices.Contains(ok, resp.StatusCode) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, newStatusError(resp, c.s)
}

// download opens a blob or manifest from offset on. What breaks off is resumed.
func (c *repository) download(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	r := &resuming{ctx: ctx, c: c, d: d, pos: offset}
	if offset >= d.Size {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// resuming reads a blob over as many connections as it takes. It lives for one read; hence the context in it.
type resuming struct {
	ctx   context.Context
	c     *repository
	d     v1.Descriptor
	body  io.ReadCloser
	pos   int64
	tries int   // since mark
	mark  int64 // position of the last break
}

// resumeProgress is how many bytes have to arrive between two breaks for the breaks not to count as repetition.
const resumeProgress = 1 << 20

func (r *resuming) open() error {
	ranged := func(req *http.Request) {
		if r.pos > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.pos, r.d.Size-1))
		}
	}
	resp, err := r.c.do(r.ctx, http.MethodGet, r.c.url(r.d), ranged, http.StatusOK, http.StatusPartialContent)
	var se *statusError
	if r.pos > 0 && errors.As(err, &se) && (se.status == http.StatusRequestedRangeNotSatisfiable || se.status == http.StatusBadRequest) {
		resp, err = r.c.do(r.ctx, http.MethodGet, r.c.url(r.d), nil, http.StatusOK) // it wants no ranges
	}
	if err != nil {
		return err
	}
	if n := resp.ContentLength; resp.StatusCode == http.StatusOK && n >= 0 && n != r.d.Size {
		resp.Body.Close()
		return r.c.wrap(fmt.Errorf("%s: the registry has %d bytes of it, the image says %d: push the image again", r.d.Digest, n, r.d.Size))
	}
	var from int64
	if resp.StatusCode == http.StatusPartialContent {
		if _, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-", &from); err != nil || from > r.pos {
			resp.Body.Close()
			return r.c.wrap(fmt.Errorf("%s: the registry sent range %q, asked for was %d-", r.d.Digest, resp.Header.Get("Content-Range"), r.pos))
		}
	}
	if _, err := io.CopyN(io.Discard, resp.Body, r.pos-from); err != nil { // the registry knows no ranges
		resp.Body.Close()
		return r.c.wrap(fmt.Errorf("%s: %w", r.d.Digest, err))
	}
	r.body = resp.Body
	return nil
}

func (r *resuming) Read(p []byte) (int, error) {
	for {
		n, err := r.readSome(p)
		r.pos += int64(n)
		broken := err != nil && r.pos < r.d.Size
		if n > 0 {
			if broken {
				err = nil // the next Read meets it again
			}
			return n, err
		}
		if !broken {
			return 0, err
		}
		if err := r.again(err); err != nil {
			return 0, err
		}
	}
}

// readSome reads from the connection. One that nothing comes over any more is given up: who is behind it may be gone.
func (r *resuming) readSome(p []byte) (int, error) {
	body := r.body
	stalled := time.AfterFunc(r.c.r.stall, func() { body.Close() })
	n, err := body.Read(p)
	if !stalled.Stop() && err != nil {
		err = fmt.Errorf("nothing came for %s: %w", r.c.r.stall, os.ErrDeadlineExceeded)
	}
	return n, err
}

// again connects anew after cause, in the end to another place that has the blob.
func (r *resuming) again(cause error) error {
	err := r.reconnect(cause)
	if err == nil || !r.c.l.mirror || r.ctx.Err() != nil {
		return err
	}
	r.c.r.abandon(r.c.l, fmt.Errorf("mirror %s: %w", r.c.l.domain, err))
	rc, openErr := r.c.r.Open(r.ctx, r.c.ref, r.d, r.pos)
	if openErr != nil {
		return openErr // which has err
	}
	if next, ok := rc.(*resuming); ok { // as long as there is more to come
		*r = *next
	}
	return nil
}

// reconnect connects anew, unless that has been tried often enough without getting on.
func (r *resuming) reconnect(cause error) error {
	if r.pos-r.mark >= resumeProgress {
		r.tries = 0
	}
	r.mark = r.pos
	r.body.Close()
	if errors.Is(cause, io.EOF) {
		cause = io.ErrUnexpectedEOF
	}
	for r.tries < r.c.r.o.Retries && r.ctx.Err() == nil {
		r.tries++
		if err := r.c.r.wait(r.ctx, r.tries-1, cause); err != nil {
			return r.c.wrap(err)
		}
		err := r.open()
		if err == nil {
			return nil
		}
		if !isTemporary(err) {
			return err
		}
		cause = err
	}
	if r.ctx.Err() != nil {
		return r.c.wrap(context.Cause(r.ctx))
	}
	return r.c.wrap(fmt.Errorf("%s: broken off after %s of %s: %w", r.d.Digest, disk.Bytes(r.pos), disk.Bytes(r.d.Size), cause))
}

func (r *resuming) Close() error { return r.body.Close() }

// resolveURL reads a Location header, which may be relative.
func resolveURL(resp *http.Response) (*url.URL, error) {
	u, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("the registry does not say where to go on: %w", err)
	}
	return u, nil
}
