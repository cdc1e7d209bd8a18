package artifact

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
			f, r, src, dst := newFakeRegistry(t), fastRegistry(RegistryOptions{Retries: 8}), newStore(t), newStore(t)
			var n, bad atomic.Int32
			f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
				if broken(int(n.Add(1)), w, q, next) {
					bad.Add(1)
					return
				}
				next.ServeHTTP(w, q)
			})
			ref, d := tagged(t, src)
			copyImage(t, r, f.ref(t, "k3s:v1"), src, ref)
			if got := copyImage(t, dst, ref, r, f.ref(t, "k3s:v1")); got.Digest != d.Digest {
				t.Errorf("pulled %s, want %s", got.Digest, d.Digest)
			}
			requireWholeStore(t, dst, ref)
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
	f, r, src := newFakeRegistry(t), fastRegistry(RegistryOptions{}), newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, r, f.ref(t, "k3s:v1"), src, ref)
	var mu sync.Mutex
	var ranges []string
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
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
	_, m, _, err := Manifest(t.Context(), src, ref, nil)
	check(t, err)
	rc, err := r.Open(t.Context(), f.ref(t, "k3s:v1"), m.Layers[1], 10)
	check(t, err)
	defer rc.Close()
	got, err := io.ReadAll(rc)
	check(t, err)
	want, err := os.ReadFile(src.BlobPath(m.Layers[1].Digest))
	check(t, err)
	if !cmp.Equal(got, want[10:]) {
		t.Error("what was read is not the blob from byte 10 on")
	}
	if len(ranges) != 2 || !strings.HasPrefix(ranges[0], "bytes=10-") || ranges[1] == ranges[0] || ranges[1] == "" {
		t.Errorf("ranges asked for: %q", ranges)
	}
}

func TestDownloadGivesUpInTheEnd(t *testing.T) {
	f, r, src := newFakeRegistry(t), fastRegistry(RegistryOptions{Retries: 2}), newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, r, f.ref(t, "k3s:v1"), src, ref)
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") && q.Method == http.MethodGet {
			w = &half{ResponseWriter: w, left: 10}
			q.Header.Del("Range")
		}
		next.ServeHTTP(w, q)
	})
	_, err := Copy(t.Context(), newStore(t), ref, r, f.ref(t, "k3s:v1"), CopyOptions{})
	wantError(t, err, "k3s:v1", "sha256:", "unexpected EOF")
}

func TestWrongBytesAreRefused(t *testing.T) {
	f, r, src, dst := newFakeRegistry(t), fastRegistry(RegistryOptions{}), newStore(t), newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, r, f.ref(t, "k3s:v1"), src, ref)
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			w = flip{w}
		}
		next.ServeHTTP(w, q)
	})
	_, err := Copy(t.Context(), dst, ref, r, f.ref(t, "k3s:v1"), CopyOptions{})
	wantError(t, err, "k3s:v1", "the source is damaged")
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
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	var asked []time.Time
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
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
	_, err := r.Resolve(t.Context(), f.ref(t, "a:v1"))
	if !errors.Is(err, ErrNotFound) || len(asked) != 2 || asked[1].Sub(asked[0]) < time.Second {
		t.Errorf("asked at %v: %v", asked, err)
	}
}

