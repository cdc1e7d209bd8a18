package export

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/registry"
)

// served is a layout with images that tests ask for over HTTP.
type served struct {
	url      string
	whole    v1.Hash // an index of which only linux/amd64 is here
	manifest v1.Hash
	blob     v1.Hash // of 100 bytes
}

// serve serves docker.io/library/nginx:1.25, with its index by digest, and
// another x/y:1 in each of two registries.
func serve(t *testing.T) served {
	t.Helper()
	dir, put, index := airgaptest.Layout(t)
	asJSON := func(v any) []byte { b, _ := json.Marshal(v); return b }
	imageOf := func(content string) (v1.Descriptor, v1.Descriptor) {
		l := put(types.OCILayer, airgaptest.Gzipped([]byte(content)))
		config := put(types.OCIConfigJSON, asJSON(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{layout.DigestOf([]byte(content))}}}))
		return put(types.OCIManifestSchema1, asJSON(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: []v1.Descriptor{l}})), l
	}
	m, blob := imageOf(string(airgaptest.Tar(t, airgaptest.File{Name: "x", Content: "x"})))
	child := m
	child.Platform = &amd64
	absent := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: layout.DigestOf([]byte("arm")), Size: 3, Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}
	whole := put(types.OCIImageIndex, asJSON(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{child, absent}}))
	other, _ := imageOf("other")
	sig := put(types.OCIManifestSchema1, asJSON(map[string]any{"schemaVersion": 2, "mediaType": types.OCIManifestSchema1, "config": m, "layers": []any{}, "artifactType": "test/signature", "subject": m}))
	sig.Annotations = map[string]string{artifact.AnnotationImageName: "docker.io/library/nginx:sha256-" + m.Digest.Hex + ".sig"}
	const nginx = "docker.io/library/nginx"
	index(airgaptest.Entry(nginx+":1.25", m), airgaptest.Entry(nginx+":1.24", other), airgaptest.Entry(nginx+"@"+whole.Digest.String(), whole),
		airgaptest.Entry("quay.io/x/y:1", m), airgaptest.Entry("ghcr.io/x/y:1", other), airgaptest.Entry("ghcr.io/x/y:2", other), sig)
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(Handler(l))
	t.Cleanup(func() { server.Close(); l.Close() })
	return served{url: server.URL, whole: whole.Digest, manifest: m.Digest, blob: blob.Digest}
}

