package registry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// errSilent is wrapped when no master answered at all: it may be different in a
// moment.
var errSilent = errors.New("no master answers")

// Patience of a host with its masters. The zero value is what is good for hosts.
type patience struct {
	dial   time.Duration // until a connection stands
	answer time.Duration // until a request is answered
	stall  time.Duration // without any byte of a blob
	all    time.Duration // with all masters together, before an error is passed on
	forget time.Duration // how long one that did not answer is asked last
}

func usual() patience {
	return patience{dial: 3 * time.Second, answer: 10 * time.Second, stall: 10 * time.Second, all: 15 * time.Second, forget: 5 * time.Second}
}

// peers asks the masters of the cluster.
type peers struct {
	masters  *masters
	who      *identity
	patience patience

	mu     sync.Mutex
	config *tls.Config // that of client
	client *http.Client
}

// connection returns a client with the identity that counts now.
func (p *peers) connection() (*http.Client, error) {
	config, err := p.who.current()
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.client != nil && config == p.config {
		return p.client, nil
	}
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
	p.config = config
	p.client = &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: p.patience.dial}).DialContext,
		TLSClientConfig:       config.Clone(),
		TLSHandshakeTimeout:   p.patience.dial,
		ResponseHeaderTimeout: p.patience.answer,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true,
	}}
	return p.client, nil
}

// wanted is something that a registry is asked for.
type wanted struct {
	repo, kind, object string // /v2/<repo>/<kind>/<object>
	query              url.Values
}

func (w wanted) String() string { return w.repo + "/" + w.object }

func (w wanted) url(master string) string {
	u := url.URL{Scheme: "https", Host: master, Path: "/v2/" + w.repo + "/" + w.kind + "/" + w.object, RawQuery: w.query.Encode()}
	return u.String()
}

// ask asks one master after the other until one has it. The answer's status is
// 200, or 206 from the byte offset on. What no master has that answered is an
// error wrapping artifact.ErrNotFound; the caller closes the body.
func (p *peers) ask(ctx context.Context, method string, w wanted, offset int64) (*http.Response, string, error) {
	client, err := p.connection()
	if err != nil {
		return nil, "", err
	}
	order, err := p.masters.order(w.object)
	if err != nil {
		return nil, "", err
	}
	var without, trouble error
	for _, master := range order {
		resp, err := p.askOne(ctx, client, method, master, w, offset)
		switch {
		case err == nil:
			p.masters.lives(master)
			return resp, master, nil
		case ctx.Err() != nil:
			return nil, "", context.Cause(ctx)
		case errors.Is(err, artifact.ErrNotFound):
			p.masters.lives(master)
			without = err
		default:
			p.masters.died(master)
			trouble = errors.Join(trouble, err)
		}
	}
	if without != nil || trouble == nil {
		return nil, "", fmt.Errorf("%s: %w on the masters of the cluster", w, artifact.ErrNotFound)
	}
	return nil, "", fmt.Errorf("%s: %w: %w", w, errSilent, trouble)
}

func (p *peers) askOne(ctx context.Context, client *http.Client, method, master string, w wanted, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, w.url(master), nil)
	if err != nil {
		return nil, err
	}
	want := http.StatusOK
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		want = http.StatusPartialContent
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	switch {
	case resp.StatusCode == want && (offset == 0 || strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset))):
		return resp, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusBadRequest:
		err = artifact.ErrNotFound
	default:
		err = fmt.Errorf("master %s answers %s", master, resp.Status)
	}
	resp.Body.Close()
	return nil, err
}

// patiently repeats what fails because no master answers, until patience ends.
func (p *peers) patiently(ctx context.Context, do func() error) error {
	end := time.Now().Add(p.patience.all)
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := do()
		if err == nil || !errors.Is(err, errSilent) || time.Now().Add(pause).After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// document asks for something small, whole: a manifest, a list, a small blob. One
// that does not have its digest is asked of the next master.
func (p *peers) document(ctx context.Context, w wanted, limit int64) (header http.Header, body []byte, err error) {
	err = p.patiently(ctx, func() error {
		masters, err := p.masters.read()
		if err != nil {
			return err
		}
		lied := false
		for range len(masters) + 1 {
			resp, master, err := p.ask(ctx, http.MethodGet, w, 0)
			if err != nil {
				return err
			}
			body, err = p.readAll(ctx, resp, limit)
			if err != nil {
				p.masters.died(master)
				continue
			}
			if header = resp.Header; honest(w, header, body) {
				return nil
			}
			p.masters.lied(w.object, master)
			lied = true
		}
		if lied {
			return fmt.Errorf("%s: what the masters send has another digest: %w", w, layout.ErrDamaged)
		}
		return fmt.Errorf("%s: %w to its end", w, errSilent)
	})
	return header, body, err
}

// honest reports whether bytes have the digest by which they were asked for, or
// which the master says that they have.
func honest(w wanted, header http.Header, body []byte) bool {
	said := header.Get("Docker-Content-Digest")
	if w.kind != "referrers" && strings.Contains(w.object, ":") {
		said = w.object
	}
	return said == "" || layout.DigestOf(body).String() == said
}

// readAll reads a short answer.
func (p *peers) readAll(ctx context.Context, resp *http.Response, limit int64) ([]byte, error) {
	stop := context.AfterFunc(ctx, func() { resp.Body.Close() })
	defer stop()
	timer := time.AfterFunc(p.patience.answer, func() { resp.Body.Close() })
	defer timer.Stop()
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	return b, err
}

// size asks how large a blob is.
func (p *peers) size(ctx context.Context, w wanted) (size int64, err error) {
	err = p.patiently(ctx, func() error {
		resp, master, err := p.ask(ctx, http.MethodHead, w, 0)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if size, err = strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err != nil || size < 0 {
			p.masters.died(master)
			return fmt.Errorf("%s: %w properly: master %s says no size", w, errSilent, master)
		}
		return nil
	})
	return size, err
}

// blob is a source of one blob that is streamed from the masters.
type remoteBlob struct {
	p    *peers
	want wanted
}

// Resolve implements artifact.Source. A blob has no name.
func (r remoteBlob) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

// Open implements artifact.Source.
func (r remoteBlob) Open(ctx context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return newStream(ctx, r.p, r.want, d, offset), nil
}
