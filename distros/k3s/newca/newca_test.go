package newca_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealrt/sealrt/distros/k3s/newca"
)

var kinds = []string{"client", "server", "request-header", "etcd/peer", "etcd/server"}

// cluster is a directory with the CAs of a new cluster.
func cluster(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "old " + kind}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(9, 0, 0),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		put(t, dir, kind+"-ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		put(t, dir, kind+"-ca.key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))
	}
	put(t, dir, "service.key", []byte("the old key\n"))
	return dir
}

func put(t *testing.T, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, dir, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func bundle(t *testing.T, dir, kind string) []*x509.Certificate {
	t.Helper()
	var out []*x509.Certificate
	for block, rest := pem.Decode(get(t, dir, kind+"-ca.crt")); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, c)
	}
	return out
}

// issued is a certificate of the CA that signs in a directory.
func issued(t *testing.T, dir, kind string) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(get(t, dir, kind+"-ca.crt"), get(t, dir, kind+"-ca.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, bundle(t, dir, kind)[0], key.Public(), pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// trusts reports whether who knows the CAs of one directory takes a certificate
// that is sent with the bundle of another.
func trusts(t *testing.T, known, sent, kind string, c *x509.Certificate) bool {
	t.Helper()
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	for _, r := range bundle(t, known, kind) {
		roots.AddCert(r)
	}
	for _, m := range bundle(t, sent, kind) {
		middle.AddCert(m)
	}
	_, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

func TestOldAndNewCAsKnowEachOther(t *testing.T) {
	old, first, second := cluster(t), t.TempDir(), t.TempDir()
	if err := newca.Make(old, first, time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := newca.Make(first, second, time.Now().Add(time.Hour)); err != nil { // of CAs that were made so themselves
		t.Fatal(err)
	}
	for _, kind := range kinds {
		for _, step := range [][2]string{{old, first}, {first, second}} {
			before, after := step[0], step[1]
			if !trusts(t, before, after, kind, issued(t, after, kind)) {
				t.Errorf("%s: who knows the old CA refuses the new one", kind)
			}
			if !trusts(t, after, before, kind, issued(t, before, kind)) {
				t.Errorf("%s: who knows the new CA refuses the old one", kind)
			}
		}
		if trusts(t, cluster(t), second, kind, issued(t, second, kind)) {
			t.Errorf("%s: a stranger takes the new CA", kind)
		}
		if b := bundle(t, first, kind); b[0].Subject.String() == b[1].Subject.String() || !bytes.Equal(b[1].RawSubject, b[2].RawSubject) || !b[3].Equal(bundle(t, old, kind)[0]) {
			t.Errorf("%s: the bundle is not the CA, its root twice, and the old one", kind)
		}
	}
	if raw := string(get(t, second, "service.key")); strings.Count(raw, "BEGIN RSA PRIVATE KEY") != 2 || !strings.HasSuffix(raw, "the old key\n") {
		t.Errorf("service.key: %d bytes", len(raw))
	}
	info, err := os.Stat(filepath.Join(first, "server-ca.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestRootWhoseKeyIsElsewhereIsRefused(t *testing.T) {
	dir := cluster(t)
	put(t, dir, "server-ca.crt", append(get(t, dir, "server-ca.crt"), get(t, dir, "client-ca.crt")...))
	if err := newca.Make(dir, t.TempDir(), time.Now()); err == nil || !strings.Contains(err.Error(), "kept elsewhere") {
		t.Error(err)
	}
	dir = cluster(t)
	put(t, dir, "server-ca.key", get(t, dir, "client-ca.key"))
	if err := newca.Make(dir, t.TempDir(), time.Now()); err == nil || !strings.Contains(err.Error(), "not the key of the root") {
		t.Error(err)
	}
	if err := newca.Make(t.TempDir(), t.TempDir(), time.Now()); err == nil || !strings.Contains(err.Error(), "client-ca.crt") {
		t.Error(err)
	}
}
