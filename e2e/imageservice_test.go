//go:build e2e

package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/store"
	rdepot "github.com/sealrt/sealrt/runtime/depot"
	"github.com/sealrt/sealrt/runtime/registry"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// conformance is the suite of the OCI distribution-spec, a program of its own
// module.
const conformance = "github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111"

// served is an image service of several hosts, each a process of sealrt.
type served struct {
	t       *testing.T
	program string
	masters []*serving
	node    *serving
	repo    string // of the image
	tag     string
	blobs   map[v1.Hash][]byte // of the image, the manifest among them
	digest  v1.Hash            // of the manifest
	layer   v1.Hash
}

// serving is one host.
type serving struct {
	dir, settings string
	port          int

	mu  sync.Mutex
	cmd *exec.Cmd
}

// store is where the host keeps blobs.
func (s *serving) store() string { return filepath.Join(s.dir, "home", "store") }

func (s *serving) url() string { return fmt.Sprintf("http://127.0.0.1:%d", s.port) }

// serveCluster makes a cluster of masters that have an image with a layer of
// size bytes, and a node that has none of it. Signatures are about the image.
func serveCluster(t *testing.T, program string, n, size int) *served {
	t.Helper()
	ca, err := registry.NewCA("e2e", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := &served{t: t, program: program, repo: "library/app", tag: "1", blobs: map[v1.Hash][]byte{}}
	var addresses []string
	for range n {
		addresses = append(addresses, fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	}
	cluster := s.clusterImage(s.image(size))
	for _, a := range addresses {
		m := s.host(ca, a, addresses)
		s.adopt(m, cluster)
		s.masters = append(s.masters, m)
	}
	s.node = s.host(ca, "", addresses)
	for _, h := range append(s.masters, s.node) {
		s.start(h)
		t.Cleanup(func() { s.kill(h) })
	}
	for _, h := range append(s.masters, s.node) {
		waitURL(t, h.url()+"/v2/")
	}
	waitURL(t, s.node.url()+"/v2/"+s.repo+"/manifests/"+s.tag)
	return s
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// waitFor waits until an address answers with what is asked for.
func waitURL(t *testing.T, url string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		resp, err := http.Get(url)
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v, %v", url, resp, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// image writes an image layout with an image and a signature of it into a
// directory, which it returns.
func (s *served) image(size int) (dir string) {
	s.t.Helper()
	dir = s.t.TempDir()
	put := func(mt types.MediaType, b []byte) v1.Descriptor {
		sum := sha256.Sum256(b)
		h := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
		s.blobs[h] = b
		writeFile(s.t, filepath.Join(dir, "blobs/sha256", h.Hex), string(b))
		return v1.Descriptor{MediaType: mt, Digest: h, Size: int64(len(b))}
	}
	asJSON := func(v any) []byte { b, _ := json.Marshal(v); return b }
	content := make([]byte, size)
	rand.Read(content)
	layer := put(types.OCIUncompressedLayer, tarOfOne(s.t, "file", content))
	s.layer = layer.Digest
	config := put(types.OCIConfigJSON, asJSON(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layer.Digest}}}))
	m := put(types.OCIManifestSchema1, asJSON(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{layer}}))
	s.digest = m.Digest
	sig := put(types.OCIManifestSchema1, asJSON(map[string]any{"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "artifactType": "test/signature", "config": config, "layers": []v1.Descriptor{layer}, "subject": m}))
	sig.Annotations = map[string]string{"io.sealrt.image.name": "docker.io/" + s.repo + ":" + strings.Replace(m.Digest.String(), ":", "-", 1) + ".sig"}
	named := m
	named.Annotations = map[string]string{"io.containerd.image.name": "docker.io/" + s.repo + ":" + s.tag, "org.opencontainers.image.ref.name": s.tag}
	writeFile(s.t, filepath.Join(dir, "index.json"), string(asJSON(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{named, sig}})))
	writeFile(s.t, filepath.Join(dir, "oci-layout"), `{"imageLayoutVersion":"1.0.0"}`)
	return dir
}

// clusterImage makes a cluster image that has a layout inside, and lists what of
// it travels to hosts.
func (s *served) clusterImage(layout string) *rdepot.Set {
	s.t.Helper()
	images, err := store.Open(filepath.Join(s.t.TempDir(), "images"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { images.Close() })
	layers := []v1.Descriptor{airgaptest.PutLayer(s.t, images, true, airgaptest.File{Name: "etc/app", Content: "app"})}
	for _, f := range airgaptest.Files(s.t, layout) {
		layers = append(layers, airgaptest.PutLayer(s.t, images, false, f))
	}
	config, err := images.PutJSON(s.t.Context(), types.OCIConfigJSON, v1.ConfigFile{OS: "linux", Architecture: "amd64"})
	if err != nil {
		s.t.Fatal(err)
	}
	d, err := images.PutJSON(s.t.Context(), types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: layers})
	if err != nil {
		s.t.Fatal(err)
	}
	set, err := rdepot.SetOf(s.t.Context(), images, airgaptest.Reference(s.t, "cluster:1").WithDigest(d.Digest))
	if err != nil {
		s.t.Fatal(err)
	}
	return set
}

// adopt brings a host a cluster image, whose tree is copied: it is not asked
// for here.
func (s *served) adopt(h *serving, set *rdepot.Set) {
	s.t.Helper()
	d, err := rdepot.Open(h.store())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, b := range set.Blobs() {
		r, err := set.Open(s.t.Context(), b, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		if err := errors.Join(d.Write(s.t.Context(), b, 0, r), r.Close()); err != nil {
			s.t.Fatal(err)
		}
	}
	if _, err = d.Adopt(s.t.Context(), set.Listing); err == nil {
		_, err = d.Drop(s.t.Context(), rdepot.Keeping{Images: []v1.Hash{set.Manifest.Digest}})
	}
	if err := errors.Join(err, d.Close()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *served) host(ca *registry.CA, listen string, masters []string) *serving {
	s.t.Helper()
	h := &serving{dir: s.t.TempDir(), port: freePort(s.t)}
	pair, err := ca.Issue("host", nil, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	text, err := registry.Settings{Cluster: "e2e", Host: "host", Port: h.port, Listen: listen}.Format()
	if err != nil {
		s.t.Fatal(err)
	}
	h.settings = filepath.Join(h.dir, registry.SettingsFile)
	for name, content := range map[string]string{
		registry.CAFile: string(ca.Certificate()), registry.CertFile: string(pair.Cert), registry.KeyFile: string(pair.Key),
		registry.MastersFile: registry.FormatMasters(masters), registry.SettingsFile: text,
	} {
		writeFile(s.t, filepath.Join(h.dir, name), content)
	}
	return h
}

// start starts the service of a host.
func (s *served) start(h *serving) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cmd = exec.Command(s.program, "registry", "serve", "--settings", h.settings, "--root", h.store())
	if err := h.cmd.Start(); err != nil {
		s.t.Error(err)
	}
}

// kill ends it in the middle of whatever it does.
func (s *served) kill(h *serving) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		h.cmd = nil
	}
}

// memory returns the anonymous memory of a host's service, in bytes.
func (s *served) memory(h *serving) int64 {
	s.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var kb int64
		if _, err := fmt.Sscanf(line, "RssAnon: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	s.t.Fatal("no RssAnon")
	return 0
}

// TestImageService runs what hosts run, and pulls as container runtimes do.
func TestImageService(t *testing.T) {
	program := buildSealrt(t)
	for name, test := range map[string]func(*testing.T, string){
		"Conforms": imageServiceConforms, "TenThousandPulls": tenThousandPulls, "ContainerdPulls": containerdPullsThroughTheImageService,
	} {
		t.Run(name, func(t *testing.T) { test(t, program) })
	}
}

// imageServiceConforms runs the pull part of the distribution-spec's suite
// against a node, which has everything from a master, and against a master.
func imageServiceConforms(t *testing.T, program string) {
	s := serveCluster(t, program, 2, 1<<20)
	for name, h := range map[string]*serving{"node": s.node, "master": s.masters[0]} {
		t.Run(name, func(t *testing.T) {
			results := t.TempDir()
			cmd := exec.Command("go", "run", conformance)
			cmd.Dir = results
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off",
				fmt.Sprintf("OCI_REGISTRY=127.0.0.1:%d", h.port), "OCI_TLS=disabled", "OCI_REPO1="+s.repo, "OCI_REPO2="+s.repo,
				"OCI_API_PUSH=false", "OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
				"OCI_API_BLOBS_DIGEST_HEADER=true",
				"OCI_RO_DATA_TAGS="+s.tag, "OCI_RO_DATA_MANIFESTS="+s.digest.String(), "OCI_RO_DATA_BLOBS="+s.layer.String(), "OCI_RO_DATA_REFERRERS="+s.digest.String(),
				"OCI_RESULTS_DIR="+results)
			out, err := cmd.CombinedOutput()
			// This version of the suite ends with a panic after its report, when it
			// writes what it was told of read-only data to a file: its report counts.
			if !bytes.Contains(out, []byte("OCI Conformance Result: Pass")) || bytes.Contains(out, []byte(": FAIL")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// tenThousandPulls pulls through a node while masters are killed and come
// back at random. An error has to be cured by one repetition, and the memory of
// the node's service stays as it is.
func tenThousandPulls(t *testing.T, program string) {
	const pulls = 10_000
	s := serveCluster(t, program, 3, 300<<10) // more than what is passed on when all of it has come
	pull := func() error { return s.pull(t.Context(), s.node) }
	for range 200 {
		if err := pull(); err != nil {
			t.Fatal(err)
		}
	}
	before := s.memory(s.node)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var kills atomic.Int32
	defer wg.Wait()
	defer cancel()
	for _, m := range s.masters { // each for itself: now and then none is up
		wg.Go(func() {
			for ctx.Err() == nil {
				s.kill(m)
				kills.Add(1)
				time.Sleep(time.Duration(mathrand.N(200)) * time.Millisecond) // how long it is down
				s.start(m)
				for ctx.Err() == nil && !answers(ctx, m) { // a machine may have other work
					time.Sleep(20 * time.Millisecond)
				}
				time.Sleep(time.Duration(mathrand.N(1000)) * time.Millisecond) // how long it is up
			}
		})
	}
	failed := 0
	began := time.Now()
	for n := range pulls {
		err := pull()
		if err == nil {
			continue
		}
		failed++
		if again := pull(); again != nil {
			t.Fatalf("pull %d: %v; again: %v", n, err, again)
		}
	}
	took := time.Since(began)
	cancel()
	wg.Wait()
	after := s.memory(s.node)
	t.Logf("%d pulls in %s, %d kills, %d pulls had to be repeated; memory of the service %d KiB before and %d KiB after", pulls, took.Round(time.Second), kills.Load(), failed, before>>10, after>>10)
	if kills.Load() < 10 {
		t.Errorf("only %d kills: nothing was tried", kills.Load())
	}
	if after > before+16<<20 {
		t.Errorf("the memory of the service grew from %d to %d bytes", before, after)
	}
}

// answers reports whether a host's service answers its own runtime.
func answers(ctx context.Context, h *serving) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url()+"/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// pull pulls the image as a runtime does, and compares every byte.
func (s *served) pull(ctx context.Context, h *serving) error {
	base := h.url() + "/v2/" + s.repo
	if err := s.compare(ctx, base+"/manifests/"+s.tag+"?ns=docker.io", s.digest); err != nil {
		return err
	}
	return s.compare(ctx, base+"/blobs/"+s.layer.String()+"?ns=docker.io", s.layer)
}

func (s *served) compare(ctx context.Context, url string, want v1.Hash) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // the service waits for a master for a quarter of that
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(body, s.blobs[want]) {
		return fmt.Errorf("%s: %s, %d bytes: %.200s", url, resp.Status, len(body), body)
	}
	return nil
}

// containerdPullsThroughTheImageService has Debian's containerd, configured
// by the files that drivers write, pull what a master has, what is pushed to the
// cluster while containerd runs, and nothing else.
func containerdPullsThroughTheImageService(t *testing.T, program string) {
	if os.Geteuid() != 0 {
		t.Fatal("the end-to-end tests need root: containerd does")
	}
	s := serveCluster(t, program, 2, 3<<20)
	d := startContainerdWith(t, func(hosts string) {
		files, err := mirrors.Hosts(mirrors.Mirror{Endpoint: s.node.url(), Registries: []string{"docker.io"}, Others: true}, hosts, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			writeFile(t, f.Path, f.Data)
		}
	})
	for _, ref := range []string{"docker.io/" + s.repo + ":" + s.tag, "docker.io/" + s.repo + "@" + s.digest.String()} {
		if err := d.pull(t, ref); err != nil {
			t.Errorf("pull %s: %v", ref, err)
		}
	}
	if err := d.pull(t, "docker.io/"+s.repo+":2"); err == nil {
		t.Error("what is not there was pulled")
	}

	// an image of another registry, which nobody named before
	name := "127.0.0.9:1/team/pushed:1"
	if err := d.pull(t, name); err == nil {
		t.Error("it is there before it was pushed")
	}
	for _, m := range s.masters {
		s.push(m, name)
	}
	s.kill(s.masters[0])
	if err := d.pull(t, name); err != nil {
		t.Errorf("pull %s: %v", name, err)
	}
}

// push sends a master the image under another name, as a client does.
func (s *served) push(m *serving, name string) {
	s.t.Helper()
	ref, err := artifact.ParseReference(name)
	if err != nil {
		s.t.Fatal(err)
	}
	i := registry.Image{Ref: ref, Desc: v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: s.digest, Size: int64(len(s.blobs[s.digest]))}, Source: inMemory(s.blobs)}
	blobs, err := i.Blobs(s.t.Context(), nil)
	if err != nil {
		s.t.Fatal(err)
	}
	list, err := json.Marshal(blobs)
	if err != nil {
		s.t.Fatal(err)
	}
	var wants []registry.Want
	if err := json.Unmarshal(s.onHost(m, bytes.NewReader(list), "image-lacks"), &wants); err != nil {
		s.t.Fatal(err)
	}
	var stream bytes.Buffer
	if _, err := registry.Send(s.t.Context(), &stream, []registry.Image{i}, wants, []registry.Listed{{Name: ref.String(), Desc: i.Desc, Pushed: time.Now()}}); err != nil {
		s.t.Fatal(err)
	}
	s.onHost(m, &stream, "image-take")
}

func (s *served) onHost(h *serving, input io.Reader, verb string) []byte {
	s.t.Helper()
	cmd := exec.Command(s.program, "host", verb, "--settings", h.settings, "--root", h.store())
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = input, &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("%s: %v: %s", verb, err, stderr.String())
	}
	return out
}

// inMemory is a source of blobs.
type inMemory map[v1.Hash][]byte

func (m inMemory) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (m inMemory) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	b, ok := m[d.Digest]
	if !ok {
		return nil, artifact.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(b[offset:])), nil
}

// tarOfOne is an archive of one file.
func tarOfOne(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// buildSealrt builds the program.
func buildSealrt(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "sealrt")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "../cmd/sealrt")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return program
}