// TestUploadGoesOnWhereTheRegistryStopped plays a registry that keeps what arrived before the connection broke.
func TestUploadGoesOnWhereTheRegistryStopped(t *testing.T) {
	content := noise(7, 4<<20)
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: digestOf(content), Size: int64(len(content))}
	var mu sync.Mutex
	var got []byte
	var posts, patches int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		const session = "/v2/a/blobs/uploads/1"
		switch {
		case q.URL.Path == "/v2/":
		case q.Method == http.MethodPost:
			posts++
			w.Header().Set("Location", session+"?state=x")
			w.WriteHeader(202)
		case q.Method == http.MethodPatch:
			patches++
			if at, _, _ := strings.Cut(q.Header.Get("Content-Range"), "-"); len(got) > 0 && at != strconv.Itoa(len(got)) {
				w.WriteHeader(416)
				return
			}
			if patches == 1 {
				got, _ = io.ReadAll(io.LimitReader(q.Body, 1<<20))
				panic(http.ErrAbortHandler)
			}
			b, _ := io.ReadAll(q.Body)
			got = append(got, b...)
			w.Header().Set("Location", session+"?state=y")
			w.WriteHeader(202)
		case q.Method == http.MethodGet && q.URL.Path == session:
			w.Header().Set("Location", session+"?state=z")
			w.Header().Set("Range", fmt.Sprintf("0-%d", len(got)-1))
			w.WriteHeader(204)
		case q.Method == http.MethodPut && q.URL.Query().Get("state") == "y" && q.URL.Query().Get("digest") == digestOf(got).String():
			w.WriteHeader(201)
		default:
			w.WriteHeader(400)
		}
	}))
	srv.Config.ErrorLog = nopLogger()
	defer srv.Close()
	r := fastRegistry(RegistryOptions{})
	v := &verified{open: bytesOpener(content), ref: mustRef(t, "a"), d: d}
	check(t, r.Put(t.Context(), mustRef(t, srv.Listener.Addr().String()+"/a:v1"), d, v.at))
	if posts != 1 || patches != 2 || digestOf(got) != d.Digest {
		t.Errorf("%d sessions, %d transfers, %d bytes", posts, patches, len(got))
	}
}

func TestUploadStopsAtASourceThatFails(t *testing.T) {
	f, r := newFakeRegistry(t), fastRegistry(RegistryOptions{})
	boom := errors.New("boom")
	opened := 0
	d := v1.Descriptor{MediaType: types.OCILayer, Digest: digestOf([]byte("x")), Size: 10}
	err := r.Put(t.Context(), f.ref(t, "a:v1"), d, func(int64) (io.ReadCloser, error) {
		opened++
		return io.NopCloser(io.MultiReader(strings.NewReader("12345"), failing{boom})), nil
	})
	if !errors.Is(err, boom) || opened != 1 {
		t.Errorf("opened %d times: %v", opened, err)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestSchemes(t *testing.T) {
	for _, tc := range []struct {
		host string
		o    RegistryOptions
		want []string
	}{
		{"registry.example.com", RegistryOptions{}, []string{"https"}},
		{"10.0.0.1:5000", RegistryOptions{}, []string{"https"}},
		{"192.168.1.1", RegistryOptions{}, []string{"https"}},
		{"localhost:5000", RegistryOptions{}, []string{"https", "http"}},
		{"127.0.0.2:5000", RegistryOptions{}, []string{"https", "http"}},
		{"[::1]:5000", RegistryOptions{}, []string{"https", "http"}},
		{"10.0.0.1:5000", RegistryOptions{PlainHTTP: true}, []string{"http"}},
		{"10.0.0.1:5000", RegistryOptions{Insecure: true}, []string{"https", "http"}},
	} {
		e := &endpoint{r: NewRegistry(tc.o), host: tc.host, insecure: tc.o.Insecure}
		if diff := cmp.Diff(tc.want, e.schemes()); diff != "" {
			t.Errorf("%s %+v: %s", tc.host, tc.o, diff)
		}
	}
}

func TestTLS(t *testing.T) {
	f := newFake(t, httptest.NewTLSServer)
	src := newStore(t)
	ref, _ := tagged(t, src)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	check(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw}), 0o600))
	_, err := Copy(t.Context(), fastRegistry(RegistryOptions{}), f.ref(t, "a:v1"), src, ref, CopyOptions{})
	wantError(t, err, "certificate", "--ca-file", "--insecure")
	once(t, err, "x509")
	copyImage(t, fastRegistry(RegistryOptions{CAFile: ca}), f.ref(t, "a:v1"), src, ref)
	copyImage(t, fastRegistry(RegistryOptions{Insecure: true}), f.ref(t, "a:v1"), src, ref)
	_, err = fastRegistry(RegistryOptions{PlainHTTP: true}).Resolve(t.Context(), f.ref(t, "a:v1"))
	wantError(t, err, "leave out --plain-http")
	once(t, err, "speaks https")
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error is of several lines: %v", err)
	}
	_, err = fastRegistry(RegistryOptions{CAFile: ca + "x"}).Resolve(t.Context(), f.ref(t, "a:v1"))
	wantError(t, err, "--ca-file")
}

