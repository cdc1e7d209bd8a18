package registry

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// pause is how long to wait before a request is repeated: first, then twice as long each time, up to most.
type pause struct{ first, most time.Duration }

var defaultPause = pause{first: 250 * time.Millisecond, most: 8 * time.Second} //nolint:gochecknoglobals // a constant of a type that has none

const (
	// maxPatience bounds what registries may make one request wait in all.
	maxPatience = 5 * time.Minute
	// tellFrom is the wait from which on the user is told.
	tellFrom = 2 * time.Second
	// slower is how many times a wait doubles when a registry wants fewer requests and does not say when.
	slower = 3
)

// before returns how long to wait before repetition try+1 of what failed with err. Part of it is chance, so that
// requests that failed together do not come back together.
func (p pause) before(try int, err error) time.Duration {
	most := p.most
	if isRateLimit(err) {
		try, most = try+slower, p.most*4
	}
	d := min(p.first<<min(try, 16), most)
	return d/2 + rand.N(d/2+1)
}

// wait waits before repetition try+1 of what failed with err. Where a host has said that it is asked too much, all that is
// asked of it waits: see gates.
func (r *Client) wait(ctx context.Context, try int, err error) error {
	var se *statusError
	if errors.As(err, &se) && se.retryAfter > 0 {
		return context.Cause(ctx)
	}
	d := r.pause.before(try, err)
	if isRateLimit(err) {
		r.gates.shut(se.host, d)
		return context.Cause(ctx)
	}
	return sleep(ctx, d)
}

// sleep waits, or returns why ctx ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// gates know until when the hosts of registries want to be left alone. What one request is told holds for all: it is the
// address or the user that has asked too often.
type gates struct {
	tell func(text string)

	mu    sync.Mutex
	until map[string]time.Time
}

// shut lets nothing through to host for d.
func (g *gates) shut(host string, d time.Duration) {
	until := time.Now().Add(d)
	g.mu.Lock()
	longer := until.Sub(g.until[host])
	if longer > 0 {
		g.until[host] = until
	}
	g.mu.Unlock()
	if d >= tellFrom && longer >= time.Second { // once for all requests that are told the same
		g.tell(fmt.Sprintf("%s asks to be left alone for %s: waiting", host, d.Round(time.Second)))
	}
}

// pass waits until host may be asked.
func (g *gates) pass(ctx context.Context, host string) error {
	for {
		g.mu.Lock()
		until := g.until[host]
		g.mu.Unlock()
		d := time.Until(until)
		if d <= 0 {
			return nil
		}
		if err := sleep(ctx, d+rand.N(min(d/8, time.Second)+1)); err != nil {
			return err
		}
	}
}

// gated holds requests back whose host wants to be left alone.
type gated struct {
	gates *gates
	inner http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *gated) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := t.gates.pass(req.Context(), req.URL.Host); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	resp, err := t.inner.RoundTrip(req)
	if err == nil && temporaryStatus(resp.StatusCode) {
		if d := retryAfter(resp, time.Now()); d > 0 && d <= maxPatience {
			t.gates.shut(req.URL.Host, d)
		}
	}
	return resp, err
}

// retryAfter returns how long an answer asks to wait, as seconds or as a date (RFC 9110, section 10.2.3), 0 if it does
// not.
func retryAfter(resp *http.Response, now time.Time) time.Duration {
	s := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(s); err == nil && n > 0 {
		return time.Duration(min(n, 1<<31)) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// patience counts what one request was made to wait.
type patience struct{ waited time.Duration }

// more reports whether err asks to wait at a time that it names, and whether that is too long: then the error says so.
func (p *patience) more(err error) (asked bool, tooLong error) {
	var se *statusError
	if !errors.As(err, &se) || se.retryAfter <= 0 || !isTemporary(err) {
		return false, nil
	}
	if p.waited += se.retryAfter; p.waited > maxPatience {
		return true, fmt.Errorf("%w: it asks to wait %s, %s is the most", err, p.waited.Round(time.Second), maxPatience)
	}
	return true, nil
}

// isRateLimit reports whether err says that too much was asked.
func isRateLimit(err error) bool {
	var se *statusError
	return errors.As(err, &se) && se.status == http.StatusTooManyRequests
}
