package registry

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
)

// pulled is an image as a client asks for it.
type pulled struct {
	name     string // library/big:1 of docker.io
	manifest v1.Descriptor
	layer    v1.Descriptor
	content  []byte // of the layer
}

// imagesDirOf makes a layout with one image of a layer of size bytes in
// dir/tree/images.
func imageTree(t *testing.T, trees, name string, size int) pulled {
	t.Helper()
	dir, put, index := airgaptest.Layout(t)
	content := make([]byte, size)
	rand.Read(content)
	p := pulled{name: name, content: content}
	p.layer = put(types.OCILayer, content)
	config, _ := json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{p.layer.Digest}}})
	m, _ := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: put(types.OCIConfigJSON, config), Layers: []v1.Descriptor{p.layer}})
	p.manifest = put(types.OCIManifestSchema1, m)
	index(airgaptest.Entry("docker.io/"+name, p.manifest))
	tree := filepath.Join(trees, strings.ReplaceAll(strings.ReplaceAll(name, "/", "_"), ":", "_"))
	if err := os.MkdirAll(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(tree, "images"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return p
}

// testCluster is hosts in one process.
type testCluster struct {
	t       *testing.T
	ca      *CA
	masters []*testHost
}

// testHost is the service of a host, with servers that can be taken down.
type testHost struct {
	t       *testing.T
	dir     string
	trees   string
	listen  string
	service *Service
	wrap    func(http.Handler) http.Handler // around what answers other hosts

	mu   sync.Mutex
	stop func()
}

func quick() patience {
	return patience{dial: 5 * time.Second, answer: 20 * time.Second, stall: 20 * time.Second, all: 20 * time.Second, forget: 100 * time.Millisecond}
}

// newCluster makes masters that are up, each of which knows all of them. have
// fills the trees of each.
func newCluster(t *testing.T, n int, have func(trees string)) *testCluster {
	t.Helper()
	ca, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, ca: ca}
	var addresses []string
	for range n {
		addresses = append(addresses, freeAddress(t))
	}
	for _, a := range addresses {
		m := c.host(a, addresses)
		if have != nil {
			have(m.trees)
		}
		m.start()
		c.masters = append(c.masters, m)
	}
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// host makes a host; with listen it is a master.
func (c *testCluster) host(listen string, masters []string) *testHost {
	t := c.t
	t.Helper()
	h := &testHost{t: t, dir: t.TempDir(), trees: t.TempDir(), listen: listen}
	pair, err := c.ca.Issue("host", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.identify(c.ca, pair)
	h.write(MastersFile, FormatMasters(masters))
	text, err := Settings{Cluster: "test", Host: "host", Port: 5555, Listen: listen}.Format()
	if err != nil {
		t.Fatal(err)
	}
	h.write(SettingsFile, text)
	h.service, err = New(filepath.Join(h.dir, SettingsFile), &Trees{Dir: h.trees}, func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	h.service.peers.patience = quick()
	h.service.peers.masters.forget = quick().forget
	h.service.compared.Store(true)
	return h
}

func (h *testHost) identify(ca *CA, p Pair) {
	h.write(CAFile, string(ca.Certificate()))
	h.write(CertFile, string(p.Cert))
	h.write(KeyFile, string(p.Key))
}

func (h *testHost) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// start answers other hosts.
func (h *testHost) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	var l net.Listener
	var err error
	for range 100 { // the port may still be given back
		if l, err = net.Listen("tcp", h.listen); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		h.t.Error(err)
		return
	}
	handler := h.service.ForHosts()
	if h.wrap != nil {
		handler = h.wrap(handler)
	}
	server := &http.Server{Handler: handler, ErrorLog: nil}
	server.SetKeepAlivesEnabled(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(tls.NewListener(l, h.service.peers.who.server()))
	}()
	h.stop = func() { server.Close(); <-done }
	h.t.Cleanup(h.kill)
}

// kill ends the server and all its connections.
func (h *testHost) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// node makes a host that is no master, and returns it with the address that its
// runtime asks.
func (c *testCluster) node() (*testHost, string) {
	c.t.Helper()
	var masters []string
	for _, m := range c.masters {
		masters = append(masters, m.listen)
	}
	h := c.host("", masters)
	server := httptest.NewServer(h.service.Loopback())
	c.t.Cleanup(server.Close)
	return h, server.URL
}

// get asks for a path, and returns the answer with all of its body, or what came
// of it and the error.
func get(t *testing.T, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	return request(t.Context(), http.MethodGet, url, header...)
}

func request(ctx context.Context, method, url string, header ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// path is the path of something in the image's repository.
func (p pulled) path(kind, object string) string {
	repo, _, _ := strings.Cut(p.name, ":")
	return "/v2/" + repo + "/" + kind + "/" + object
}

func (p pulled) blob() string { return p.path("blobs", p.layer.Digest.String()) }