func TestPlainHTTPIsNotTakenForGranted(t *testing.T) {
	f := newFakeRegistry(t)
	r := fastRegistry(RegistryOptions{})
	e := &endpoint{r: r, host: "registry.example.com"}
	base, err := r.transport(e.host, false)
	check(t, err)
	rt := &schemeTransport{inner: redirectTo{f.host(), base}, host: e.host, scheme: "https"}
	_, err = e.ping(t.Context(), rt)
	wantError(t, r.explain(e.host, err), "speaks plain http", "--plain-http")
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
	check(t, err)
	addr := l.Addr().String()
	l.Close()
	_, err = fastRegistry(RegistryOptions{}).Resolve(t.Context(), mustRef(t, addr+"/a:v1"))
	wantError(t, err, addr, "cannot be reached", "proxy")
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
	f := newFakeRegistry(t)
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/manifests/") {
			w.Header().Set("Content-Type", string(types.DockerManifestSchema1Signed))
			io.WriteString(w, `{"schemaVersion":1}`)
			return
		}
		next.ServeHTTP(w, q)
	})
	_, err := fastRegistry(RegistryOptions{}).Resolve(t.Context(), f.ref(t, "a:v1"))
	wantError(t, err, "schema 1", "a:v1")
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
	f := newFakeRegistry(t)
	f.set(withBasic("bob", "secret"))
	file := filepath.Join(t.TempDir(), "docker", "config.json")
	check(t, os.MkdirAll(filepath.Dir(file), 0o700))
	before := []byte(`{"detachKeys":"ctrl-q","auths":{"other.example.com":{"auth":"YTpi"}}}`)
	check(t, os.WriteFile(file, before, 0o600))
	o := RegistryOptions{DockerConfig: file, AuthFile: ""}

	_, err := fastRegistry(o).Login(t.Context(), f.host(), "bob", "wrong")
	if !errors.Is(err, ErrUnauthorized) || strings.Contains(fmt.Sprint(err), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	wantError(t, err, "refuses this user name or password")
	if strings.Contains(err.Error(), "run `sealrt login") {
		t.Errorf("a login that failed advises to log in: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != string(before) {
		t.Errorf("a refused login changed the file: %s", b)
	}
	where, err := fastRegistry(o).Login(t.Context(), f.host(), "bob", "secret")
	check(t, err)
	if where != file {
		t.Errorf("written to %s", where)
	}
	fi, err := os.Stat(file)
	check(t, err)
	b, _ := os.ReadFile(file)
	if fi.Mode().Perm() != 0o600 || !strings.Contains(string(b), "ctrl-q") || !strings.Contains(string(b), "other.example.com") {
		t.Errorf("mode %o: %s", fi.Mode().Perm(), b)
	}

	src := newStore(t)
	ref, _ := tagged(t, src)
	use := RegistryOptions{AuthFile: file}
	copyImage(t, fastRegistry(use), f.ref(t, "a:v1"), src, ref)
	_, err = Copy(t.Context(), fastRegistry(RegistryOptions{}), f.ref(t, "a:v1"), src, ref, CopyOptions{})
	wantError(t, err, "no credentials", "sealrt login "+f.host())

	f.set(withBasic("bob", "changed"))
	_, err = fastRegistry(use).Resolve(t.Context(), f.ref(t, "a:v1"))
	wantError(t, err, `"bob"`, file, "sealrt login "+f.host())
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the secret is in %q", err)
	}

	check(t, fastRegistry(o).Logout(t.Context(), f.host()))
	if err := fastRegistry(o).Logout(t.Context(), f.host()); !errors.Is(err, ErrNotFound) {
		t.Errorf("second logout: %v", err)
	}
	if b, _ := os.ReadFile(file); strings.Contains(string(b), f.host()) || !strings.Contains(string(b), "other.example.com") {
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
	f := newFakeRegistry(t)
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
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
	_, err := fastRegistry(RegistryOptions{AuthFile: file}).Login(t.Context(), f.host(), "bob", "nope")
	if !errors.Is(err, ErrUnauthorized) {
		t.Errorf("wrong password: %v", err)
	}
	_, err = fastRegistry(RegistryOptions{AuthFile: file}).Login(t.Context(), f.host(), "bob", "secret")
	check(t, err)
	src, dst := newStore(t), newStore(t)
	ref, _ := tagged(t, src)
	scopes = nil
	r := fastRegistry(RegistryOptions{AuthFile: file})
	_, err = Copy(t.Context(), r, f.ref(t, "team/k3s:v1"), src, ref, CopyOptions{Jobs: 1})
	check(t, err)
	_, err = Copy(t.Context(), dst, ref, r, f.ref(t, "team/k3s:v1"), CopyOptions{Jobs: 1})
	check(t, err)
	requireWholeStore(t, dst, ref)
	if len(scopes) < 3 || scopes[0] != "repository:team/k3s:pull,push" || scopes[len(scopes)-1] != "repository:team/k3s:pull" {
		t.Errorf("scopes asked for: %v", scopes)
	}
}

func TestCredentialsStayWithTheRegistry(t *testing.T) {
	f, src := newFakeRegistry(t), newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "a:v1"), src, ref)
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
	f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		auth(w, q, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			if _, hex, ok := strings.Cut(q.URL.Path, "/blobs/sha256:"); ok && q.Method == http.MethodGet {
				http.Redirect(w, q, cdn.URL+"/"+hex, http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, q)
		}))
	})
	file := filepath.Join(t.TempDir(), "auth.json")
	_, err := fastRegistry(RegistryOptions{AuthFile: file}).Login(t.Context(), f.host(), "bob", "secret")
	check(t, err)
	dst := newStore(t)
	copyImage(t, dst, ref, fastRegistry(RegistryOptions{AuthFile: file}), f.ref(t, "a:v1"))
	requireWholeStore(t, dst, ref)
	if leaked.Load() {
		t.Error("the registry's credentials went where it redirected to")
	}
}

