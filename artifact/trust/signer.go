package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
)

// Types of the PEM blocks that cosign keeps encrypted private keys in. The first
// is the one that it writes today.
const (
	pemSigstore = "ENCRYPTED SIGSTORE PRIVATE KEY"
	pemCosign   = "ENCRYPTED COSIGN PRIVATE KEY"
)

// KeyType is a kind of key pair.
type KeyType string

const (
	ECDSA   KeyType = "ecdsa" // on the curve P-256, as cosign makes them
	Ed25519 KeyType = "ed25519"
)

// GenerateKey makes a key pair in the form of cosign's: the private key encrypted
// with the passphrase, which may be empty, and the public key, both in PEM.
func GenerateKey(kind KeyType, passphrase []byte) (private, public []byte, err error) {
	key, err := newPrivateKey(kind)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	sealed, err := encrypted.Encrypt(der, passphrase)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	if public, err = cryptoutils.MarshalPublicKeyToPEM(key.Public()); err != nil {
		return nil, nil, fmt.Errorf("make a key pair: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemSigstore, Bytes: sealed}), public, nil
}

func newPrivateKey(kind KeyType) (crypto.Signer, error) {
	switch kind {
	case ECDSA:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("key type %q: it is one of %s, %s", kind, ECDSA, Ed25519)
}

// Signer is a private key that signs images.
type Signer struct {
	private crypto.Signer
	key     *Key
	hint    string
}

// LoadSigner reads an encrypted private key from a file such as cosign.key.
// passphrase is called once, when the file holds such a key.
func LoadSigner(file string, passphrase func() ([]byte, error)) (*Signer, error) {
	b, err := readKey(file)
	if err != nil {
		return nil, err
	}
	return ParseSigner(file, b, passphrase)
}

// ErrPassphrase is wrapped by the error of a key that a passphrase does not open.
var ErrPassphrase = errors.New("the passphrase does not open it")

// ParseSigner is LoadSigner for the content of a file; name stands for the key in
// errors, which never show any of it.
func ParseSigner(name string, text []byte, passphrase func() ([]byte, error)) (*Signer, error) {
	block, _ := pem.Decode(text)
	switch {
	case block == nil:
		return nil, fmt.Errorf("key %s: no key in PEM: name a private key such as cosign.key", name)
	case block.Type == "PUBLIC KEY":
		return nil, fmt.Errorf("key %s: this is the public key: name the private one, such as cosign.key", name)
	case block.Type != pemSigstore && block.Type != pemCosign:
		return nil, fmt.Errorf("key %s: a %q is not encrypted as cosign's keys are: make it one with `cosign import-key-pair --key %s`", name, block.Type, name)
	}
	secret, err := passphrase()
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	der, err := encrypted.Decrypt(block.Bytes, secret)
	if err != nil { // the cause says no more than that
		return nil, fmt.Errorf("key %s: %w", name, ErrPassphrase)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("key %s: what is encrypted is no private key in PKCS #8", name)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key %s: a %T does not sign", name, parsed)
	}
	return newSignerOf(name, private)
}

// newSignerOf makes a signer of a key.
func newSignerOf(name string, private crypto.Signer) (*Signer, error) {
	public, err := cryptoutils.MarshalPublicKeyToPEM(private.Public())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	key, err := ParseKey(name, public)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	h := sha256.Sum256(der)
	return &Signer{private: private, key: key, hint: base64.StdEncoding.EncodeToString(h[:])}, nil
}

// Key returns the public key.
func (s *Signer) Key() *Key { return s.key }

// sign signs a message in the way that cosign takes for granted when it is given
// a key: with SHA-256, and Ed25519 without a hash. The same message gives the same
// signature (RFC 6979, RFC 8032).
func (s *Signer) sign(message []byte) ([]byte, error) {
	if edwards, ok := s.private.(ed25519.PrivateKey); ok {
		return ed25519.Sign(edwards, message), nil
	}
	h := sha256.Sum256(message)
	sig, err := s.private.Sign(nil, h[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", s.key.name, err)
	}
	return sig, nil
}
