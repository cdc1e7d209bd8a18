package registry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"7":                             7 * time.Second,
		"0":                             0,
		"-1":                            0,
		"soon":                          0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Fri, 02 Jan 2026 03:03:05 GMT": 0,
		"99999999999":                   1 << 31 * time.Second,
	} {
		resp := &http.Response{Header: http.Header{"Retry-After": {header}}}
		if got := retryAfter(resp, now); got != want {
			t.Errorf("%q: %v, wanted is %v", header, got, want)
		}
	}
}

// TestOneRefusalHoldsForTheHost: what one request is told, all others of the host obey.
func TestOneRefusalHoldsForTheHost(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	var mu sync.Mutex
	var notes []string
	var refused time.Time
	var early int
	r := fastRegistry(Options{Observe: func(e artifact.Event) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, e.Name)
	}})
	if _, err := r.Resolve(t.Context(), f.Ref(t, "a:v1")); !errors.Is(err, artifact.ErrNotFound) {
		t.Fatal(err)
	}
	told := make(chan struct{})
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case refused.IsZero():
			refused = time.Now()
			w.Header().Set("Retry-After", "2")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		case time.Since(refused) < 2*time.Second:
			early++
		}
		next.ServeHTTP(w, q)
	})
	r.gates.tell = func(text string) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, text)
		close(told)
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.Resolve(t.Context(), f.Ref(t, "a:v1")) })
	<-told
	for range 3 {
		wg.Go(func() {
			if _, err := r.Resolve(t.Context(), f.Ref(t, "b:v1")); !errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(artifacttest.ErrBroken)
	if _, err := r.Resolve(ctx, f.Ref(t, "c:v1")); !errors.Is(err, artifacttest.ErrBroken) && !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the context: %v", err)
	}
	wg.Wait()
	if early > 0 {
		t.Errorf("%d requests came too early", early)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], f.Host()) || !strings.Contains(notes[0], "2s") {
		t.Errorf("notes %q", notes)
	}
}

func TestPatienceEnds(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	for header, want := range map[string][]string{
		"7200": {"asks to wait 2h0m0s", "5m0s is the most", "sealrt login " + f.Host(), "registries.conf"},
		"":     {"sealrt login " + f.Host(), "registries.conf"},
	} {
		asked := 0
		f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			if strings.Contains(q.URL.Path, "/manifests/") {
				asked++
				w.Header().Set("Retry-After", header)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, q)
		})
		_, err := r.Resolve(t.Context(), f.Ref(t, "a:v1"))
		artifacttest.WantError(t, err, want...)
		if n := map[string]int{"7200": 1, "": 5}[header]; asked != n {
			t.Errorf("Retry-After %q: asked %d times, wanted are %d", header, asked, n)
		}
	}
}

func TestPausesGrowAndDiffer(t *testing.T) {
	p := pause{first: 100 * time.Millisecond, most: time.Second}
	limited := &statusError{status: http.StatusTooManyRequests}
	seen := map[time.Duration]bool{}
	for range 50 {
		for try, want := range []time.Duration{100, 200, 400, 800, 1000, 1000} {
			want *= time.Millisecond
			if d := p.before(try, artifacttest.ErrBroken); d < want/2 || d > want {
				t.Errorf("try %d: %v, wanted is up to %v", try, d, want)
			}
		}
		if d := p.before(0, limited); d < 400*time.Millisecond {
			t.Errorf("a registry that wants fewer requests is asked again after %v", d)
		}
		seen[p.before(0, artifacttest.ErrBroken)] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d different pauses", len(seen))
	}
}

// TestTooManyRequestsHoldForTheHost: so it is without a time too, as Docker Hub
// answers.
func TestTooManyRequestsHoldForTheHost(t *testing.T) {
	r := fastRegistry(Options{})
	r.pause = pause{first: time.Hour, most: time.Hour}
	artifacttest.Check(t, r.wait(t.Context(), 0, &statusError{status: http.StatusTooManyRequests, host: "a"}))
	for host, want := range map[string]bool{"a": true, "b": false} {
		if got := time.Until(r.gates.until[host]) > time.Minute; got != want {
			t.Errorf("%s is left alone: %v", host, got)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(artifacttest.ErrBroken)
	if err := r.gates.pass(ctx, "a"); !errors.Is(err, artifacttest.ErrBroken) {
		t.Errorf("the end of the context: %v", err)
	}
}

func TestTokensAreReplacedBeforeTheyRunOut(t *testing.T) {
	for says, want := range map[int]time.Duration{0: 54 * time.Second, -1: 54 * time.Second, 30: 27 * time.Second, 3600: 3590 * time.Second} {
		if got := lifetime(&transport.Token{ExpiresIn: says}); got != want {
			t.Errorf("%d seconds: used for %v, want %v", says, got, want)
		}
	}
}
