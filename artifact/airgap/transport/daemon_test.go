package transport

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

// testDaemon speaks the part of the Docker Engine API that is used: it saves the
// images that it has, each in an archive of its own.
type testDaemon struct {
	archives map[string][]byte // by the full name that is asked for
	platform string            // what the last one was asked for

	mu    sync.Mutex
	asked []string
}

func (d *testDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || r.URL.Path != "/images/get" {
		http.Error(w, `{"message":"page not found"}`, http.StatusNotFound)
		return
	}
	name := r.URL.Query().Get("names")
	d.mu.Lock()
	d.asked = append(d.asked, name)
	d.platform = r.URL.Query().Get("platform")
	d.mu.Unlock()
	switch b, there := d.archives[name]; {
	case strings.HasSuffix(name, "broken:latest"):
		w.Header().Set("Content-Length", "10000")
		w.Write(make([]byte, 100)) // and hang up
	case strings.HasSuffix(name, "refused:latest"):
		http.Error(w, `{"message":"no space left"}`, http.StatusInternalServerError)
	case strings.HasSuffix(name, "moved:latest"):
		http.Redirect(w, r, "http://example.com/", http.StatusFound)
	case !there:
		http.Error(w, `{"message":"reference does not exist"}`, http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "application/x-tar")
		w.Write(b)
	}
}

// onSocket serves a daemon on a unix socket and returns its DOCKER_HOST.
func (d *testDaemon) onSocket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d") // a short name: sockets have no long ones
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: d}}
	server.Start()
	t.Cleanup(server.Close)
	return "unix://" + filepath.Join(dir, "s")
}

func TestDaemonSavesAnImageOnce(t *testing.T) {
	images := twoImages(t)
	d := &testDaemon{archives: map[string][]byte{
		"docker.io/team/app:v1":        pack(t, legacy(t, images[0])...),
		"docker.io/library/web:latest": pack(t, legacy(t, images[1])...),
	}}
	temp := t.TempDir()
	p := open(t, "docker-daemon:", Options{DockerHost: d.onSocket(t), TempDir: temp, Platform: amd64})
	for range 2 {
		if got := take(t, p, "team/app:v1").String(); got != goldenApp {
			t.Errorf("app: %s", got)
		}
	}
	if got := take(t, p, "web").String(); got != goldenWeb {
		t.Errorf("web: %s", got)
	}
	if diff := cmp.Diff([]string{"docker.io/team/app:v1", "docker.io/library/web:latest"}, d.asked); diff != "" {
		t.Error(diff)
	}
	var platform struct{ OS, Architecture string }
	if err := json.Unmarshal([]byte(d.platform), &platform); err != nil || platform.OS != "linux" || platform.Architecture != "amd64" {
		t.Errorf("platform %q: %v", d.platform, err)
	}
	isEmpty(t, temp)
}

