//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// web is a web server that stands in for others, with a certificate that only
// caFile vouches for.
type web struct {
	address string // of loopback, without the port
	caFile  string
	hosts   []string
}

// serveFiles serves files, called host/path, over HTTPS at an address of
// loopback until the test ends. What is not among them is not found.
func serveFiles(t *testing.T, address string, files map[string]string) web {
	t.Helper()
	hosts := map[string]bool{}
	for name := range files {
		host, _, _ := strings.Cut(name, "/")
		hosts[host] = true
	}
	dir, err := os.MkdirTemp("", "sealrt-web-") // which every user may read
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := web{caFile: filepath.Join(dir, "ca.pem"), hosts: slices.Sorted(maps.Keys(hosts))}
	w.address, _, _ = net.SplitHostPort(address)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "stand-in"}, DNSNames: w.hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, w.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatalf("%v: the end-to-end tests need root, and this address to themselves", err)
	}
	server := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			content, ok := files[r.Host+r.URL.Path]
			if !ok {
				http.NotFound(rw, r)
				return
			}
			io.WriteString(rw, content)
		}),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		ErrorLog:  log.New(io.Discard, "", 0), // clients that do not trust it
	}
	go server.ServeTLS(l, "", "")
	t.Cleanup(func() { server.Close() })
	return w
}

// flags has RUN find the server in the place of those that it stands in for.
func (w web) flags() []string {
	args := []string{"--ca-file", w.caFile}
	for _, host := range w.hosts {
		args = append(args, "--add-host", host+":"+w.address)
	}
	return args
}
