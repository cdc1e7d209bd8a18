package registry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Waits; bodies take as long as they take, if only something moves.
const (
	dialTimeout   = 15 * time.Second
	tlsTimeout    = 15 * time.Second
	headerTimeout = 2 * time.Minute
)

// dockerHub is where docker.io has its registry.
const dockerHub = "registry-1.docker.io"

func hostOf(domain string) string {
	if domain == "docker.io" || domain == "index.docker.io" {
		return dockerHub
	}
	return domain
}

type hostKey struct {
	host     string
	insecure bool
}

// endpoint is how one registry is spoken to: found out once, on the first request.
type endpoint struct {
	r        *Client
	host     string // as in URLs
	insecure bool   // told so by registries.conf

	mu        sync.Mutex
	scheme    string // "" until known
	challenge *transport.Challenge
	rt        http.RoundTripper

	most atomic.Int64 // bytes in one request; 0: nobody refused any number yet
}

func (e *endpoint) url(path string) string { return e.scheme + "://" + e.host + path }

// endpoint returns how to speak to a registry, asking it when that is not known yet. Failure is not remembered.
func (r *Client) endpoint(ctx context.Context, l location) (*endpoint, error) {
	key := hostKey{hostOf(l.domain), l.insecure || r.o.Insecure}
	r.mu.Lock()
	e := r.hosts[key]
	if e == nil {
		e = &endpoint{r: r, host: key.host, insecure: key.insecure}
		r.hosts[key] = e
	}
	r.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.scheme != "" {
		return e, nil
	}
	if err := e.find(ctx); err != nil {
		return nil, r.explain(l.domain, err)
	}
	return e, nil
}

// schemes lists how a registry may be spoken to, the better first. Private addresses get no exception: only loopback
// ones do.
func (e *endpoint) schemes() []string {
	switch {
	case e.r.o.PlainHTTP:
		return []string{"http"}
	case e.insecure, isLoopback(e.host):
		return []string{"https", "http"}
	}
	return []string{"https"}
}

func isLoopback(host string) bool {
	u := url.URL{Host: host}
	h := u.Hostname()
	if h == "localhost" || strings.HasSuffix(h, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(h)
	return err == nil && a.IsLoopback()
}

// find asks the registry which scheme it speaks and what it wants to see (OCI distribution-spec, "Determining Support").
func (e *endpoint) find(ctx context.Context) error {
	base := &byHost{r: e.r, insecure: e.insecure}
	var first error
	for _, scheme := range e.schemes() {
		rt := &schemeTransport{inner: base, host: e.host, scheme: scheme}
		ch, err := e.ping(ctx, rt)
		if err == nil {
			e.scheme, e.challenge, e.rt = scheme, ch, rt
			return nil
		}
		if first == nil || speaksHTTP(first) {
			first = err // what http said tells more when https is not spoken at all
		}
		var op *net.OpError
		if isCertificate(err) || ctx.Err() != nil || errors.As(err, &op) && op.Op == "dial" {
			break // http would not change that
		}
	}
	return first
}

func (e *endpoint) ping(ctx context.Context, rt http.RoundTripper) (*transport.Challenge, error) {
	reg, err := name.NewRegistry(e.host)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		first := &firstError{inner: rt}
		ch, err := transport.Ping(ctx, reg, first)
		if err != nil {
			err = first.of(err)
		}
		if err == nil || try >= e.r.o.Retries || !isTemporary(err) || speaksHTTP(err) || isLoopback(e.host) && refused(err) {
			return ch, err
		}
		if err := e.r.wait(ctx, try, err); err != nil {
			return nil, err
		}
	}
}

// firstError remembers how the first request failed: the library asks loopback addresses a second time, over a scheme
// that schemeTransport does not let through, and says everything twice.
type firstError struct {
	inner http.RoundTripper
	mu    sync.Mutex
	err   error
}

// RoundTrip implements http.RoundTripper.
func (t *firstError) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.inner.RoundTrip(req)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	return resp, err
}

// of returns the one thing that a failed ping is about.
func (t *firstError) of(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var answer *transport.Error
	switch {
	case t.err != nil:
		return t.err
	case errors.As(err, &answer):
		return answer
	}
	return err
}

// refused reports whether nobody listens; on this machine that does not change while we wait.
func refused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// schemeTransport makes every request to a registry use the scheme that it was found to speak, whatever a redirect
// behind a proxy, or a library's opinion on private addresses, says.
type schemeTransport struct {
	inner        http.RoundTripper
	host, scheme string
}

// RoundTrip implements http.RoundTripper.
func (t *schemeTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if sameHost(req.URL.Host, t.host) && req.URL.Scheme != t.scheme {
		req = req.Clone(req.Context())
		req.URL.Scheme = t.scheme
	}
	return t.inner.RoundTrip(req)
}

// sameHost reports whether two hosts of URLs are the same registry, a default port written out or not.
func sameHost(a, b string) bool {
	return a == b || strings.TrimSuffix(a, ":443") == strings.TrimSuffix(b, ":443")
}
