package registry

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

type hook = func(w http.ResponseWriter, r *http.Request, next http.Handler)

// TestFaults pushes and pulls through a registry that misbehaves in one way, and wants both to succeed.
func TestFaults(t *testing.T) {
	isBig := func(q *http.Request) bool {
		return q.Method == http.MethodGet && strings.Contains(q.URL.Path, "/blobs/")
	}
	var patches atomic.Int32
	for name, broken := range map[string]func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool{
		"500": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if dice(n) {
				w.WriteHeader(500)
			}
			return dice(n)
		},
		"429": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if dice(n) {
				w.WriteHeader(429)
			}
			return dice(n)
		},
		"connections that break": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if dice(n) {
				panic(http.ErrAbortHandler)
			}
			return false
		},
		"half bodies": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if !isBig(q) {
				return false
			}
			next.ServeHTTP(&half{ResponseWriter: w, left: 1 << 20}, q)
			return true
		},
		"no ranges": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if !isBig(q) || n%2 == 0 {
				q.Header.Del("Range")
				return false
			}
			q.Header.Del("Range")
			next.ServeHTTP(&half{ResponseWriter: w, left: 1 << 20}, q)
			return true
		},
		"no head": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if q.Method == http.MethodHead && strings.Contains(q.URL.Path, "/manifests/v1") {
				w.WriteHeader(405)
				return true
			}
			return false
		},
		"no digest header": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			next.ServeHTTP(&dropHeader{ResponseWriter: w, name: "Docker-Content-Digest"}, q)
			return true
		},
		"uploads that break": func(n int, w http.ResponseWriter, q *http.Request, next http.Handler) bool {
			if q.Method == http.MethodPatch && patches.Add(1) <= 6 {
				io.CopyN(io.Discard, q.Body, 100)
				panic(http.ErrAbortHandler)
			}
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, r, src, dst := artifacttest.NewFakeRegistry(t), fastRegistry(Options{Retries: 8}), registrytest.Store(t), registrytest.Store(t)
			var n, bad atomic.Int32
			f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
				if broken(int(n.Add(1)), w, q, next) {
					bad.Add(1)
					return
				}
				next.ServeHTTP(w, q)
			})
			ref, d := artifacttest.Tagged(t, src)
			artifacttest.CopyImage(t, r, f.Ref(t, "k3s:v1"), src, ref)
			if got := artifacttest.CopyImage(t, dst, ref, r, f.Ref(t, "k3s:v1")); got.Digest != d.Digest {
				t.Errorf("pulled %s, want %s", got.Digest, d.Digest)
			}
			artifacttest.RequireWholeStore(t, dst, ref)
		})
	}
}

// dice is true for about every third n, in no rhythm that could fall in step with the requests of a retry.
func dice(n int) bool { return uint32(n)*2654435761>>16%3 == 0 }

// half breaks the connection after some bytes.
type half struct {
	http.ResponseWriter
	left int
}

func (h *half) Write(p []byte) (int, error) {
	if len(p) > h.left {
		h.ResponseWriter.Write(p[:h.left])
		http.NewResponseController(h.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	h.left -= len(p)
	return h.ResponseWriter.Write(p)
}

type dropHeader struct {
	http.ResponseWriter
	name string
}

func (d *dropHeader) WriteHeader(status int) {
	d.Header().Del(d.name)
	d.ResponseWriter.WriteHeader(status)
}

func TestDownloadResumesWhereItBroke(t *testing.T) {
	f, r, src := artifacttest.NewFakeRegistry(t), fastRegistry(Options{}), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "k3s:v1"), src, ref)
	var mu sync.Mutex
	var ranges []string
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") && q.Method == http.MethodGet {
			mu.Lock()
			ranges = append(ranges, q.Header.Get("Range"))
			first := len(ranges) == 1
			mu.Unlock()
			if first {
				w = &half{ResponseWriter: w, left: 1 << 20}
			}
		}
		next.ServeHTTP(w, q)
	})
	_, m, _, err := artifact.Manifest(t.Context(), src, ref, nil)
	artifacttest.Check(t, err)
	rc, err := r.Open(t.Context(), f.Ref(t, "k3s:v1"), m.Layers[1], 10)
	artifacttest.Check(t, err)
	defer rc.Close()
	got, err := io.ReadAll(rc)
	artifacttest.Check(t, err)
	want, err := os.ReadFile(src.BlobPath(m.Layers[1].Digest))
	artifacttest.Check(t, err)
	if !cmp.Equal(got, want[10:]) {
		t.Error("what was read is not the blob from byte 10 on")
	}
	if len(ranges) != 2 || !strings.HasPrefix(ranges[0], "bytes=10-") || ranges[1] == ranges[0] || ranges[1] == "" {
		t.Errorf("ranges asked for: %q", ranges)
	}
}

