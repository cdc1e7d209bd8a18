package certificates

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// maxFile is how large a file with certificates may be.
const maxFile = 4 << 20

// errNone says that a file holds no certificate.
var errNone = errors.New("it holds no certificate")

// Files reads the files that patterns (path/filepath.Match) name: PEM, kubeconfigs,
// and Secrets of type kubernetes.io/tls in JSON or YAML. A pattern that nothing
// fits has none. The key is in the same file, or in one whose name ends in .key
// instead. A file that cannot be read has its Error.
func Files(patterns []string) ([]Certificate, error) {
	var names []string
	for _, p := range patterns {
		found, err := filepath.Glob(p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	var out []Certificate
	for _, name := range slices.Compact(names) {
		c, err := File(name)
		if err != nil {
			c.Error = err.Error()
		}
		c.Source = name
		out = append(out, c)
	}
	return out, nil
}

// File reads one file. Where there is none the error wraps fs.ErrNotExist.
func File(name string) (Certificate, error) {
	raw, err := readSmall(name)
	if err != nil {
		return Certificate{}, err
	}
	cert, key, err := pairIn(raw)
	if err != nil {
		return Certificate{}, err
	}
	parsed, err := first(cert)
	if err != nil {
		return Certificate{}, err
	}
	c := describe(parsed)
	if len(key) == 0 {
		if key, err = beside(name); err != nil {
			return c, err
		}
	}
	c.Key = belongs(key, parsed)
	return c, nil
}

func readSmall(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(raw) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", name, maxFile>>20)
	}
	return raw, err
}

// beside reads the key that lies beside a file.
func beside(name string) ([]byte, error) {
	raw, err := readSmall(strings.TrimSuffix(name, filepath.Ext(name)) + ".key")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return raw, err
}

// document is what kubeconfigs and Secrets have of certificates.
type document struct {
	Users []struct {
		User struct {
			Cert []byte `json:"client-certificate-data"`
			Key  []byte `json:"client-key-data"`
		} `json:"user"`
	} `json:"users"`
	Data struct {
		Cert []byte `json:"tls.crt"`
		Key  []byte `json:"tls.key"`
	} `json:"data"`
}

// pairIn returns the PEM of the certificates in a file, and of a key.
func pairIn(raw []byte) (cert, key []byte, err error) {
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN ")) || bytes.Contains(raw, []byte("\n-----BEGIN ")) {
		return raw, keyBlock(raw), nil
	}
	var d document
	if err := yaml.Unmarshal(raw, &d); err != nil {
		return nil, nil, errNone
	}
	for _, u := range d.Users {
		if len(u.User.Cert) > 0 {
			return u.User.Cert, u.User.Key, nil
		}
	}
	if len(d.Data.Cert) > 0 {
		return d.Data.Cert, d.Data.Key, nil
	}
	return nil, nil, errNone
}

// first returns the first certificate in PEM.
func first(raw []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
	}
	return nil, errNone
}

// keyBlock returns the first private key in PEM, or nil.
func keyBlock(raw []byte) []byte {
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return pem.EncodeToMemory(block)
		}
	}
	return nil
}

// Parse returns the first certificate in PEM.
func Parse(raw []byte) (Certificate, error) {
	c, err := first(raw)
	if err != nil {
		return Certificate{}, err
	}
	return describe(c), nil
}

// belongs says whether a key is that of a certificate.
func belongs(raw []byte, cert *x509.Certificate) Key {
	if len(raw) == 0 {
		return NoKey
	}
	signer, err := ParseKey(raw)
	if err != nil {
		return Differs
	}
	public, ok := signer.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(cert.PublicKey) {
		return Differs
	}
	return Matches
}

// ParseKey returns the first private key in PEM: PKCS #8, PKCS #1 or SEC 1.
func ParseKey(raw []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(keyBlock(raw))
	if block == nil {
		return nil, errors.New("there is no private key")
	}
	if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the private key is of a kind that is not known")
	}
	signer, ok := k.(crypto.Signer)
	if !ok {
		return nil, errors.New("the private key is of a kind that signs nothing")
	}
	return signer, nil
}
