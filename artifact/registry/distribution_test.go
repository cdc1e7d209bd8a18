package registry

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	_ "github.com/distribution/distribution/v3/registry/auth/token"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// distribution is the registry of the distribution project, version 3, behind a hook, a log of requests and a wire that
// counts.
type distribution struct {
	artifacttest.FakeRegistry
	wire *wire
}

// newDistribution starts one. auth may be nil.
func newDistribution(t testing.TB, auth configuration.Auth, secure bool) *distribution {
	t.Helper()
	config := &configuration.Configuration{Storage: configuration.Storage{"inmemory": {}}, Auth: auth}
	config.HTTP.Secret = "of this test"
	config.Catalog.MaxEntries = 1000
	config.Log.Level = "panic"
	app := handlers.NewApp(context.WithoutCancel(t.Context()), config)
	d := &distribution{}
	d.Inner = app
	d.Server = httptest.NewUnstartedServer(http.HandlerFunc(d.Serve))
	d.wire = &wire{Listener: d.Listener}
	d.Listener = d.wire
	d.Config.ErrorLog = artifacttest.NopLogger()
	if secure {
		d.StartTLS()
	} else {
		d.Start()
	}
	t.Cleanup(d.Close)
	return d
}

// ca returns a file with the registry's certificate, as --ca-file takes it.
func (d *distribution) ca(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	artifacttest.Check(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.Certificate().Raw}), 0o600))
	return file
}

// wire counts the bytes that come to a server and go from it, and breaks once when so many have passed.
type wire struct {
	net.Listener
	in, out       atomic.Int64
	cutIn, cutOut atomic.Int64 // 0: never
	broken        atomic.Int32
}

// Accept implements net.Listener.
func (w *wire) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wired{c, w}, nil
}

// reset begins to count anew and breaks nothing.
func (w *wire) reset() {
	for _, n := range []*atomic.Int64{&w.in, &w.out, &w.cutIn, &w.cutOut} {
		n.Store(0)
	}
}

type wired struct {
	net.Conn
	w *wire
}

// Read implements net.Conn.
func (c *wired) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, c.w.passed(c.Conn, &c.w.in, &c.w.cutIn, n, err)
}

// Write implements net.Conn.
func (c *wired) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, c.w.passed(c.Conn, &c.w.out, &c.w.cutOut, n, err)
}

func (w *wire) passed(c net.Conn, count, cut *atomic.Int64, n int, err error) error {
	all, most := count.Add(int64(n)), cut.Load()
	if most == 0 || all < most || !cut.CompareAndSwap(most, 0) {
		return err
	}
	w.broken.Add(1)
	c.Close()
	return syscall.ECONNRESET
}