func TestDownloadGivesUpInTheEnd(t *testing.T) {
	f, r, src := artifacttest.NewFakeRegistry(t), fastRegistry(Options{Retries: 2}), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "k3s:v1"), src, ref)
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") && q.Method == http.MethodGet {
			w = &half{ResponseWriter: w, left: 10}
			q.Header.Del("Range")
		}
		next.ServeHTTP(w, q)
	})
	_, err := artifact.Copy(t.Context(), registrytest.Store(t), ref, r, f.Ref(t, "k3s:v1"), artifact.CopyOptions{})
	artifacttest.WantError(t, err, "k3s:v1", "sha256:", "unexpected EOF", "try again")
}

// TestDownloadThatStallsGoesOn is about a proxy that keeps a connection whose other end is gone.
func TestDownloadThatStallsGoesOn(t *testing.T) {
	f, r, src := artifacttest.NewFakeRegistry(t), fastRegistry(Options{}), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "k3s:v1"), src, ref)
	_, m, _, err := artifact.Manifest(t.Context(), src, ref, nil)
	artifacttest.Check(t, err)
	big := m.Layers[1]
	var stalled atomic.Bool
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method != http.MethodGet || !strings.Contains(q.URL.Path, "/blobs/") || !stalled.CompareAndSwap(false, true) {
			next.ServeHTTP(w, q)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(big.Size, 10))
		w.Write(make([]byte, 10))
		w.(http.Flusher).Flush()
		<-q.Context().Done()
	})
	r.stall = 100 * time.Millisecond
	rc, err := r.Open(t.Context(), f.Ref(t, "k3s:v1"), big, 0)
	artifacttest.Check(t, err)
	defer rc.Close()
	n, err := io.Copy(io.Discard, rc)
	if err != nil || n != big.Size || !stalled.Load() {
		t.Errorf("%d bytes of %d, stalled: %v, %v", n, big.Size, stalled.Load(), err)
	}
}

func TestWrongBytesAreRefused(t *testing.T) {
	f, r, src, dst := artifacttest.NewFakeRegistry(t), fastRegistry(Options{}), registrytest.Store(t), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, r, f.Ref(t, "k3s:v1"), src, ref)
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			w = flip{w}
		}
		next.ServeHTTP(w, q)
	})
	_, err := artifact.Copy(t.Context(), dst, ref, r, f.Ref(t, "k3s:v1"), artifact.CopyOptions{})
	artifacttest.WantError(t, err, "k3s:v1", "the source is damaged")
	if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 {
		t.Errorf("the store took %v", inv)
	}
}

type flip struct{ http.ResponseWriter }

func (f flip) Write(p []byte) (int, error) {
	q := append([]byte(nil), p...)
	q[0] ^= 1
	return f.ResponseWriter.Write(q)
}

func TestRetryAfterIsObeyed(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	var asked []time.Time
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			asked = append(asked, time.Now())
			if len(asked) == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
				return
			}
		}
		next.ServeHTTP(w, q)
	})
	_, err := r.Resolve(t.Context(), f.Ref(t, "a:v1"))
	if !errors.Is(err, artifact.ErrNotFound) || len(asked) != 2 || asked[1].Sub(asked[0]) < time.Second {
		t.Errorf("asked at %v: %v", asked, err)
	}
}