func TestDaemonIsAskedByManyAtOnce(t *testing.T) {
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web:latest": pack(t, legacy(t, twoImages(t)[1])...)}}
	p := open(t, "docker-daemon:", Options{DockerHost: d.onSocket(t), TempDir: t.TempDir()})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := p.Resolve(t.Context(), reference(t, "web")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(d.asked) != 1 {
		t.Errorf("asked for %v", d.asked)
	}
}

func TestDaemonIsAskedAgainAfterACancelledBuild(t *testing.T) {
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web:latest": pack(t, legacy(t, twoImages(t)[1])...)}}
	p := open(t, "docker-daemon:", Options{DockerHost: d.onSocket(t), TempDir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Resolve(ctx, reference(t, "web")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := p.Resolve(t.Context(), reference(t, "web")); err != nil {
		t.Error(err)
	}
}

// A manifest that an earlier build read is not asked for again, but its layers are.
func TestDaemonOpensWhatWasNotResolved(t *testing.T) {
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web:latest": pack(t, legacy(t, twoImages(t)[1])...)}}
	host := d.onSocket(t)
	desc, err := open(t, "docker-daemon:", Options{DockerHost: host, TempDir: t.TempDir()}).Resolve(t.Context(), reference(t, "web"))
	if err != nil {
		t.Fatal(err)
	}
	fresh := open(t, "docker-daemon:", Options{DockerHost: host, TempDir: t.TempDir()})
	if _, err := artifact.ReadManifest(t.Context(), fresh, reference(t, "web").WithDigest(desc.Digest), desc); err != nil {
		t.Error(err)
	}
}

// An image that is asked for by its digest is saved without a name.
func TestDaemonKnowsNoDigestsOfRegistries(t *testing.T) {
	img := newImage(t, amd64, nil, "a")
	digest := "sha256:" + strings.Repeat("1", 64)
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web@" + digest: pack(t, legacy(t, img)...)}}
	p := open(t, "docker-daemon:", Options{DockerHost: d.onSocket(t), TempDir: t.TempDir()})
	_, err := p.Resolve(t.Context(), reference(t, "web@"+digest))
	if wantError(t, err, "not found by this digest"); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("%v is not ErrNotFound", err)
	}
}

func TestDaemonErrors(t *testing.T) {
	d := &testDaemon{}
	host := d.onSocket(t)
	tests := []struct {
		host, ref string
		notFound  bool
		words     []string
	}{
		{host, "x:1", true, []string{"docker-daemon:x:1: not found in the docker daemon at " + host, "reference does not exist", "`docker pull x:1` first"}},
		{host, "refused", false, []string{"docker-daemon:refused:latest: docker daemon at " + host + ": no space left"}},
		{host, "moved", false, []string{"302 Found"}},
		{host, "broken", false, []string{"docker-daemon:broken:latest: ", "unexpected EOF"}},
		{"unix:///nowhere/docker.sock", "x", false, []string{"docker daemon at unix:///nowhere/docker.sock: ", "no such file or directory: start it, set DOCKER_HOST, or write the image to a file with `docker save"}},
	}
	for _, tt := range tests {
		temp := t.TempDir()
		_, err := open(t, "docker-daemon:", Options{DockerHost: tt.host, TempDir: temp}).Resolve(t.Context(), reference(t, tt.ref))
		if wantError(t, err, tt.words...); errors.Is(err, artifact.ErrNotFound) != tt.notFound {
			t.Errorf("%v: not found is %v", err, !tt.notFound)
		}
		isEmpty(t, temp)
	}
	if _, err := open(t, "docker-daemon:", Options{DockerHost: host}).Refs(t.Context()); err == nil {
		t.Error("a daemon listed its images")
	}
	for host, words := range map[string]string{
		"ssh://me@host":        "addresses of ssh: are not known here: write the image to a file with `docker save",
		"/var/run/docker.sock": "an address looks like unix:///var/run/docker.sock",
		"npipe:////./pipe/x":   "npipe: are not known here",
		"unix://":              "an address looks like",
	} {
		_, err := Open(t.Context(), "docker-daemon:", Options{DockerHost: host})
		wantError(t, err, words)
	}
}

func TestDaemonOverTCP(t *testing.T) {
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web:latest": pack(t, legacy(t, twoImages(t)[1])...)}}
	server := httptest.NewServer(d)
	defer server.Close()
	host := strings.Replace(server.URL, "http:", "tcp:", 1)
	take(t, open(t, "docker-daemon:", Options{DockerHost: host, TempDir: t.TempDir()}), "web")
}

func TestDaemonOverTLS(t *testing.T) {
	d := &testDaemon{archives: map[string][]byte{"docker.io/library/web:latest": pack(t, legacy(t, twoImages(t)[1])...)}}
	server := httptest.NewUnstartedServer(d)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	host := strings.Replace(server.URL, "https:", "tcp:", 1)
	certs := t.TempDir()
	write := func(name, kind string, b []byte) {
		if err := os.WriteFile(filepath.Join(certs, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Open(t.Context(), "docker-daemon:", Options{DockerHost: host, DockerCerts: certs}); err == nil {
		t.Error("there was no ca.pem")
	}
	write("ca.pem", "CERTIFICATE", server.Certificate().Raw)
	_, err := open(t, "docker-daemon:", Options{DockerHost: host, DockerCerts: certs, TempDir: t.TempDir()}).Resolve(t.Context(), reference(t, "web"))
	wantError(t, err, "docker daemon at "+host) // it wants a certificate of us
	cert, key := clientCertificate(t)
	write("cert.pem", "CERTIFICATE", cert)
	write("key.pem", "PRIVATE KEY", key)
	take(t, open(t, "docker-daemon:", Options{DockerHost: host, DockerCerts: certs, TempDir: t.TempDir()}), "web")
}

func TestDaemonNamesKeepTheirPort(t *testing.T) {
	for in, want := range map[string]string{
		"localhost:5000/x":                      "localhost:5000/x:latest",
		"x:1@sha256:" + fmt.Sprintf("%064d", 1): "docker.io/library/x:1",
		"x@sha256:" + fmt.Sprintf("%064d", 1):   "docker.io/library/x@sha256:" + fmt.Sprintf("%064d", 1),
	} {
		if got := daemonName(reference(t, in)); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
