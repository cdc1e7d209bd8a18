package certificates_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/runtime/certificates"
)

// made makes a certificate for names, and its key, in PEM.
func made(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name, "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

func write(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestFilesOfAllKindsAreReadAndTheirKeysCompared(t *testing.T) {
	dir := t.TempDir()
	cert, key := made(t, "one")
	_, other := made(t, "other")
	encoded := base64.StdEncoding.EncodeToString
	write(t, dir, "alone.crt", cert)
	write(t, dir, "pair.crt", cert)
	write(t, dir, "pair.key", key)
	write(t, dir, "wrong.crt", cert)
	write(t, dir, "wrong.key", other)
	write(t, dir, "both.pem", append(append([]byte("a comment\n"), key...), cert...))
	write(t, dir, "admin.yaml", []byte("users:\n- name: a\n  user:\n    client-certificate-data: "+encoded(cert)+"\n    client-key-data: "+encoded(key)+"\n"))
	write(t, dir, "secret.json", []byte(`{"metadata":{"name":"s"},"data":{"tls.crt":"`+encoded(cert)+`","tls.key":"`+encoded(other)+`"}}`))
	write(t, dir, "empty.crt", nil)
	found, err := certificates.Files([]string{dir + "/*.crt", dir + "/pair.*t", dir + "/*.pem", dir + "/*.yaml", dir + "/*.json", dir + "/none/*"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]certificates.Key{
		"alone.crt": certificates.NoKey, "pair.crt": certificates.Matches, "wrong.crt": certificates.Differs, "both.pem": certificates.Matches,
		"admin.yaml": certificates.Matches, "secret.json": certificates.Differs, "empty.crt": "error",
	}
	if len(found) != len(want) {
		t.Errorf("%d found, want %d", len(found), len(want))
	}
	for _, c := range found {
		name := filepath.Base(c.Source)
		if name == "empty.crt" {
			if !strings.Contains(c.Error, "no certificate") {
				t.Errorf("%s: %q", name, c.Error)
			}
			continue
		}
		if c.Error != "" || c.Key != want[name] || c.Subject != "CN=one" || strings.Join(c.Names, " ") != "one localhost 127.0.0.1" || c.NotAfter.Before(time.Now()) {
			t.Errorf("%+v, want the key to be %q", c, want[name])
		}
	}
	raw, err := json.Marshal(found)
	if err != nil || strings.Contains(string(raw), "PRIVATE") || strings.Contains(string(raw), encoded(key)[:40]) {
		t.Errorf("%v: what is told holds a key: %s", err, raw)
	}
}

// serving answers by TLS with a pair until the test ends.
func serving(t *testing.T, cert, key []byte, who tls.ClientAuthType) string {
	t.Helper()
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: who}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestEndpointThatShowsAnOldCertificateIsTold(t *testing.T) {
	dir := t.TempDir()
	cert, key := made(t, "old")
	fresh, _ := made(t, "new")
	at := serving(t, cert, key, tls.RequireAnyClientCert)
	same, other := write(t, dir, "same.crt", cert), write(t, dir, "other.crt", fresh)
	found := certificates.Shown(t.Context(), []certificates.Endpoint{
		{Name: "same", Address: at, File: same},
		{Name: "stale", Address: at, File: other},
		{Name: "free", Address: at},
		{Name: "lost", Address: at, File: dir + "/none.crt"},
		{Name: "absent", Address: at, If: dir + "/none"},
		{Name: "silent", Address: "127.0.0.1:1"},
	})
	if len(found) != 5 {
		t.Fatalf("%d answers: %+v", len(found), found)
	}
	for _, c := range found {
		if bad := c.Endpoint == "lost" || c.Endpoint == "silent"; bad != (c.Error != "") {
			t.Errorf("%s: error %q", c.Endpoint, c.Error)
		}
		if c.Stale != (c.Endpoint == "stale") || c.Endpoint != "silent" && c.Subject != "CN=old" {
			t.Errorf("%+v", c)
		}
	}
}

func TestEndpointsAreReadAsTheyAreWritten(t *testing.T) {
	for _, e := range []certificates.Endpoint{
		{Name: "a b", Address: "[::1]:6443"},
		{Name: "etcd", Address: "10.0.0.1:2379", File: "/f", Cert: "/c", Key: "/k", If: "/i"},
	} {
		if got, err := certificates.ParseEndpoint(e.String()); err != nil || got != e {
			t.Errorf("%s: %+v, %v", e, got, err)
		}
	}
	for _, text := range []string{"", "a", "a=", "a=b,c=d", "a=b,file"} {
		if _, err := certificates.ParseEndpoint(text); err == nil {
			t.Errorf("%q is read", text)
		}
	}
}

func TestRenewedMeansAnotherCertificateThatIsShown(t *testing.T) {
	file := certificates.Certificate{Source: "/f", Fingerprint: "1"}
	shown := certificates.Certificate{Source: "h:1", Endpoint: "API", Fingerprint: "1"}
	with := func(c certificates.Certificate, change func(*certificates.Certificate)) []certificates.Certificate {
		change(&c)
		return []certificates.Certificate{c}
	}
	before := []certificates.Certificate{file, shown}
	for name, c := range map[string]struct {
		now  []certificates.Certificate
		want string
	}{
		"the same file":     {[]certificates.Certificate{file}, "/f: it is the certificate from before"},
		"the same endpoint": {[]certificates.Certificate{shown}, "API at h:1: it is the certificate from before"},
		"another":           {with(shown, func(c *certificates.Certificate) { c.Fingerprint = "2" }), ""},
		"not shown yet":     {with(shown, func(c *certificates.Certificate) { c.Fingerprint, c.Stale = "2", true }), "another certificate is shown"},
		"no answer":         {with(shown, func(c *certificates.Certificate) { c.Error = "refused" }), "refused"},
		"nothing noted":     {with(shown, func(c *certificates.Certificate) { c.Source = "h:2" }), ""},
	} {
		if err := certificates.Renewed(before, c.now); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	stopped := with(shown, func(c *certificates.Certificate) { c.Error = "connection refused" })
	if kept := certificates.Merge(before, append(stopped, certificates.Certificate{Source: "/f", Fingerprint: "3"})); certificates.Renewed(kept, []certificates.Certificate{shown}) == nil || certificates.Renewed(kept, []certificates.Certificate{file}) != nil {
		t.Errorf("kept is %+v", kept)
	}
}

func TestNamesThatACertificateIsNotForAreNamed(t *testing.T) {
	now := []certificates.Certificate{{Endpoint: "API", Source: "h:1", Names: []string{"a.example.com", "10.0.0.1"}}, {Source: "/f"}}
	if err := certificates.Named(now, []string{"A.example.com", "10.0.0.1"}); err != nil {
		t.Error(err)
	}
	if err := certificates.Named(now, []string{"b", "10.0.0.1", "c"}); err == nil || !strings.Contains(err.Error(), "not for b, c") {
		t.Error(err)
	}
}