func TestMirrors(t *testing.T) {
	mirror, up, src := newFakeRegistry(t), newFakeRegistry(t), newStore(t)
	ref, d := tagged(t, src)
	direct := fastRegistry(RegistryOptions{})
	copyImage(t, direct, mirror.ref(t, "cache/k3s:v1"), src, ref)
	copyImage(t, direct, up.ref(t, "k3s:v1"), src, ref)
	other := addImage(t, src, "amd64", []string{"only", "upstream"})
	check(t, src.Tag(t.Context(), mustRef(t, "only:up"), other))
	copyImage(t, direct, up.ref(t, "only:up"), src, mustRef(t, "only:up"))
	conf := filepath.Join(t.TempDir(), "registries.conf")
	check(t, os.WriteFile(conf, fmt.Appendf(nil, `
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
`, up.host(), mirror.host()), 0o600))
	r := fastRegistry(RegistryOptions{RegistriesConf: conf, Retries: -1})
	up.requests()
	dst := newStore(t)
	if got := copyImage(t, dst, ref, r, up.ref(t, "k3s:v1")); got.Digest != d.Digest {
		t.Errorf("pulled %s", got.Digest)
	}
	if q := up.requests(); len(q) > 0 {
		t.Errorf("the registry itself was asked: %v", q)
	}
	copyImage(t, dst, mustRef(t, "only:up"), r, up.ref(t, "only:up"))
	mirror.requests()
	copyImage(t, r, up.ref(t, "new:v1"), src, ref)
	if q := mirror.requests(); len(q) > 0 {
		t.Errorf("a push went to the mirror: %v", q)
	}
	_, err := r.Resolve(t.Context(), mustRef(t, "blocked.example.com/a:v1"))
	wantError(t, err, "blocked", conf)
	_, err = Copy(t.Context(), r, mustRef(t, "blocked.example.com/a:v1"), src, ref, CopyOptions{})
	wantError(t, err, "blocked", conf)
	_, err = r.Resolve(t.Context(), up.ref(t, "nothing:v1"))
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("what is nowhere: %v", err)
	}
}

