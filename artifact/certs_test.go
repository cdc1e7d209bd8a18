package artifact

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
)

// clientPair makes a certificate that signs itself, as PEM.
func clientPair(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "builder"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, k.Public(), k)
	check(t, err)
	b, err := x509.MarshalECPrivateKey(k)
	check(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: b})
}

func TestCertificatesOfOneRegistry(t *testing.T) {
	f := newFake(t, func(h http.Handler) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		return s
	})
	src := newStore(t)
	ref, _ := tagged(t, src)
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
		{"no key", map[string][]byte{"ca.crt": ca, "client.cert": cert}, []string{f.host(), "client.key"}},
		{"no certificate", map[string][]byte{"ca.crt": ca, "client.key": key}, []string{f.host(), "client.cert"}},
		{"another key", map[string][]byte{"ca.crt": ca, "client.cert": cert, "client.key": otherKey}, []string{f.host(), "client.cert and client.key"}},
		{"no PEM", map[string][]byte{"ca.crt": ca, "client.cert": []byte("x"), "client.key": key}, []string{f.host(), "client.cert and client.key"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			check(t, os.Mkdir(filepath.Join(dir, f.host()), 0o755))
			for name, b := range tt.files {
				check(t, os.WriteFile(filepath.Join(dir, f.host(), name), b, 0o600))
			}
			o := RegistryOptions{CertDirs: []string{filepath.Join(dir, "none"), dir}, Retries: -1}
			_, err := Copy(t.Context(), fastRegistry(o), f.ref(t, "a:v1"), src, ref, CopyOptions{})
			if tt.want == nil {
				check(t, err)
				return
			}
			wantError(t, err, tt.want...)
		})
	}
	// --insecure and --ca-file mean what they meant.
	dir := t.TempDir()
	check(t, os.Mkdir(filepath.Join(dir, f.host()), 0o755))
	for name, b := range map[string][]byte{"client.cert": cert, "client.key": key} {
		check(t, os.WriteFile(filepath.Join(dir, f.host(), name), b, 0o600))
	}
	check(t, os.WriteFile(filepath.Join(dir, "ca.pem"), ca, 0o600))
	copyImage(t, fastRegistry(RegistryOptions{CertDirs: []string{dir}, Insecure: true}), f.ref(t, "b:v1"), src, ref)
	copyImage(t, fastRegistry(RegistryOptions{CertDirs: []string{dir}, CAFile: filepath.Join(dir, "ca.pem")}), f.ref(t, "c:v1"), src, ref)
}

func TestFirstDirectoryOfCertificatesCounts(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{filepath.Join(a, "one:5000"), filepath.Join(b, "one:5000"), filepath.Join(b, "docker.io")} {
		check(t, os.Mkdir(dir, 0o755))
	}
	r := NewRegistry(RegistryOptions{CertDirs: []string{a, b}})
	for host, want := range map[string]string{
		"one:5000": filepath.Join(a, "one:5000"), dockerHub: filepath.Join(b, "docker.io"), "one": "", "two:5000": "",
	} {
		if got, err := r.certDir(host); got != want || err != nil {
			t.Errorf("%s: %q, %v", host, got, err)
		}
	}
}
