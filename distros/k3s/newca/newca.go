// Package newca makes CAs that take the place of those of a k3s cluster.
//
// For each CA there is a root that the old root vouches for, and a CA below it
// which signs. The bundle holds both, the root once more as the old one signed it,
// and the old one: who knows only the old CA takes certificates of the new one,
// and the other way round, until the old one ends
// (https://docs.k3s.io/cli/certificate, "Rotating Self-Signed CA Certificates").
package newca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/certificates"
)

// life is how long new CAs count, and behind how far a clock may be behind.
const (
	life   = 20 * 365 * 24 * time.Hour
	behind = 24 * time.Hour
)

// kinds are the CAs of k3s, by their files without -ca.crt and -ca.key.
var kinds = [...]string{"client", "server", "request-header", "etcd/peer", "etcd/server"} //nolint:gochecknoglobals // a table that nothing changes

// serviceKey signs the tokens of service accounts; a new one is put before those
// that tokens were signed with.
const serviceKey = "service.key"

// authority is a CA with its key.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Make makes a new CA for each in the directory from, and puts certificates and
// keys into the directory to, readable by their owner only.
func Make(from, to string, now time.Time) error {
	for _, kind := range kinds {
		old, err := rootOf(filepath.Join(from, kind+"-ca"))
		if err != nil {
			return fmt.Errorf("the CA %s: %w", kind, err)
		}
		cert, key, err := follow(old, "k3s-"+strings.ReplaceAll(kind, "/", "-"), now)
		if err != nil {
			return fmt.Errorf("a new CA %s: %w", kind, err)
		}
		if err := write(filepath.Join(to, kind+"-ca.crt"), cert); err != nil {
			return err
		}
		if err := write(filepath.Join(to, kind+"-ca.key"), key); err != nil {
			return err
		}
	}
	old, err := os.ReadFile(filepath.Join(from, serviceKey))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return fmt.Errorf("a new %s: %w", serviceKey, err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(fresh)})
	return write(filepath.Join(to, serviceKey), append(block, old...))
}

func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}

// rootOf reads the root of a CA: the CA itself, or the second of a bundle, whose
// key is the second too.
func rootOf(name string) (authority, error) {
	certs, err := blocks(name+".crt", "CERTIFICATE")
	if err != nil {
		return authority{}, err
	}
	keys, err := blocks(name+".key", "PRIVATE KEY")
	if err != nil {
		return authority{}, err
	}
	i := 0
	if len(certs) > 1 {
		i = 1
	}
	if len(keys) <= i {
		return authority{}, fmt.Errorf("%s.key does not hold the key of the root: it is kept elsewhere, and has to sign the new CA there (k3s certificate rotate-ca)", name)
	}
	root := authority{}
	if root.cert, err = x509.ParseCertificate(certs[i].Bytes); err != nil {
		return root, fmt.Errorf("%s.crt: %w", name, err)
	}
	if root.key, err = certificates.ParseKey(pem.EncodeToMemory(keys[i])); err != nil {
		return root, fmt.Errorf("%s.key: %w", name, err)
	}
	public, ok := root.key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(root.cert.PublicKey) {
		return root, fmt.Errorf("%s.key is not the key of the root in %s.crt", name, name)
	}
	return root, nil
}

// blocks returns the PEM blocks of a kind in a file; there is at least one.
func blocks(name, kind string) ([]*pem.Block, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var out []*pem.Block
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, kind) {
			out = append(out, block)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s holds no %s", name, strings.ToLower(kind))
	}
	return out, nil
}

// follow makes the CA that comes after an old root, as the text of its bundle and
// of its keys.
func follow(old authority, name string, now time.Time) (cert, key []byte, err error) {
	stamp := fmt.Sprintf("@%d", now.Unix())
	root, err := fresh()
	if err != nil {
		return nil, nil, err
	}
	below, err := fresh()
	if err != nil {
		return nil, nil, err
	}
	t := template(name+"-root"+stamp, now)
	self, err := sign(t, root.Public(), authority{t, root})
	if err != nil {
		return nil, nil, err
	}
	crossed, err := sign(t, root.Public(), old)
	if err != nil {
		return nil, nil, err
	}
	signing, err := sign(template(name+"-ca"+stamp, now), below.Public(), authority{self, root})
	if err != nil {
		return nil, nil, err
	}
	for _, c := range []*x509.Certificate{signing, self, crossed, old.cert} {
		cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	for _, k := range []*ecdsa.PrivateKey{below, root} {
		raw, err := x509.MarshalECPrivateKey(k)
		if err != nil {
			return nil, nil, err
		}
		key = append(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})...)
	}
	return cert, key, nil
}

func fresh() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func template(name string, now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-behind), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
}

func sign(t *x509.Certificate, public crypto.PublicKey, by authority) (*x509.Certificate, error) {
	c := *t
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	c.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, &c, by.cert, public, by.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