// TestErrorsHaveNoSignatures: what storage behind a registry lets one in by is as good as a password.
func TestErrorsHaveNoSignatures(t *testing.T) {
	f, src := newFakeRegistry(t), newStore(t)
	ref, _ := tagged(t, src)
	copyImage(t, fastRegistry(RegistryOptions{}), f.ref(t, "a:v1"), src, ref)
	for name, to := range map[string]string{"nobody there": "127.0.0.1:1", "refused": f.host()} {
		f.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
			switch {
			case strings.HasPrefix(q.URL.Path, "/storage"):
				w.WriteHeader(403)
			case strings.Contains(q.URL.Path, "/blobs/"):
				http.Redirect(w, q, "http://"+to+"/storage/x?X-Amz-Signature=s3cr3t", http.StatusTemporaryRedirect)
			default:
				next.ServeHTTP(w, q)
			}
		})
		_, err := Copy(t.Context(), newStore(t), ref, fastRegistry(RegistryOptions{Retries: -1}), f.ref(t, "a:v1"), CopyOptions{})
		wantError(t, err, "a:v1", "/storage/x")
		if strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: the error has the signature: %v", name, err)
		}
	}
}

// TestMirrorThatBreaksOff: the rest of a blob comes from the registry itself.
func TestMirrorThatBreaksOff(t *testing.T) {
	mirror, up, src, dst := newFakeRegistry(t), newFakeRegistry(t), newStore(t), newStore(t)
	ref, d := tagged(t, src)
	copyImage(t, fastRegistry(RegistryOptions{}), mirror.ref(t, "k3s:v1"), src, ref)
	copyImage(t, fastRegistry(RegistryOptions{}), up.ref(t, "k3s:v1"), src, ref)
	conf := filepath.Join(t.TempDir(), "registries.conf")
	check(t, os.WriteFile(conf, fmt.Appendf(nil, "[[registry]]\nprefix = %q\nlocation = %[1]q\n[[registry.mirror]]\nlocation = %q\n", up.host(), mirror.host()), 0o600))
	mirror.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
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
	up.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		mu.Lock()
		if strings.Contains(q.URL.Path, "/blobs/") {
			ranges = append(ranges, q.Header.Get("Range"))
		}
		mu.Unlock()
		next.ServeHTTP(w, q)
	})
	r := fastRegistry(RegistryOptions{RegistriesConf: conf, Retries: 1})
	got, err := Copy(t.Context(), dst, ref, r, up.ref(t, "k3s:v1"), CopyOptions{Jobs: 1})
	check(t, err)
	if got.Digest != d.Digest || len(ranges) == 0 || !strings.HasPrefix(ranges[0], "bytes=") || strings.HasPrefix(ranges[0], "bytes=0-") {
		t.Errorf("pulled %s, ranges asked of the registry: %q", got.Digest, ranges)
	}
	requireWholeStore(t, dst, ref)
	up.Close()
	mirror.set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if strings.Contains(q.URL.Path, "/blobs/") {
			w = &half{ResponseWriter: w, left: 100}
		}
		next.ServeHTTP(w, q)
	})
	_, err = Copy(t.Context(), newStore(t), ref, fastRegistry(RegistryOptions{RegistriesConf: conf, Retries: -1}), up.ref(t, "k3s:v1"), CopyOptions{})
	wantError(t, err, "mirror "+mirror.host(), "cannot be reached")
}
