package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// maxKey bounds the bytes of a file with a key.
const maxKey = 1 << 20

// Key is a public key of somebody who signs images.
type Key struct {
	name   string
	public crypto.PublicKey
	// verifiers are the ways in which the key signs: always SHA-256 with the
	// keys of cosign, the hash of the key's size with others.
	verifiers []signature.Verifier
}

// LoadKey reads a public key from a PEM file such as cosign.pub.
func LoadKey(file string) (*Key, error) {
	b, err := readKey(file)
	if err != nil {
		return nil, err
	}
	return ParseKey(file, b)
}

// readKey returns the text of a key's file.
func readKey(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	return b, nil
}

// ParseKey reads a public key in PEM: ECDSA, RSA or Ed25519. name stands for the
// key in errors.
func ParseKey(name string, pem []byte) (*Key, error) {
	if bytes.Contains(pem, []byte("PRIVATE KEY")) {
		return nil, fmt.Errorf("key %s: this is the private key: name the public one, such as cosign.pub", name)
	}
	public, err := cryptoutils.UnmarshalPEMToPublicKey(pem)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w: name a public key in PEM, such as cosign.pub", name, err)
	}
	if err := cryptoutils.ValidatePubKey(public); err != nil { //nolint:staticcheck // what it is deprecated for checks certificates, with a library of its own
		return nil, fmt.Errorf("key %s: %w: sign with a stronger key", name, err)
	}
	k := &Key{name: name, public: public}
	usual, err := signature.LoadVerifier(public, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", name, err)
	}
	k.verifiers = append(k.verifiers, usual)
	sized, err := signature.LoadDefaultVerifier(public)
	if err == nil {
		k.verifiers = append(k.verifiers, sized)
	}
	if edwards, ok := public.(ed25519.PublicKey); ok {
		hashed, err := signature.LoadED25519phVerifier(edwards)
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", name, err)
		}
		k.verifiers = append(k.verifiers, hashed)
	}
	return k, nil
}

// Name returns what stands for the key in errors and reports.
func (k *Key) Name() string { return k.name }

// Named returns the key with another name.
func (k *Key) Named(name string) *Key {
	named := *k
	named.name = name
	return &named
}

// verify reports whether the key signed a message.
func (k *Key) verify(sig, message []byte) bool {
	for _, v := range k.verifiers {
		if v.VerifySignature(bytes.NewReader(sig), bytes.NewReader(message)) == nil {
			return true
		}
	}
	return false
}

// envelopes makes a key a verifier of DSSE envelopes.
type envelopes struct{ *Key }

// Verify implements dsse.Verifier.
func (e envelopes) Verify(_ context.Context, data, sig []byte) error {
	if !e.verify(sig, data) {
		return errors.New("another key")
	}
	return nil
}

// KeyID implements dsse.Verifier. What an envelope says about that is a hint
// that nobody signed.
func (envelopes) KeyID() (string, error) { return "", nil }

// Public implements dsse.Verifier.
func (e envelopes) Public() crypto.PublicKey { return e.public }

// opens reports whether the key signed an envelope (DSSE protocol.md).
func (k *Key) opens(ctx context.Context, e dsse.Envelope) bool {
	v, err := dsse.NewEnvelopeVerifier(envelopes{k})
	if err != nil {
		return false
	}
	e.Signatures = append([]dsse.Signature{}, e.Signatures...)
	for i := range e.Signatures {
		e.Signatures[i].KeyID = ""
	}
	_, err = v.Verify(ctx, &e)
	return err == nil
}