// TestDistributionTakesAndGives is about every way in which a registry wants to be spoken to.
func TestDistributionTakesAndGives(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	artifacttest.Check(t, err)
	htpasswd := filepath.Join(t.TempDir(), "htpasswd")
	artifacttest.Check(t, os.WriteFile(htpasswd, []byte("bob:"+string(hash)+"\n"), 0o600))
	tokens, secureTokens := newTokenServer(t, httptest.NewServer), newTokenServer(t, httptest.NewTLSServer)
	for _, tc := range []struct {
		name string
		auth configuration.Auth
		tls  bool
	}{
		{"open", nil, false},
		{"TLS", nil, true},
		{"htpasswd", configuration.Auth{"htpasswd": {"realm": "test", "path": htpasswd}}, false},
		{"htpasswd and TLS", configuration.Auth{"htpasswd": {"realm": "test", "path": htpasswd}}, true},
		{"tokens", tokens.auth(t), false},
		{"tokens and TLS", secureTokens.auth(t), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDistribution(t, tc.auth, tc.tls)
			o := Options{AuthFile: filepath.Join(t.TempDir(), "auth.json")}
			if tc.tls {
				o.CAFile = d.ca(t)
			}
			src := registrytest.Store(t)
			ref, img := artifacttest.Tagged(t, src)
			to := d.Ref(t, "team/app:v1")
			if tc.auth != nil {
				_, err := artifact.Copy(t.Context(), fastRegistry(o), to, src, ref, artifact.CopyOptions{})
				artifacttest.WantError(t, err, "unauthorized", "sealrt login "+d.Host())
				_, err = fastRegistry(o).Login(t.Context(), d.Host(), "bob", "guess")
				artifacttest.WantError(t, err, "refuses this user name or password")
				_, err = fastRegistry(o).Login(t.Context(), d.Host(), "bob", "secret")
				artifacttest.Check(t, err)
			}
			r := fastRegistry(o)
			artifacttest.CopyImage(t, r, to, src, ref)
			artifacttest.Check(t, r.Attach(t.Context(), to.WithDigest(img.Digest), putDescription(t, r, to, &img, "a signature")))

			r, dst := fastRegistry(o), registrytest.Store(t)
			artifacttest.CopyImage(t, dst, ref, r, to)
			artifacttest.RequireWholeStore(t, dst, ref)
			list, err := r.Attached(t.Context(), to.WithDigest(img.Digest))
			if err != nil || len(list) != 1 {
				t.Errorf("attached: %v, %v", list, err)
			}
			r = fastRegistry(o)
			mounted := 0
			_, err = artifact.Copy(t.Context(), r, d.Ref(t, "other/app:v1"), r, to, artifact.CopyOptions{Observe: func(e artifact.Event) {
				if e.Kind == artifact.EventMounted {
					mounted++
				}
			}})
			artifacttest.Check(t, err)
			if mounted != 3 {
				t.Errorf("%d blobs of 3 were mounted", mounted)
			}
			d.Requests()
			artifacttest.CopyImage(t, fastRegistry(o), to, src, ref)
			if log := sent(d.Requests()); len(log) > 0 {
				t.Errorf("a second push sent %q", log)
			}
		})
	}
}

// sent lists those of the requests that write.
func sent(log []string) []string {
	var list []string
	for _, q := range log {
		if !strings.HasPrefix(q, "GET ") && !strings.HasPrefix(q, "HEAD ") {
			list = append(list, q)
		}
	}
	return list
}

// layered makes an image of layers of 3 MiB each, with the given seeds.
func layered(t testing.TB, s *store.Store, name string, seeds ...uint64) (artifact.Reference, v1.Descriptor) {
	t.Helper()
	var layers [][]string
	for _, seed := range seeds {
		layers = append(layers, []string{fmt.Sprintf("bin/%d", seed), string(artifacttest.Noise(seed, 3<<20))})
	}
	ref, d := artifacttest.MustRef(t, name), artifacttest.AddImage(t, s, "amd64", layers...)
	artifacttest.Check(t, s.Tag(t.Context(), ref, d))
	return ref, artifact.Bare(d)
}

