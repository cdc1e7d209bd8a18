package swarm

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// underTest is a Serve under test.
type underTest struct {
	url string
	ca  *authority
	in  *io.PipeWriter
	end chan error
}

func serveFor(t *testing.T, k Keeper, perHost int, helper string, allow ...v1.Hash) *underTest {
	t.Helper()
	ca, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.issue("host", "127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	out, says := io.Pipe()
	x := &underTest{ca: ca, in: w, end: make(chan error, 1)}
	go func() { x.end <- Serve(t.Context(), r, says, k) }()
	t.Cleanup(func() { w.Close() })
	go func() {
		say := answers{w: w}
		_ = say.say(serveLine{Settings: &serveSettings{CA: ca.pem, PerHost: perHost, Helper: helper, Pass: "letmein"}, Identity: id, Allow: allow})
	}()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	var a serveAnswer
	if err := json.Unmarshal(line, &a); err != nil || a.Allowed != len(allow) {
		t.Fatalf("it says %s", line)
	}
	x.url = fmt.Sprintf("https://127.0.0.1:%d", a.Port)
	return x
}

// peerOf returns the certificate of a host of an authority's run.
func peerOf(t *testing.T, ca *authority) *tls.Certificate {
	t.Helper()
	id, err := ca.issue("peer", "127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := id.pair()
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (x *underTest) get(t *testing.T, own *tls.Certificate, path string, header ...string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, x.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trusting(own), DisableKeepAlives: true}}
	return client.Do(req)
}

func (x *underTest) answer(t *testing.T, own *tls.Certificate, path string, header ...string) (int, string) {
	t.Helper()
	r, err := x.get(t, own, path, header...)
	if err != nil {
		return 0, err.Error()
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func TestOnlyHostsOfTheRunGetOnlyItsBlobs(t *testing.T) {
	k := newMemory()
	allowed, other, absent := descriptorOf([]byte("of the plan")), descriptorOf([]byte("another")), descriptorOf([]byte("not here"))
	k.blobs[allowed.Digest], k.blobs[other.Digest] = []byte("of the plan"), []byte("another")
	x := serveFor(t, k, 2, tempFile(t, []byte("the helper")), allowed.Digest, absent.Digest)
	foreign, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	old := &authority{cert: x.ca.cert, key: x.ca.key}
	expired, err := old.issue("late", "127.0.0.1", time.Now().Add(-2*certificateLife))
	if err != nil {
		t.Fatal(err)
	}
	late, err := expired.pair()
	if err != nil {
		t.Fatal(err)
	}
	mine := peerOf(t, x.ca)
	for _, c := range []struct {
		name string
		own  *tls.Certificate
		path string
		code int
		body string
	}{
		{"a blob of the plan", mine, blobPath + allowed.Digest.String(), 200, "of the plan"},
		{"a blob that is not of the plan", mine, blobPath + other.Digest.String(), 403, "not a blob of the run"},
		{"one that is not there", mine, blobPath + absent.Digest.String(), 404, ""},
		{"no digest", mine, blobPath + "../../etc/passwd", 403, "not a blob of the run"},
		{"something else", mine, "/", 404, ""},
		{"no certificate", nil, blobPath + allowed.Digest.String(), 403, "show a certificate"},
		{"a certificate of another authority", peerOf(t, foreign), blobPath + allowed.Digest.String(), 0, "tls"},
		{"an old certificate", late, blobPath + allowed.Digest.String(), 0, "tls"},
		{"the helper, with the pass of the run", nil, helperPath + "letmein", 200, "the helper"},
		{"the helper, with another pass", nil, helperPath + "letmeinn", 404, ""},
		{"the helper, with no pass", mine, helperPath, 404, ""},
	} {
		code, body := x.answer(t, c.own, c.path)
		if code != c.code || !strings.Contains(body, c.body) {
			t.Errorf("%s: %d %s", c.name, code, body)
		}
	}
	if code, body := x.answer(t, mine, blobPath+allowed.Digest.String(), "Range", "bytes=3-"); code != 206 || body != "the plan" {
		t.Errorf("from byte 3 on: %d %s", code, body)
	}
}

func TestServingIsBoundedAndSaysWhenToComeAgain(t *testing.T) {
	t.Parallel()                // the second caller waits for seconds
	big := make([]byte, 64<<20) // more than sockets hold
	k := newMemory()
	d := descriptorOf(big)
	k.blobs[d.Digest] = big
	x := serveFor(t, k, 1, "", d.Digest)
	first, err := x.get(t, peerOf(t, x.ca), blobPath+d.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	second, err := x.get(t, peerOf(t, x.ca), blobPath+d.Digest.String()) // it waits a while for the place
	if err != nil {
		t.Fatal(err)
	}
	defer second.Body.Close()
	if second.StatusCode != 503 || second.Header.Get("Retry-After") != "1" {
		t.Errorf("a second caller: %s, come again after %q", second.Status, second.Header.Get("Retry-After"))
	}
}

func TestServingEndsWithItsInput(t *testing.T) {
	x := serveFor(t, newMemory(), 1, "")
	x.in.Close()
	if err := <-x.end; err != nil {
		t.Fatal(err)
	}
	if code, body := x.answer(t, peerOf(t, x.ca), "/"); code != 0 || !strings.Contains(body, "refused") {
		t.Errorf("it still answers: %d %s", code, body)
	}
}

func TestCertificatesLiveAnHourAndAreRenewed(t *testing.T) {
	ca, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	id, err := ca.issue("host", "fd00::1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	pair, err := id.pair()
	if err != nil {
		t.Fatal(err)
	}
	if life := time.Until(pair.Leaf.NotAfter); life > certificateLife || life < certificateLife-time.Minute {
		t.Errorf("it lives %s", life)
	}
	if err := pair.Leaf.VerifyHostname("fd00::1"); err != nil {
		t.Error(err)
	}
	x := serveFor(t, newMemory(), 1, "")
	young, err := x.ca.issue("younger", "127.0.0.1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	say := answers{w: x.in}
	if err := say.say(serveLine{Identity: young}); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is read when the first was handed on, which is when the line before had been taken in
		if err := say.say(serveLine{}); err != nil {
			t.Fatal(err)
		}
	}
	r, err := x.get(t, nil, "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if name := r.TLS.PeerCertificates[0].Subject.CommonName; name != "younger" {
		t.Errorf("it shows the certificate of %s", name)
	}
}
