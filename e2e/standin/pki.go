package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// pair is a certificate, with those that vouch for it, and its key, in PEM.
type pair struct{ Cert, Key []byte }

// How long certificates count, and when they are renewed at a start.
const (
	caYears  = 10
	leafDays = 365
	renewAt  = 90 * 24 * time.Hour
)

// leaf is what a certificate is for.
type leaf struct {
	ca    string // the CA that signs it, one of authorities
	name  string // its subject's common name
	group string
	sans  []string
}

// newAuthority makes a CA of its own.
func newAuthority(name string) (pair, error) {
	return signed(&x509.Certificate{
		Subject: pkix.Name{CommonName: "k3s-" + name + "-ca@" + random()[:8]}, NotAfter: time.Now().AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}, nil)
}

// issue makes a certificate, which is followed by the chain of its CA.
func (p pair) issue(l leaf) (pair, error) {
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: l.name}, NotAfter: time.Now().Add(leafDays * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if l.group != "" {
		t.Subject.Organization = []string{l.group}
	}
	for _, n := range l.sans {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	out, err := signed(t, &p)
	out.Cert = append(out.Cert, p.Cert...)
	return out, err
}

// signed makes a key for a certificate, which the CA signs; nil: it signs itself.
func signed(t *x509.Certificate, by *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, err
	}
	t.SerialNumber, t.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Minute)
	parent, signer := t, any(key)
	if by != nil {
		ca, err := tls.X509KeyPair(by.Cert, by.Key)
		if err != nil {
			return pair{}, err
		}
		if parent, err = x509.ParseCertificate(ca.Certificate[0]); err != nil {
			return pair{}, err
		}
		signer = ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return pair{}, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	return pair{pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})}, err
}

// chain reads the certificates in PEM.
func chain(raw []byte) (out []*x509.Certificate, err error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// current reports whether a certificate is signed by the CA and counts for a while.
func (p pair) current(ca pair, sans []string) bool {
	if _, err := tls.X509KeyPair(p.Cert, p.Key); err != nil {
		return false
	}
	own, err := chain(p.Cert)
	if err != nil {
		return false
	}
	issuer, err := chain(ca.Cert)
	if err != nil || own[0].CheckSignatureFrom(issuer[0]) != nil || time.Until(own[0].NotAfter) < renewAt {
		return false
	}
	for _, n := range sans {
		if own[0].VerifyHostname(n) != nil {
			return false
		}
	}
	return true
}

// rotated says why a new CA cannot take the place of the old one: hosts that know
// only the old one have to take what the new one signs, or its bundle has to hold
// the old one.
func rotated(old, fresh pair) string {
	before, err := chain(old.Cert)
	if err != nil || len(before) == 0 {
		return "the old bundle cannot be read"
	}
	bundle, err := chain(fresh.Cert)
	if err != nil || len(bundle) == 0 {
		return "the new bundle cannot be read"
	}
	if _, err := tls.X509KeyPair(fresh.Cert, fresh.Key); err != nil {
		return err.Error()
	}
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range before {
		roots.AddCert(c)
	}
	for _, c := range bundle[1:] {
		middle.AddCert(c)
	}
	if _, err := bundle[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return "the new CA is not vouched for by the old one: " + err.Error()
	}
	return ""
}