// TestOnlyTheDifferenceIsSent counts bytes at the registry: of an image of which one layer changed, and at last of one
// whose layers another repository has.
func TestOnlyTheDifferenceIsSent(t *testing.T) {
	const layer, rest = 3 << 20, 64 << 10
	d, src, dst := newDistribution(t, nil, false), registrytest.Store(t), registrytest.Store(t)
	v1ref, _ := layered(t, src, "app:v1", 1, 2, 3)
	v2ref, d2 := layered(t, src, "app:v2", 1, 7, 3)
	push := func(to, from artifact.Reference) func() {
		return func() {
			o := artifact.CopyOptions{MountFrom: store.MountFrom(t.Context(), src, to)}
			_, err := artifact.Copy(t.Context(), fastRegistry(Options{}), to, src, from, o)
			artifacttest.Check(t, err)
		}
	}
	pull := func(ref artifact.Reference) func() {
		return func() { artifacttest.CopyImage(t, dst, ref, fastRegistry(Options{}), ref) }
	}
	first, second, moved, never := d.Ref(t, "team/app:v1"), d.Ref(t, "team/app:v2"), d.Ref(t, "prod/app:v2"), d.Ref(t, "aaa/app:v1")
	base, _ := layered(t, src, never.String(), 9) // has a name there, but was not pushed
	named := func() { artifacttest.Check(t, src.Tag(t.Context(), second, d2)) }
	for _, step := range []struct {
		name    string
		do      func()
		in, out int64 // layers
	}{
		{"push", push(first, v1ref), 3, 0},
		{"push again", push(first, v1ref), 0, 0},
		{"push of the next version", push(second, v2ref), 1, 0},
		{"pull", pull(first), 0, 3},
		{"pull again", pull(first), 0, 0},
		{"pull of the next version", pull(second), 0, 1},
		{"name", named, 0, 0},
		{"push to another repository", push(moved, v2ref), 0, 0},
		{"push of what another repository could have", push(d.Ref(t, "prod/base:v1"), base), 1, 0},
	} {
		d.wire.reset()
		step.do()
		in, out := d.wire.in.Load(), d.wire.out.Load()
		if in < step.in*layer || in > step.in*layer+rest || out < step.out*layer || out > step.out*layer+rest {
			t.Errorf("%s: %d bytes came to the registry, %d went from it; want %d and %d layers of %d", step.name, in, out, step.in, step.out, layer)
		}
	}
	begun := slices.DeleteFunc(d.Requests(), func(q string) bool { return q != "POST /v2/prod/base/blobs/uploads/" })
	if len(begun) != 2 { // of layer and configuration: what was no mount became an upload
		t.Errorf("%q", begun)
	}
}

// TestBrokenTransfersGoOnAtTheByte cuts the connection in the middle of a layer.
func TestBrokenTransfersGoOnAtTheByte(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			d, src, dst := newDistribution(t, nil, secure), registrytest.Store(t), registrytest.Store(t)
			o := Options{}
			if secure {
				o.CAFile = d.ca(t)
			}
			from, _ := layered(t, src, "app:v1", 1)
			var uploads sync.Mutex // it knows what it has of one when it has noticed that the connection is gone
			d.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
				if strings.Contains(q.URL.Path, "/uploads/") {
					uploads.Lock()
					defer uploads.Unlock()
				}
				next.ServeHTTP(w, q)
			})
			const most = 3<<20 + 1<<20 // a good deal may have been on its way
			d.wire.cutIn.Store(2 << 20)
			artifacttest.CopyImage(t, fastRegistry(o), d.Ref(t, "app:v1"), src, from)
			if n := d.wire.in.Load(); d.wire.broken.Load() != 1 || n > most {
				t.Errorf("%d bytes came of a push that was cut %d times", n, d.wire.broken.Load())
			}
			d.wire.cutOut.Store(2 << 20)
			artifacttest.CopyImage(t, dst, from, fastRegistry(o), d.Ref(t, "app:v1"))
			if n := d.wire.out.Load(); d.wire.broken.Load() != 2 || n > most {
				t.Errorf("%d bytes went of a pull that was cut %d times", n, d.wire.broken.Load()-1)
			}
			artifacttest.RequireWholeStore(t, dst, from)
		})
	}
}

// limited is a proxy that takes bodies of up to most bytes, as nginx does: it says so after the head of the request and
// then lets go of the connection.
func limited(most int64, largest *atomic.Int64) hook {
	return func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.ContentLength > most {
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		largest.Store(max(largest.Load(), q.ContentLength))
		next.ServeHTTP(w, q)
	}
}