func TestUploadStopsAtASourceThatFails(t *testing.T) {
	f, r := artifacttest.NewFakeRegistry(t), fastRegistry(Options{})
	boom := errors.New("boom")
	opened := 0
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: artifacttest.DigestOf([]byte("x")), Size: 10}
	err := r.Put(t.Context(), f.Ref(t, "a:v1"), d, func(int64) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(io.MultiReader(strings.NewReader("12345"), artifacttest.Failing{Err: boom})), nil
	})
	if !errors.Is(err, boom) || opened != 1 {
		t.Errorf("opened %d times: %v", opened, err)
	}
}

func TestSchemes(t *testing.T) {
	for _, tc := range []struct {
		host string
		o    Options
		want []string
	}{
		{"registry.example.com", Options{}, []string{"https"}},
		{"10.0.0.1:5000", Options{}, []string{"https"}},
		{"192.168.1.1", Options{}, []string{"https"}},
		{"localhost:5000", Options{}, []string{"https", "http"}},
		{"127.0.0.2:5000", Options{}, []string{"https", "http"}},
		{"[::1]:5000", Options{}, []string{"https", "http"}},
		{"10.0.0.1:5000", Options{PlainHTTP: true}, []string{"http"}},
		{"10.0.0.1:5000", Options{Insecure: true}, []string{"https", "http"}},
	} {
		e := &endpoint{r: New(tc.o), host: tc.host, insecure: tc.o.Insecure}
		if diff := cmp.Diff(tc.want, e.schemes()); diff != "" {
			t.Errorf("%s %+v: %s", tc.host, tc.o, diff)
		}
	}
}

func TestTLS(t *testing.T) {
	f := artifacttest.NewFake(t, httptest.NewTLSServer)
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	artifacttest.Check(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600))
	_, err := artifact.Copy(t.Context(), fastRegistry(Options{}), f.Ref(t, "a:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "certificate", "--ca-file", "--insecure")
	once(t, err, "x509")
	artifacttest.CopyImage(t, fastRegistry(Options{CAFile: ca}), f.Ref(t, "a:v1"), src, ref)
	artifacttest.CopyImage(t, fastRegistry(Options{Insecure: true}), f.Ref(t, "a:v1"), src, ref)
	_, err = fastRegistry(Options{PlainHTTP: true}).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "leave out --plain-http")
	once(t, err, "speaks https")
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error is of several lines: %v", err)
	}
	_, err = fastRegistry(Options{CAFile: ca + "x"}).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "--ca-file")
}

func TestPlainHTTPIsNotTakenForGranted(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	r := fastRegistry(Options{})
	e := &endpoint{r: r, host: "registry.example.com"}
	base, err := r.transport(e.host, false)
	artifacttest.Check(t, err)
	rt := &schemeTransport{inner: redirectTo{f.Host(), base}, host: e.host, scheme: "https"}
	_, err = e.ping(t.Context(), rt)
	artifacttest.WantError(t, r.explain(e.host, err), "speaks plain http", "--plain-http")
}

// redirectTo connects every request to one address.
type redirectTo struct {
	addr  string
	inner http.RoundTripper
}

func (r redirectTo) RoundTrip(q *http.Request) (*http.Response, error) {
	q = q.Clone(q.Context())
	q.URL.Host = r.addr
	return r.inner.RoundTrip(q)
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	artifacttest.Check(t, err)
	addr := l.Addr().String()
	l.Close()
	_, err = fastRegistry(Options{}).Resolve(t.Context(), artifacttest.MustRef(t, addr+"/a:v1"))
	artifacttest.WantError(t, err, addr, "cannot be reached", "proxy")
	once(t, err, "connection refused")
}

// once checks that an error says something once.
func once(t *testing.T, err error, what string) {
	t.Helper()
	if err != nil && strings.Count(err.Error(), what) > 1 {
		t.Errorf("error says %q more than once: %v", what, err)
	}
}

func TestSchema1IsRefusedByName(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.DockerManifestSchema1Signed))
			io.WriteString(w, `{"schemaVersion":1}`)
			return
		}
		next.ServeHTTP(w, q)
	})
	_, err := fastRegistry(Options{}).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, "schema 1", "a:v1")
}