func TestHandlerEndpoints(t *testing.T) {
	s := serve(t)
	const nginx = "/v2/library/nginx"
	tests := []struct {
		path   string
		status int
		body   string // a part of it
	}{
		{"/v2/", 200, "{}"},
		{"/v2", 200, "{}"},
		{"/", 404, "UNSUPPORTED"},
		{nginx + "/manifests/1.25", 200, `"layers"`},
		{nginx + "/manifests/1.25?ns=docker.io", 200, `"layers"`},
		{"/v2/docker.io/library/nginx/manifests/1.25", 200, `"layers"`},
		{nginx + "/manifests/1.25?ns=quay.io", 404, "NAME_UNKNOWN"},
		{nginx + "/manifests/9", 404, "MANIFEST_UNKNOWN"},
		{nginx + "/manifests/" + s.whole.String(), 200, `"manifests"`},
		{nginx + "/manifests/" + s.manifest.String(), 200, `"layers"`},
		{nginx + "/manifests/" + s.blob.String(), 404, "MANIFEST_UNKNOWN"},
		{nginx + "/manifests/" + layout.DigestOf(nil).String(), 404, "MANIFEST_UNKNOWN"},
		{nginx + "/manifests/sha256:zz", 400, "DIGEST_INVALID"},
		{nginx + "/manifests/sha256:" + s.manifest.Hex[:63] + "/", 404, "NAME_UNKNOWN"},
		{nginx + "/manifests/sha256-" + s.manifest.Hex + ".sig", 200, "test/signature"},
		{"/v2/nobody/manifests/1.25", 404, "NAME_UNKNOWN"},
		{"/v2/x/y/manifests/1", 404, "several registries"},
		{"/v2/x/y/manifests/1?ns=quay.io", 200, s.blob.Hex},
		{"/v2/x/y/manifests/2", 200, `"layers"`},
		{nginx + "/blobs/" + layout.DigestOf(nil).String(), 404, "BLOB_UNKNOWN"},
		{nginx + "/blobs/" + "sha256:..%2f..%2foci-layout", 404, ""},
		{nginx + "/tags/list", 200, `{"name":"library/nginx","tags":["1.24","1.25","sha256-`},
		{nginx + "/tags/list?n=1", 200, `["1.24"]`},
		{nginx + "/tags/list?n=1&last=1.24", 200, `["1.25"]`},
		{nginx + "/tags/list?n=0", 200, `[]`},
		{nginx + "/referrers/" + s.manifest.String(), 200, `"artifactType":"test/signature"`},
		{nginx + "/referrers/" + s.whole.String(), 200, `"manifests":[]`},
		{nginx + "/uploads/x", 404, "UNSUPPORTED"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			resp, err := http.Get(s.url + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.body) {
				t.Errorf("%s: %s", resp.Status, body)
			}
			head, err := http.Head(s.url + tt.path)
			if err != nil {
				t.Fatal(err)
			}
			head.Body.Close()
			if head.StatusCode != tt.status || head.ContentLength != int64(len(body)) || head.Header.Get("Docker-Content-Digest") != resp.Header.Get("Docker-Content-Digest") {
				t.Errorf("HEAD: %s, %d bytes instead of %d", head.Status, head.ContentLength, len(body))
			}
		})
	}
}

func TestHandlerTakesNothing(t *testing.T) {
	s := serve(t)
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		req, _ := http.NewRequest(method, s.url+"/v2/library/nginx/blobs/uploads/", strings.NewReader("x"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
}

func TestHandlerSendsRanges(t *testing.T) {
	s := serve(t)
	req, _ := http.NewRequest(http.MethodGet, s.url+"/v2/library/nginx/blobs/"+s.blob.String(), nil)
	req.Header.Set("Range", "bytes=0-0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusPartialContent || string(b) != "\x1f" || !strings.HasPrefix(resp.Header.Get("Content-Range"), "bytes 0-0/") {
		t.Errorf("%s, %q, %s", resp.Status, b, resp.Header.Get("Content-Range"))
	}
}

// TestHandlerIsPulledFrom lets a client of others pull from what is served.
func TestHandlerIsPulledFrom(t *testing.T) {
	s := serve(t)
	host := strings.TrimPrefix(s.url, "http://")
	for _, object := range []string{":1.25", "@" + s.whole.String()} {
		ref, err := name.ParseReference(host + "/library/nginx" + object)
		if err != nil {
			t.Fatal(err)
		}
		img, err := remote.Image(ref, remote.WithPlatform(amd64))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate.Image(img); err != nil {
			t.Errorf("%s: %v", object, err)
		}
		if h, err := img.Digest(); err != nil || h != s.manifest {
			t.Errorf("%s is %s, %v", object, h, err)
		}
	}
}

func TestHandlerOfContents(t *testing.T) {
	c, dir, a, _ := airgaptest.TwoImages(t)
	server := httptest.NewServer(Handler(c.Contents(t)))
	defer server.Close()
	registry := registry.New(registry.Options{PlainHTTP: true, Retries: -1})
	store := registrytest.Store(t)
	ref := airgaptest.Reference(t, strings.TrimPrefix(server.URL, "http://")+"/a:1")
	d, err := artifact.Copy(t.Context(), store, ref, registry, ref, artifact.CopyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := layout.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want, err := l.Resolve(t.Context(), airgaptest.Reference(t, a))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Digest, d.Digest); diff != "" {
		t.Error(diff)
	}
}