func TestLargeBodiesAreCutWhereTheyAreRefused(t *testing.T) {
	d, src, dst := newDistribution(t, nil, false), registrytest.Store(t), registrytest.Store(t)
	ref, _ := layered(t, src, "app:v1", 1, 2)
	var largest atomic.Int64
	d.Set(limited(1<<20, &largest))
	_, err := artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "app:v1"), src, ref, artifact.CopyOptions{Jobs: 1})
	artifacttest.Check(t, err)
	if largest.Load() != 1<<20 {
		t.Errorf("the largest body had %d bytes", largest.Load())
	}
	refused := 0
	for _, q := range d.Requests() {
		if strings.HasPrefix(q, "POST") {
			refused++
		}
	}
	if refused > 4 { // the second layer knows
		t.Errorf("%d uploads were begun", refused)
	}
	artifacttest.CopyImage(t, dst, ref, fastRegistry(Options{}), d.Ref(t, "app:v1"))
	artifacttest.RequireWholeStore(t, dst, ref)

	d.Set(limited(1000, &largest))
	_, err = artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "other:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "413", "1.0 MiB", "client_max_body_size")

	var posts atomic.Int32 // and of who then refuses everything nothing more is wanted
	d.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPatch || q.Method == http.MethodPost && posts.Add(1) > 2 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		next.ServeHTTP(w, q)
	})
	one, _ := layered(t, src, "one:v1", 1)
	_, err = artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "third:v1"), src, one, artifact.CopyOptions{Jobs: 1})
	artifacttest.WantError(t, err, "413")
}

// TestShortestPieceIsKeptTo is about a registry that wants no pieces below a size, behind a proxy that wants small ones.
func TestShortestPieceIsKeptTo(t *testing.T) {
	d, src := newDistribution(t, nil, false), registrytest.Store(t)
	ref, _ := layered(t, src, "app:v1", 1)
	var mu sync.Mutex
	var sizes []int64
	d.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
		if q.Method == http.MethodPatch {
			if q.ContentLength > 2<<20 {
				w.WriteHeader(http.StatusRequestEntityTooLarge)
				return
			}
			mu.Lock()
			sizes = append(sizes, q.ContentLength)
			mu.Unlock()
		}
		w.Header().Set("OCI-Chunk-Min-Length", fmt.Sprint(1500<<10))
		next.ServeHTTP(w, q)
	})
	_, err := artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "app:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.Check(t, err)
	for _, n := range sizes[:len(sizes)-1] {
		if n < 1500<<10 {
			t.Errorf("pieces of %v bytes", sizes)
		}
	}
}