// withBasic asks for a user and password.
func withBasic(user, password string) hook {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if u, p, ok := q.BasicAuth(); !ok || u != user || p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(401)
			io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
			return
		}
		next.ServeHTTP(w, q)
	}
}

func TestLogin(t *testing.T) {
	f := artifacttest.NewFakeRegistry(t)
	f.Set(withBasic("bob", "secret"))
	file := filepath.Join(t.TempDir(), "docker", "config.json")
	artifacttest.Check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	before := []byte(`{"detachKeys":"ctrl-q","auths":{"other.example.com":{"auth":"YTpi"}}}`)
	artifacttest.Check(t, os.WriteFile(file, before, 0o600))
	o := Options{DockerConfig: file, AuthFile: ""}

	_, err := fastRegistry(o).Login(t.Context(), f.Host(), "bob", "wrong")
	if !errors.Is(err, artifact.ErrUnauthorized) || strings.Contains(fmt.Sprint(err), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	artifacttest.WantError(t, err, "refuses this user name or password")
	if strings.Contains(err.Error(), "run `sealrt login") {
		t.Errorf("a login that failed advises to log in: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != string(before) {
		t.Errorf("a refused login changed the file: %s", b)
	}
	where, err := fastRegistry(o).Login(t.Context(), f.Host(), "bob", "secret")
	artifacttest.Check(t, err)
	if where != file {
		t.Errorf("written to %s", where)
	}
	fi, err := os.Stat(file)
	artifacttest.Check(t, err)
	b, _ := os.ReadFile(file)
	if fi.Mode().Perm() != 0o600 || !strings.Contains(string(b), "ctrl-q") || !strings.Contains(string(b), "other.example.com") {
		t.Errorf("mode %o: %s", fi.Mode().Perm(), b)
	}

	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	use := Options{AuthFile: file}
	artifacttest.CopyImage(t, fastRegistry(use), f.Ref(t, "a:v1"), src, ref)
	_, err = artifact.Copy(t.Context(), fastRegistry(Options{}), f.Ref(t, "a:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "no credentials", "sealrt login "+f.Host())

	f.Set(withBasic("bob", "changed"))
	_, err = fastRegistry(use).Resolve(t.Context(), f.Ref(t, "a:v1"))
	artifacttest.WantError(t, err, `"bob"`, file, "sealrt login "+f.Host())
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the secret is in %q", err)
	}

	artifacttest.Check(t, fastRegistry(o).Logout(t.Context(), f.Host()))
	if err := fastRegistry(o).Logout(t.Context(), f.Host()); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("second logout: %v", err)
	}
	if b, _ := os.ReadFile(file); strings.Contains(string(b), f.Host()) || !strings.Contains(string(b), "other.example.com") {
		t.Errorf("after logout: %s", b)
	}
}

// TestBearer plays a token server beside the registry, whose tokens run out while an image is pushed.
func TestBearer(t *testing.T) {
	var mu sync.Mutex
	valid, uses, issued := "", 0, 0
	var scopes []string
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if u, p, _ := q.BasicAuth(); u != "bob" || p != "secret" {
			w.WriteHeader(401)
			return
		}
		issued++
		valid, uses = fmt.Sprintf("token-%d", issued), 0
		scopes = append(scopes, q.URL.Query()["scope"]...)
		json.NewEncoder(w).Encode(map[string]string{"token": valid})
	}))
	defer tokens.Close()
	f := artifacttest.NewFakeRegistry(t)
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		uses++
		ok := q.Header.Get("Authorization") == "Bearer "+valid && uses <= 4
		mu.Unlock()
		if !ok {
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="reg"`, tokens.URL+"/token"))
			w.WriteHeader(401)
			return
		}
		next.ServeHTTP(w, q)
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	_, err := fastRegistry(Options{AuthFile: file}).Login(t.Context(), f.Host(), "bob", "nope")
	if !errors.Is(err, artifact.ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	_, err = fastRegistry(Options{AuthFile: file}).Login(t.Context(), f.Host(), "bob", "secret")
	artifacttest.Check(t, err)
	src, dst := registrytest.Store(t), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	scopes = nil
	r := fastRegistry(Options{AuthFile: file})
	_, err = artifact.Copy(t.Context(), r, f.Ref(t, "team/k3s:v1"), src, ref, artifact.CopyOptions{Jobs: 1})
	artifacttest.Check(t, err)
	_, err = artifact.Copy(t.Context(), dst, ref, r, f.Ref(t, "team/k3s:v1"), artifact.CopyOptions{Jobs: 1})
	artifacttest.Check(t, err)
	artifacttest.RequireWholeStore(t, dst, ref)
	if len(scopes) < 3 || scopes[0] != "repository:team/k3s:pull,push" || scopes[len(scopes)-1] != "repository:team/k3s:pull" {
		t.Errorf("scopes asked for: %v", scopes)
	}
}

func TestCredentialsStayWithTheRegistry(t *testing.T) {
	f, src := artifacttest.NewFakeRegistry(t), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, fastRegistry(Options{}), f.Ref(t, "a:v1"), src, ref)
	var leaked atomic.Bool
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Header.Get("Authorization") != "" {
			leaked.Store(true)
		}
		b, err := os.ReadFile(src.BlobPath(v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(q.URL.Path, "/")}))
		if err != nil {
			w.WriteHeader(404)
			return
		}
		http.ServeContent(w, q, "", time.Time{}, strings.NewReader(string(b)))
	}))
	defer cdn.Close()
	auth := withBasic("bob", "secret")
	f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		auth(w, q, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if _, hex, ok := strings.Cut(q.URL.Path, "/blobs/sha256:"); ok && q.Method == http.MethodGet {
				http.Redirect(w, q, cdn.URL+"/"+hex, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, q)
		}))
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	_, err := fastRegistry(Options{AuthFile: file}).Login(t.Context(), f.Host(), "bob", "secret")
	artifacttest.Check(t, err)
	dst := registrytest.Store(t)
	artifacttest.CopyImage(t, dst, ref, fastRegistry(Options{AuthFile: file}), f.Ref(t, "a:v1"))
	artifacttest.RequireWholeStore(t, dst, ref)
	if leaked.Load() {
		t.Error("the registry's credentials went where it redirected to")
	}
}

func TestMirrors(t *testing.T) {
	mirror, up, src := artifacttest.NewFakeRegistry(t), artifacttest.NewFakeRegistry(t), registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	direct := fastRegistry(Options{})
	artifacttest.CopyImage(t, direct, mirror.Ref(t, "cache/k3s:v1"), src, ref)
	artifacttest.CopyImage(t, direct, up.Ref(t, "k3s:v1"), src, ref)
	other := artifacttest.AddImage(t, src, "amd64", []string{"only", "upstream"})
	artifacttest.Check(t, src.Tag(t.Context(), artifacttest.MustRef(t, "only:up"), other))
	artifacttest.CopyImage(t, direct, up.Ref(t, "only:up"), src, artifacttest.MustRef(t, "only:up"))
	conf := filepath.Join(t.TempDir(), "registries.conf")
	artifacttest.Check(t, os.WriteFile(conf, fmt.Appendf(nil, `
[[registry]]
prefix = %q
location = %[1]q
[[registry.mirror]]
location = "127.0.0.1:1/dead"
[[registry.mirror]]
location = "%s/cache"
[[registry]]
prefix = "blocked.example.com"
location = "blocked.example.com"
blocked = true
`, up.Host(), mirror.Host()), 0o600))
	r := fastRegistry(Options{RegistriesConf: conf, Retries: -1})
	up.Requests()
	dst := registrytest.Store(t)
	if got := artifacttest.CopyImage(t, dst, ref, r, up.Ref(t, "k3s:v1")); got.Digest != d.Digest {
		t.Errorf("pulled %s", got.Digest)
	}
	if q := up.Requests(); len(q) > 0 {
		t.Errorf("the registry itself was asked: %v", q)
	}
	artifacttest.CopyImage(t, dst, artifacttest.MustRef(t, "only:up"), r, up.Ref(t, "only:up"))
	mirror.Requests()
	artifacttest.CopyImage(t, r, up.Ref(t, "new:v1"), src, ref)
	if q := mirror.Requests(); len(q) > 0 {
		t.Errorf("a push went to the mirror: %v", q)
	}
	_, err := r.Resolve(t.Context(), artifacttest.MustRef(t, "blocked.example.com/a:v1"))
	artifacttest.WantError(t, err, "blocked", conf)
	_, err = artifact.Copy(t.Context(), r, artifacttest.MustRef(t, "blocked.example.com/a:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "blocked", conf)
	_, err = r.Resolve(t.Context(), up.Ref(t, "nothing:v1"))
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("what is nowhere: %v", err)
	}
}

// TestErrorsHaveNoSignatures: what storage behind a registry lets one in by is as good as a password.
func TestErrorsHaveNoSignatures(t *testing.T) {
	f, src := artifacttest.NewFakeRegistry(t), registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, fastRegistry(Options{}), f.Ref(t, "a:v1"), src, ref)
	for name, to := range map[string]string{"nobody there": "127.0.0.1:1", "refused": f.Host()} {
		f.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			switch {
			case strings.HasPrefix(q.URL.Path, "/storage"):
				w.WriteHeader(403)
			case strings.Contains(q.URL.Path, "/blobs/"):
				http.Redirect(w, q, "http://"+to+"/storage/x?X-Amz-Signature=s3cr3t", http.StatusTemporaryRedirect)
			default:
				next.ServeHTTP(w, q)
			}
		})
		_, err := artifact.Copy(t.Context(), registrytest.Store(t), ref, fastRegistry(Options{Retries: -1}), f.Ref(t, "a:v1"), artifact.CopyOptions{})
		artifacttest.WantError(t, err, "a:v1", "/storage/x")
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: the error has the signature: %v", name, err)
		}
	}
}

// TestMirrorThatBreaksOff: the rest of a blob comes from the registry itself.
func TestMirrorThatBreaksOff(t *testing.T) {
	mirror, up, src, dst := artifacttest.NewFakeRegistry(t), artifacttest.NewFakeRegistry(t), registrytest.Store(t), registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	artifacttest.CopyImage(t, fastRegistry(Options{}), mirror.Ref(t, "k3s:v1"), src, ref)
	artifacttest.CopyImage(t, fastRegistry(Options{}), up.Ref(t, "k3s:v1"), src, ref)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	artifacttest.Check(t, os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nprefix = %q\nlocation = %[1]q\n[[registry.mirror]]\nlocation = %q\n", up.Host(), mirror.Host()), 0o600))
	mirror.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			if q.Header.Get("Range") != "" {
				panic(http.ErrAbortHandler)
			}
			w = &half{ResponseWriter: w, left: 1 << 20}
		}
		next.ServeHTTP(w, q)
	})
	var mu sync.Mutex
	var ranges []string
	up.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		if strings.Contains(q.URL.Path, "/blobs/") {
			ranges = append(ranges, q.Header.Get("Range"))
		}
		mu.Unlock()
		next.ServeHTTP(w, q)
	})
	r := fastRegistry(Options{RegistriesConf: conf, Retries: 1})
	got, err := artifact.Copy(t.Context(), dst, ref, r, up.Ref(t, "k3s:v1"), artifact.CopyOptions{Jobs: 1})
	artifacttest.Check(t, err)
	if got.Digest != d.Digest || len(ranges) == 0 || !strings.HasPrefix(ranges[0], "bytes=") || strings.HasPrefix(ranges[0], "bytes=0-") {
		t.Errorf("pulled %s, ranges asked of the registry: %q", got.Digest, ranges)
	}
	artifacttest.RequireWholeStore(t, dst, ref)
	up.Close()
	mirror.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			w = &half{ResponseWriter: w, left: 100}
		}
		next.ServeHTTP(w, q)
	})
	_, err = artifact.Copy(t.Context(), registrytest.Store(t), ref, fastRegistry(Options{RegistriesConf: conf, Retries: -1}), up.Ref(t, "k3s:v1"), artifact.CopyOptions{})
	artifacttest.WantError(t, err, "mirror "+mirror.Host(), "cannot be reached")
}
