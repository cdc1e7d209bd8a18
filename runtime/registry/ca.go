package registry

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"slices"
	"time"
)

// How long certificates count. A clock that is behind does not matter for a day.
const (
	caLife   = 20 * 365 * 24 * time.Hour
	hostLife = 365 * 24 * time.Hour
	behind   = 24 * time.Hour
)

// RenewBefore is how long before its end a certificate is to be renewed.
const RenewBefore = 30 * 24 * time.Hour

// Names of files in the secrets of a cluster.
const (
	caCertName = "image-service-ca.crt"
	caKeyName  = "image-service-ca.key"
)

func hostNames(address string) (cert, key string) {
	name := "image-service-" + fileName(address)
	return name + ".crt", name + ".key"
}

// fileName makes a file name of an address; different ones stay different.
func fileName(address string) string {
	var b []byte
	for _, c := range []byte(address) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-':
			b = append(b, c)
		default:
			b = append(b, fmt.Sprintf("_%02x", c)...)
		}
	}
	return string(b)
}

// Secrets is the folder of a cluster that nobody but its owner reads.
type Secrets interface {
	// Read returns a file, or an error wrapping fs.ErrNotExist.
	Read(name string) ([]byte, error)
	// Write writes a file, readable by its owner only, whole or not at all.
	Write(name string, data []byte) error
}

// Pair is a certificate with its private key, in PEM.
type Pair struct{ Cert, Key []byte }

// CA signs the certificates of a cluster's hosts. Its key stays on the client.
type CA struct {
	pair Pair
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewCA makes the CA of a cluster.
func NewCA(cluster string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA of the image service: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "sealrt image service of " + cluster},
		NotBefore: now.Add(-behind), NotAfter: now.Add(caLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	pair, err := sign(t, t, key, key)
	if err != nil {
		return nil, fmt.Errorf("make the CA of the image service: %w", err)
	}
	return ParseCA(pair)
}

// ParseCA reads a CA.
func ParseCA(p Pair) (*CA, error) {
	cert, err := parseCert(p.Cert)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(p.Key)
	if block == nil {
		return nil, errors.New("the CA of the image service: its key is no PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key of the image service's CA: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the CA of the image service: its key is of another certificate")
	}
	return &CA{pair: p, cert: cert, key: key}, nil
}

// Certificate returns what hosts verify each other by, in PEM.
func (ca *CA) Certificate() []byte { return ca.pair.Cert }

// Check returns when a host's certificate, in PEM, ceases to count, and why the
// other hosts would refuse it now: nil if they would not.
func (ca *CA) Check(host []byte, now time.Time) (expires time.Time, refused error) {
	cert, err := parseCert(host)
	if err != nil {
		return time.Time{}, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}})
	return cert.NotAfter, err
}

// Issue makes the certificate of a host that is reached by names, which are IP
// addresses or host names; the loopback addresses are added. It counts a year.
func (ca *CA) Issue(host string, names []string, now time.Time) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: %w", host, err)
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: host},
		NotBefore: now.Add(-behind), NotAfter: now.Add(hostLife),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	t.IPAddresses, t.DNSNames = alternatives(names)
	pair, err := sign(t, ca.cert, key, ca.key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate of %s: %w", host, err)
	}
	return pair, nil
}

// alternatives sorts names into addresses and host names, those of loopback with
// them.
func alternatives(names []string) (ips []net.IP, dns []string) {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(names), "127.0.0.1", "::1", "localhost")))) {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else if name != "" {
			dns = append(dns, name)
		}
	}
	return ips, dns
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f        // positive
	return new(big.Int).SetBytes(b)
}

func sign(t, parent *x509.Certificate, key, by *ecdsa.PrivateKey) (Pair, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, parent, &key.PublicKey, by)
	if err != nil {
		return Pair{}, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
	}, nil
}

func parseCert(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// LoadCA returns the CA of a cluster from its secrets; made is true when there was
// none, and a new one was made and is to be kept with Keep.
func LoadCA(s Secrets, cluster string, now time.Time) (ca *CA, made bool, err error) {
	p, err := readPair(s, caCertName, caKeyName)
	if errors.Is(err, fs.ErrNotExist) {
		ca, err = NewCA(cluster, now)
		return ca, true, err
	}
	if err != nil {
		return nil, false, fmt.Errorf("the CA of the image service: %w", err)
	}
	ca, err = ParseCA(p)
	return ca, false, err
}

// Keep writes the CA to the secrets of its cluster.
func (ca *CA) Keep(s Secrets) error { return writePair(s, caCertName, caKeyName, ca.pair) }

// LoadHost returns the certificate of the host at an address as it was issued; ok
// is false where there is none, or none that this CA signed, that has all the
// names and counts for longer than RenewBefore.
func (ca *CA) LoadHost(s Secrets, address string, names []string, now time.Time) (p Pair, ok bool, err error) {
	cert, key := hostNames(address)
	p, err = readPair(s, cert, key)
	if errors.Is(err, fs.ErrNotExist) {
		return Pair{}, false, nil
	}
	if err != nil {
		return Pair{}, false, err
	}
	c, err := parseCert(p.Cert)
	if err != nil {
		return Pair{}, false, fmt.Errorf("%s: %w", cert, err)
	}
	ips, dns := alternatives(names)
	for _, name := range dns {
		if !slices.Contains(c.DNSNames, name) {
			return Pair{}, false, nil
		}
	}
	for _, ip := range ips {
		if !slices.ContainsFunc(c.IPAddresses, ip.Equal) {
			return Pair{}, false, nil
		}
	}
	return p, c.CheckSignatureFrom(ca.cert) == nil && now.Add(RenewBefore).Before(c.NotAfter), nil
}

// KeepHost writes the certificate of a host to the secrets of its cluster.
func KeepHost(s Secrets, address string, p Pair) error {
	cert, key := hostNames(address)
	return writePair(s, cert, key, p)
}

func readPair(s Secrets, cert, key string) (p Pair, err error) {
	if p.Cert, err = s.Read(cert); err != nil {
		return p, err
	}
	p.Key, err = s.Read(key)
	return p, err
}

// writePair writes the key first: without its certificate it is made anew.
func writePair(s Secrets, cert, key string, p Pair) error {
	if err := s.Write(key, p.Key); err != nil {
		return err
	}
	return s.Write(cert, p.Cert)
}