// TestDamagedBlobIsNamedWhenTheRegistryRefusesIt is about a push of a damaged blob: the registry finds it, and the error names the file.
func TestDamagedBlobIsNamedWhenTheRegistryRefusesIt(t *testing.T) {
	d, src := newDistribution(t, nil, false), registrytest.Store(t)
	ref, img := layered(t, src, "app:v1", 1)
	_, m, _, err := artifact.Manifest(t.Context(), src, ref.WithDigest(img.Digest), nil)
	artifacttest.Check(t, err)
	path := src.BlobPath(m.Layers[0].Digest)
	b, err := os.ReadFile(path)
	artifacttest.Check(t, err)
	b[len(b)/2] ^= 1
	artifacttest.Check(t, os.WriteFile(path, b, 0o644))
	_, err = artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "app:v1"), src, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "app:v1", path, "pull or load the image again")
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		method string
		want   []string
	}{
		{"full", 507, ``, http.MethodPatch, []string{"507", "the registry has no space left"}},
		{"full, says the disk", 500, `{"errors":[{"code":"UNKNOWN","message":"unknown error","detail":{"Err":"write: no space left on device"}}]}`, http.MethodPatch, []string{"no space left"}},
		{"quota", 403, `{"errors":[{"code":"DENIED","message":"adding 3 MiB would exceed the configured upper limit of 2 MiB"}]}`, http.MethodPost, []string{"upper limit", "quota"}},
		{"no right", 403, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, http.MethodPost, []string{"denied", "sealrt login"}},
		{"trouble", 502, ``, http.MethodPatch, []string{"502", "try again", "not sent again"}},
		{"rate", 429, ``, http.MethodPost, []string{"429", "asked too often"}},
		{"read only", 405, `{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}`, http.MethodPost, []string{"unsupported", "read-only"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d, src := newDistribution(t, nil, false), registrytest.Store(t)
			ref, _ := layered(t, src, "app:v1", 1)
			d.Set(func(w http.ResponseWriter, q *http.Request, next http.Handler) {
				if q.Method != tc.method {
					next.ServeHTTP(w, q)
					return
				}
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			_, err := artifact.Copy(t.Context(), fastRegistry(Options{}), d.Ref(t, "app:v1"), src, ref, artifact.CopyOptions{})
			artifacttest.WantError(t, err, append(tc.want, d.Host()+"/app:v1", "sha256:")...)
			if errors.Is(err, artifact.ErrNotFound) {
				t.Errorf("is not found: %v", err)
			}
		})
	}
}

// TestProxies has a proxy lead to a registry whose name nobody else knows: for https it makes tunnels, for http it passes
// requests on.
func TestProxies(t *testing.T) {
	for name, secure := range map[string]bool{"http": false, "https": true} {
		t.Run(name, func(t *testing.T) {
			d, src, dst := newDistribution(t, nil, secure), registrytest.Store(t), registrytest.Store(t)
			from, _ := layered(t, src, "app:v1", 1)
			var tunnels, passed atomic.Int32
			onward := &httputil.ReverseProxy{Rewrite: func(q *httputil.ProxyRequest) { q.Out.URL.Host = d.Host() }, ErrorLog: artifacttest.NopLogger()}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
				if user, secret, _ := proxyAuth(q); user != "bob" || secret != "secret" {
					w.WriteHeader(http.StatusProxyAuthRequired)
					return
				}
				if q.Method != http.MethodConnect {
					passed.Add(1)
					onward.ServeHTTP(w, q)
					return
				}
				tunnels.Add(1)
				tunnel(t, w, d.Host())
			}))
			defer proxy.Close()
			way, err := url.Parse(proxy.URL)
			artifacttest.Check(t, err)
			o := Options{PlainHTTP: !secure, Proxy: http.ProxyURL(way), Retries: -1}
			if secure {
				o.CAFile = d.ca(t)
			}
			ref := artifacttest.MustRef(t, "example.com/app:v1") // which is in the certificate
			_, err = fastRegistry(o).Resolve(t.Context(), ref)
			artifacttest.WantError(t, err, "Proxy Authentication Required", "http://USER:PASSWORD@HOST:PORT")
			way.User = url.UserPassword("bob", "secret")
			artifacttest.CopyImage(t, fastRegistry(o), ref, src, from)
			artifacttest.CopyImage(t, dst, from, fastRegistry(o), ref)
			artifacttest.RequireWholeStore(t, dst, from)
			if (tunnels.Load() > 0) != secure || (passed.Load() > 0) == secure {
				t.Errorf("%d tunnels, %d requests passed on", tunnels.Load(), passed.Load())
			}
			proxy.Close()
			_, err = fastRegistry(o).Resolve(t.Context(), ref)
			artifacttest.WantError(t, err, "example.com", "proxy")
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the secret is in %q", err)
			}
		})
	}
}

func proxyAuth(q *http.Request) (user, secret string, ok bool) {
	plain := http.Request{Header: http.Header{"Authorization": q.Header["Proxy-Authorization"]}}
	return plain.BasicAuth()
}

// tunnel joins the connection of a request with one to host.
func tunnel(t *testing.T, w http.ResponseWriter, host string) {
	near, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer near.Close()
	far, err := net.Dial("tcp", host)
	if err != nil {
		t.Error(err)
		return
	}
	defer far.Close()
	io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(far, near)
		far.Close()
	}()
	io.Copy(near, far)
}
