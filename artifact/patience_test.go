package artifact

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
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
	f := newFakeRegistry(t)
	var mu sync.Mutex
	var notes []string
	var refused time.Time
	var early int
	r := fastRegistry(RegistryOptions{Observe: func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		notes = append(notes, e.Name)
	}})
	if _, err := r.Resolve(t.Context(), f.ref(t, "a:v1")); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	told := make(chan struct{})
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
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
	wg.Go(func() { r.Resolve(t.Context(), f.ref(t, "a:v1")) })
	<-told
	for range 3 {
		wg.Go(func() {
			if _, err := r.Resolve(t.Context(), f.ref(t, "b:v1")); !errors.Is(err, ErrNotFound) {
				t.Errorf("got %v", err)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if _, err := r.Resolve(ctx, f.ref(t, "c:v1")); !errors.Is(err, errBroken) && !errors.Is(err, context.Canceled) {
		t.Errorf("the end of the context: %v", err)
	}
	wg.Wait()
	if early > 0 {
		t.Errorf("%d requests came too early", early)
	}
	if len(notes) != 1 || !strings.Contains(notes[0], f.host()) || !strings.Contains(notes[0], "2s") {
		t.Errorf("notes %q", notes)
	}
}

func TestPatienceEnds(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	for header, want := range map[string][]string{
		"7200": {"asks to wait 2h0m0s", "5m0s is the most", "sealrt login " + f.host(), "registries.conf"},
		"":     {"sealrt login " + f.host(), "registries.conf"},
	} {
		asked := 0
		f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			if strings.Contains(q.URL.Path, "/manifests/") {
				asked++
				w.Header().Set("Retry-After", header)
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			next.ServeHTTP(w, q)
		})
		_, err := r.Resolve(t.Context(), f.ref(t, "a:v1"))
		wantError(t, err, want...)
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
			if d := p.before(try, errBroken); d < want/2 || d > want {
				t.Errorf("try %d: %v, wanted is up to %v", try, d, want)
			}
		}
		if d := p.before(0, limited); d < 400*time.Millisecond {
			t.Errorf("a registry that wants fewer requests is asked again after %v", d)
		}
		seen[p.before(0, errBroken)] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d different pauses", len(seen))
	}
}

// TestTooManyRequestsHoldForTheHost: so it is without a time too, as Docker Hub
// answers.
func TestTooManyRequestsHoldForTheHost(t *testing.T) {
	r := fastRegistry(RegistryOptions{})
	r.pause = pause{first: time.Hour, most: time.Hour}
	check(t, r.wait(t.Context(), 0, &statusError{status: http.StatusTooManyRequests, host: "a"}))
	for host, want := range map[string]bool{"a": true, "b": false} {
		if got := time.Until(r.gates.until[host]) > time.Minute; got != want {
			t.Errorf("%s is left alone: %v", host, got)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errBroken)
	if err := r.gates.pass(ctx, "a"); !errors.Is(err, errBroken) {
		t.Errorf("the end of the context: %v", err)
	}
}
