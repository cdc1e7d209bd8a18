package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// clientPair makes a certificate that signs itself, as PEM.
func clientPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	artifacttest.Check(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "builder"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	artifacttest.Check(t, err)
	b, err := x509.MarshalECPrivateKey(k)
	artifacttest.Check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
}

func TestCertificatesOfOneRegistry(t *testing.T) {
	f := artifacttest.NewFake(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		return s
	})
	src := registrytest.Store(t)
	ref, _ := artifacttest.Tagged(t, src)
	cert, key := clientPair(t)
	_, otherKey := clientPair(t)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: f.Certificate().Raw})
	tests := []struct {
		name  string
		files map[string][]byte
		want  []string // parts of the error; none: it works
	}{
		{"all", map[string][]byte{"ca.crt": ca, "client.cert": cert, "client.key": key}, nil},
		{"no authority", map[string][]byte{"client.cert": cert, "client.key": key}, []string{"not trusted", "certs.d"}},
		{"no key", map[string][]byte{"ca.crt": ca, "client.cert": cert}, []string{f.Host(), "client.key"}},
		{"no certificate", map[string][]byte{"ca.crt": ca, "client.key": key}, []string{f.Host(), "client.cert"}},
		{"another key", map[string][]byte{"ca.crt": ca, "client.cert": cert, "client.key": otherKey}, []string{f.Host(), "client.cert and client.key"}},
		{"no PEM", map[string][]byte{"ca.crt": ca, "client.cert": []byte("x"), "client.key": key}, []string{f.Host(), "client.cert and client.key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			artifacttest.Check(t, os.Mkdir(filepath.Join(dir, f.Host()), 0o755))
			for name, b := range tt.files {
				artifacttest.Check(t, os.WriteFile(filepath.Join(dir, f.Host(), name), b, 0o600))
			}
			o := Options{CertDirs: []string{filepath.Join(dir, "none"), dir}, Retries: -1}
			_, err := artifact.Copy(t.Context(), fastRegistry(o), f.Ref(t, "a:v1"), src, ref, artifact.CopyOptions{})
			if tt.want == nil {
				artifacttest.Check(t, err)
				return
			}
			artifacttest.WantError(t, err, tt.want...)
		})
	}
	// --insecure and --ca-file mean what they meant.
	dir := t.TempDir()
	artifacttest.Check(t, os.Mkdir(filepath.Join(dir, f.Host()), 0o755))
	for name, b := range map[string][]byte{"client.cert": cert, "client.key": key} {
		artifacttest.Check(t, os.WriteFile(filepath.Join(dir, f.Host(), name), b, 0o600))
	}
	artifacttest.Check(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600))
	artifacttest.CopyImage(t, fastRegistry(Options{CertDirs: []string{dir}, Insecure: true}), f.Ref(t, "b:v1"), src, ref)
	artifacttest.CopyImage(t, fastRegistry(Options{CertDirs: []string{dir}, CAFile: filepath.Join(dir, "ca.pem")}), f.Ref(t, "c:v1"), src, ref)
}

func TestFirstDirectoryOfCertificatesCounts(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(a, "one:5000"), filepath.Join(b, "one:5000"), filepath.Join(b, "docker.io")} {
		artifacttest.Check(t, os.Mkdir(dir, 0o755))
	}
	r := New(Options{CertDirs: []string{a, b}})
	for host, want := range map[string]string{
		"one:5000": filepath.Join(a, "one:5000"), dockerHub: filepath.Join(b, "docker.io"), "one": "", "two:5000": "",
	} {
		if got, err := r.certDir(host); got != want || err != nil {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
}
