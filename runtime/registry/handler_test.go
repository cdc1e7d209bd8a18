package registry

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

const large = 3 << 20 // larger than what is passed on at once

func TestNodeServesWhatAMasterHas(t *testing.T) {
	var p pulled
	c := newCluster(t, 2, nil)
	p = imageTree(t, c.masters[1].trees, "library/big:1", large)
	node, url := c.node()
	own := imageTree(t, node.trees, "library/own:1", 100)
	tests := []struct {
		path   string
		header []string
		status int
		body   string
	}{
		{p.path("manifests", "1"), nil, 200, `"layers"`},
		{p.path("manifests", "1") + "?ns=docker.io", nil, 200, `"layers"`},
		{p.path("manifests", "1") + "?ns=quay.io", nil, 404, "MANIFEST_UNKNOWN"},
		{p.path("manifests", p.manifest.Digest.String()), nil, 200, `"layers"`},
		{p.path("manifests", "2"), nil, 404, "MANIFEST_UNKNOWN"},
		{p.blob(), nil, 200, string(p.content)},
		{p.blob(), []string{"Range", "bytes=5-9"}, 206, string(p.content[5:10])},
		{p.blob(), []string{"Range", "bytes=3145727-"}, 206, string(p.content[large-1:])},
		{p.path("blobs", layout.DigestOf([]byte("x")).String()), nil, 404, "BLOB_UNKNOWN"},
		{p.path("blobs", "sha256:zz"), nil, 400, "DIGEST_INVALID"},
		{p.path("manifests", "sha256:zz"), nil, 404, "NAME_UNKNOWN"},
		{p.path("referrers", "sha256:zz"), nil, 404, ""},
		{p.path("tags", "list"), nil, 200, `"tags":["1"]`},
		{p.path("referrers", p.manifest.Digest.String()), nil, 200, `"manifests":[]`},
		{own.path("manifests", "1"), nil, 200, `"layers"`},
		{own.path("tags", "list"), nil, 200, `"tags":["1"]`},
		{own.blob(), nil, 200, string(own.content)},
		{"/v2/another/name/blobs/" + own.layer.Digest.String(), nil, 200, string(own.content)},
		{"/v2/", nil, 200, "{}"},
		{"/v2/_catalog", nil, 200, `{"repositories":["docker.io/library/own"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.path+strings.Join(tt.header, " "), func(t *testing.T) {
			resp, body, err := get(t, url+tt.path, tt.header...)
			if err != nil || resp.StatusCode != tt.status || !bytes.Contains(body, []byte(tt.body)) {
				t.Fatalf("%v, %v, %d bytes", resp, err, len(body))
			}
			head, _, err := request(t.Context(), http.MethodHead, url+tt.path, tt.header...)
			if err != nil || head.StatusCode != tt.status || head.ContentLength != int64(len(body)) {
				t.Errorf("HEAD: %v, %v instead of %d bytes", head, err, len(body))
			}
		})
	}
}

func TestNothingIsTakenIn(t *testing.T) {
	c := newCluster(t, 1, nil)
	_, url := c.node()
	resp, _, err := request(t.Context(), http.MethodPut, url+"/v2/x/manifests/1")
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("%v, %v", resp, err)
	}
}

// breaking ends connections after some bytes of each answer.
type breaking struct {
	http.ResponseWriter
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	n, err := b.ResponseWriter.Write(p[:min(len(p), b.left)])
	if b.left -= n; b.left == 0 && err == nil {
		http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

func TestAnotherMasterGoesOnAtTheByte(t *testing.T) {
	c := newCluster(t, 3, nil)
	var ranges atomic.Int32
	p := imageTree(t, c.masters[0].trees, "library/big:1", large)
	for _, m := range c.masters {
		if m != c.masters[0] {
			os.RemoveAll(m.trees)
			os.CopyFS(m.trees, os.DirFS(c.masters[0].trees))
		}
		m.kill()
		m.wrap = func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") != "" {
					ranges.Add(1)
				}
				if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
					w = &breaking{w, large/4 + 1}
				}
				h.ServeHTTP(w, r)
			})
		}
		m.start()
	}
	_, url := c.node()
	for range 3 {
		_, body, err := get(t, url+p.blob())
		if err != nil || !bytes.Equal(body, p.content) {
			t.Fatalf("%v, %d bytes", err, len(body))
		}
	}
	if n := ranges.Load(); n != 9 {
		t.Errorf("%d requests for a rest instead of 3 for each pull", n)
	}
}

func TestALyingMasterIsNotPassedOn(t *testing.T) {
	for _, size := range []int{100, large} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			c := newCluster(t, 2, nil)
			p := imageTree(t, c.masters[0].trees, "library/big:1", size)
			os.CopyFS(c.masters[1].trees, os.DirFS(c.masters[0].trees))
			bad, _ := filepath.Glob(filepath.Join(c.masters[1].trees, "*/images/blobs/sha256", p.layer.Digest.Hex))
			if len(bad) != 1 {
				t.Fatal(bad)
			}
			spoilt := bytes.Clone(p.content)
			spoilt[size/2] ^= 1
			os.Chmod(bad[0], 0o644)
			if err := os.WriteFile(bad[0], spoilt, 0o644); err != nil {
				t.Fatal(err)
			}
			_, url := c.node()
			failures := 0
			for range 20 {
				_, body, err := get(t, url+p.blob())
				if err == nil && !bytes.Equal(body, p.content) {
					t.Fatal("what the master said was passed on")
				}
				if err != nil {
					failures++
				}
			}
			if failures > 1 || size < smallBlob && failures > 0 {
				t.Errorf("%d pulls failed", failures)
			}
		})
	}
}

func TestADeadMasterIsAskedLast(t *testing.T) {
	m := &masters{file: filepath.Join(t.TempDir(), "masters"), forget: time.Minute}
	clock := time.Now()
	m.now = func() time.Time { return clock }
	if err := os.WriteFile(m.file, []byte(FormatMasters([]string{"a:1", "b:1", "c:1"})), 0o600); err != nil {
		t.Fatal(err)
	}
	m.died("b:1")
	last := map[string]bool{}
	for range 50 {
		order, err := m.order("x")
		if err != nil || len(order) != 3 || order[2] != "b:1" {
			t.Fatal(order, err)
		}
		last[order[0]] = true
	}
	if len(last) != 2 {
		t.Errorf("the first one asked is always %v", last)
	}
	m.died("b:1") // a second time in a row
	clock = clock.Add(90 * time.Second)
	for range 50 {
		if order, err := m.order("x"); err != nil || order[2] != "b:1" {
			t.Fatal("one that never answers is asked as often as at first", order, err)
		}
	}
	m.lives("b:1")
	m.died("b:1")
	clock = clock.Add(90 * time.Second)
	last = map[string]bool{}
	for range 100 {
		order, _ := m.order("x")
		last[order[2]] = true
	}
	if len(last) != 3 {
		t.Errorf("a master is not forgiven: %v", last)
	}
}

func TestMastersAreReadAgain(t *testing.T) {
	c := newCluster(t, 2, nil)
	p := imageTree(t, c.masters[1].trees, "library/big:1", 100)
	node, url := c.node()
	node.write(MastersFile, FormatMasters([]string{c.masters[0].listen}))
	if resp, _, err := get(t, url+p.blob()); err != nil || resp.StatusCode != 404 {
		t.Fatalf("%v, %v", resp, err)
	}
	node.write(MastersFile, FormatMasters([]string{c.masters[0].listen, c.masters[1].listen}))
	if resp, _, err := get(t, url+p.blob()); err != nil || resp.StatusCode != 200 {
		t.Errorf("%v, %v", resp, err)
	}
}

func TestNoMasterAnswers(t *testing.T) {
	c := newCluster(t, 1, nil)
	p := imageTree(t, c.masters[0].trees, "library/big:1", 100)
	node, url := c.node()
	node.service.peers.patience.all = 100 * time.Millisecond
	c.masters[0].kill()
	resp, body, err := get(t, url+p.blob())
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !bytes.Contains(body, []byte("no master answers")) {
		t.Errorf("%v, %v, %s", resp, err, body)
	}
	if resp, _, err := get(t, url+p.path("tags", "list")); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a list that nobody can make now: %v, %v", resp, err)
	}
	c.masters[0].start()
	if resp, _, err := get(t, url+p.blob()); err != nil || resp.StatusCode != 200 {
		t.Errorf("when it is back: %v, %v", resp, err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	c := newCluster(t, 1, nil)
	p := imageTree(t, c.masters[0].trees, "library/big:1", 100)
	other, err := NewCA("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	url := "https://" + c.masters[0].listen + p.blob()
	ask := func(config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config}
		defer transport.CloseIdleConnections()
		resp, err := (&http.Client{Transport: transport}).Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	member, err := readIdentity(c.masters[0].dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(member.Clone()); err != nil {
		t.Fatalf("a member: %v", err)
	}
	if ask(&tls.Config{RootCAs: member.RootCAs}) == nil {
		t.Error("somebody without a certificate is answered")
	}
	for name, expired := range map[string]time.Time{"of another CA": time.Now(), "that expired": time.Now().Add(-2 * hostLife)} {
		by := other
		if name == "that expired" {
			by = c.ca
		}
		pair, err := by.Issue("x", nil, expired)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		if ask(&tls.Config{RootCAs: member.RootCAs, Certificates: []tls.Certificate{cert}}) == nil {
			t.Errorf("somebody with a certificate %s is answered", name)
		}
	}
	if resp, err := http.Get("http://" + c.masters[0].listen + "/v2/"); err == nil && resp.StatusCode == 200 {
		t.Error("plain HTTP is answered")
	}

	// a node asks nobody who is no member
	node, address := c.node()
	node.service.peers.patience.all = 100 * time.Millisecond
	pair, err := other.Issue("x", nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c.masters[0].identify(other, pair)
	if resp, _, err := get(t, address+p.blob()); err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a master of another cluster: %v, %v", resp, err)
	}
}

func TestCertificatesAreReadAgain(t *testing.T) {
	c := newCluster(t, 1, nil)
	p := imageTree(t, c.masters[0].trees, "library/big:1", 100)
	node, url := c.node()
	fresh, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range []*testHost{c.masters[0], node} {
		pair, err := fresh.Issue("host", nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		h.identify(fresh, pair)
	}
	if resp, _, err := get(t, url+p.blob()); err != nil || resp.StatusCode != 200 {
		t.Errorf("after the renewal: %v, %v", resp, err)
	}
	node.write(KeyFile, "half of a file")
	if resp, _, err := get(t, url+p.blob()); err != nil || resp.StatusCode != 200 {
		t.Errorf("while files are replaced: %v, %v", resp, err)
	}
}

func TestImagesComeAndGo(t *testing.T) {
	c := newCluster(t, 1, nil)
	node, url := c.node()
	tags := func(p pulled) int {
		resp, _, err := get(t, url+p.path("manifests", "1"))
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode
	}
	own := node.service.own.(*Trees)
	p := imageTree(t, node.trees, "library/one:1", 100)
	if tags(p) != 200 {
		t.Error("a tree that was there is not served")
	}
	q := imageTree(t, node.trees, "library/two:1", 100)
	own.looked = time.Time{}
	if tags(q) != 200 || tags(p) != 200 {
		t.Error("a tree that came is not served")
	}
	os.RemoveAll(filepath.Join(node.trees, "library_one_1"))
	own.looked = time.Time{}
	if tags(p) != 404 || tags(q) != 200 {
		t.Error("a tree that went is served")
	}
}
