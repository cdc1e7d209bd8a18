package trust

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/sealrt/sealrt/artifact"
)

// signer signs as cosign does.
type signer struct {
	signature.Signer
	key *Key
}

func newSigner(t *testing.T, name string, private crypto.Signer) signer {
	t.Helper()
	s, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(name, pem)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, key}
}

func newECDSA(t *testing.T, name string) signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newSigner(t, name, private)
}

func (s signer) sign(t *testing.T, message []byte) []byte {
	t.Helper()
	sig, err := s.SignMessage(bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// blobs is a source in memory.
type blobs map[v1.Hash][]byte

func (blobs) Resolve(context.Context, artifact.Reference) (v1.Descriptor, error) {
	return v1.Descriptor{}, artifact.ErrNotFound
}

func (b blobs) Open(_ context.Context, _ artifact.Reference, d v1.Descriptor, _ int64) (io.ReadCloser, error) {
	content, ok := b[d.Digest]
	if !ok {
		return nil, artifact.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(content)), nil
}

func (b blobs) put(mt string, content []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: types.MediaType(mt), Size: int64(len(content)),
		Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(content))}}
	b[d.Digest] = content
	return d
}

// attach makes a manifest with one layer.
func (b blobs) attach(t *testing.T, mt string, content []byte, annotations map[string]string) artifact.Named {
	t.Helper()
	l := b.put(mt, content)
	l.Annotations = annotations
	raw, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: b.put("application/vnd.oci.empty.v1+json", []byte("{}")), Layers: []v1.Descriptor{l}})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := artifact.ParseReference("example.com/app:sha256-x.sig")
	if err != nil {
		t.Fatal(err)
	}
	return artifact.Named{Ref: ref, Desc: b.put(string(types.OCIManifestSchema1), raw)}
}

// simpleSigning is the JSON that cosign signs.
func simpleSigning(kind string, h v1.Hash) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":"example.com/app"},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, h, kind)
}

const cosign = "cosign container image signature"

func (b blobs) simple(t *testing.T, s signer, content []byte) artifact.Named {
	t.Helper()
	return b.attach(t, mediaTypePayload, content, map[string]string{
		annotationSignature: base64.StdEncoding.EncodeToString(s.sign(t, content)),
	})
}

// statementOf is an in-toto statement about images.
func statementOf(predicate string, hashes ...v1.Hash) []byte {
	var subjects []string
	for _, h := range hashes {
		subjects = append(subjects, fmt.Sprintf(`{"digest":{"sha256":%q},"annotations":{}}`, h.Hex))
	}
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[%s],"predicateType":%q,"predicate":{}}`,
		strings.Join(subjects, ","), predicate)
}

// envelope is a bundle with a signed statement.
func (b blobs) envelope(t *testing.T, s signer, payloadType string, content []byte) artifact.Named {
	t.Helper()
	return b.bundle(t, map[string]any{"dsseEnvelope": dsse.Envelope{
		PayloadType: payloadType, Payload: base64.StdEncoding.EncodeToString(content),
		Signatures: []dsse.Signature{{KeyID: "a hint", Sig: base64.StdEncoding.EncodeToString(s.sign(t, dsse.PAE(payloadType, content)))}},
	}})
}

func (b blobs) bundle(t *testing.T, content any) artifact.Named {
	t.Helper()
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return b.attach(t, mediaTypeBundle+".v0.3+json", raw, nil)
}

// message is a bundle with a signature of a manifest.
func (b blobs) message(t *testing.T, s signer, manifest []byte, h v1.Hash) artifact.Named {
	t.Helper()
	digest := sha256.Sum256(manifest)
	if h.Hex != "" {
		if _, err := hex.Decode(digest[:], []byte(h.Hex)); err != nil {
			t.Fatal(err)
		}
	}
	return b.bundle(t, map[string]any{"messageSignature": map[string]any{
		"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": digest[:]}, "signature": s.sign(t, manifest),
	}})
}

func TestVerify(t *testing.T) {
	b := blobs{}
	mine, theirs, second := newECDSA(t, "mine.pub"), newECDSA(t, "theirs.pub"), newECDSA(t, "second.pub")
	manifest := []byte(`{"the":"manifest"}`)
	index := b.put(string(types.OCIImageIndex), []byte(`{"the":"index"}`))
	image := b.put(string(types.OCIManifestSchema1), manifest)
	other := b.put(string(types.OCIManifestSchema1), []byte(`{"another":"manifest"}`))
	tampered := b.simple(t, mine, simpleSigning(cosign, other.Digest))
	tampered = b.attach(t, mediaTypePayload, simpleSigning(cosign, image.Digest), map[string]string{annotationSignature: signatureOf(t, b, tampered)})
	gone := b.simple(t, mine, simpleSigning(cosign, image.Digest))
	delete(b, gone.Desc.Digest)
	for name, tt := range map[string]struct {
		found []artifact.Named
		err   error
		want  string // part of the error; "" for none
	}{
		"the manifest is signed":           {found: []artifact.Named{b.simple(t, mine, simpleSigning(cosign, image.Digest))}},
		"the index is signed":              {found: []artifact.Named{b.simple(t, mine, simpleSigning(cosign, index.Digest))}},
		"by the second key":                {found: []artifact.Named{b.simple(t, second, simpleSigning(cosign, index.Digest))}},
		"one of many":                      {found: []artifact.Named{b.simple(t, theirs, simpleSigning(cosign, image.Digest)), gone, b.simple(t, mine, simpleSigning(cosign, image.Digest))}},
		"some could not be looked for":     {found: []artifact.Named{b.simple(t, mine, simpleSigning(cosign, image.Digest))}, err: errors.New("500")},
		"a bundle with a statement":        {found: []artifact.Named{b.envelope(t, mine, payloadStatement, statementOf(predicateSign, image.Digest))}},
		"a bundle with a message":          {found: []artifact.Named{b.message(t, mine, manifest, v1.Hash{})}},
		"nothing":                          {want: "app:1: it has no signature, one by mine.pub or second.pub is required: sign it with `cosign sign --key KEY example.com/app@" + index.Digest.String() + "`"},
		"by another key":                   {found: []artifact.Named{b.simple(t, theirs, simpleSigning(cosign, image.Digest))}, want: "it has a signature, none by mine.pub or second.pub"},
		"by others":                        {found: []artifact.Named{b.simple(t, theirs, simpleSigning(cosign, image.Digest)), b.envelope(t, theirs, payloadStatement, statementOf(predicateSign, image.Digest))}, want: "it has 2 signatures, none by"},
		"of another image":                 {found: []artifact.Named{b.simple(t, mine, simpleSigning(cosign, other.Digest))}, want: "mine.pub signed " + other.Digest.String() + " instead"},
		"a statement on another image":     {found: []artifact.Named{b.envelope(t, mine, payloadStatement, statementOf(predicateSign, other.Digest))}, want: "mine.pub signed " + other.Digest.String() + " instead"},
		"a payload of another kind":        {found: []artifact.Named{b.simple(t, mine, simpleSigning("atomic container signature", image.Digest))}, want: `the payload is a "atomic container signature"`},
		"an attestation":                   {found: []artifact.Named{b.envelope(t, mine, payloadStatement, statementOf("https://slsa.dev/provenance/v1", image.Digest))}, want: "what is attached to it is no signature of an image"},
		"an envelope of another type":      {found: []artifact.Named{b.envelope(t, mine, "text/plain", statementOf(predicateSign, image.Digest))}, want: "no signature of an image"},
		"a statement about two images":     {found: []artifact.Named{b.envelope(t, mine, payloadStatement, statementOf(predicateSign, image.Digest, other.Digest))}, want: "about 2 things"},
		"a statement by another":           {found: []artifact.Named{b.envelope(t, theirs, payloadStatement, statementOf(predicateSign, image.Digest))}, want: "none by mine.pub"},
		"a message by another":             {found: []artifact.Named{b.message(t, theirs, manifest, v1.Hash{})}, want: "none by mine.pub"},
		"a message of other bytes":         {found: []artifact.Named{b.message(t, mine, []byte("x"), image.Digest)}, want: "none by mine.pub"},
		"a changed payload":                {found: []artifact.Named{tampered}, want: "none by mine.pub"},
		"no base64":                        {found: []artifact.Named{b.attach(t, mediaTypePayload, simpleSigning(cosign, image.Digest), map[string]string{annotationSignature: "%"})}, want: "no signature that can be read"},
		"no signature in the annotations":  {found: []artifact.Named{b.attach(t, mediaTypePayload, simpleSigning(cosign, image.Digest), nil)}, want: "none by mine.pub"},
		"an empty bundle":                  {found: []artifact.Named{b.bundle(t, map[string]any{})}, want: "the bundle holds no signature"},
		"something else":                   {found: []artifact.Named{b.attach(t, "application/spdx+json", []byte("{}"), nil)}, want: "what is attached to it is no signature of an image"},
		"signatures that are gone":         {found: []artifact.Named{gone}, want: "no signature that can be read: not found"},
		"a registry that does not answer":  {err: errors.New("503 Service Unavailable"), want: "503 Service Unavailable"},
		"a manifest that is damaged":       {found: []artifact.Named{{Ref: gone.Ref, Desc: b.put("", []byte("{"))}}, want: "no signature that can be read"},
		"a payload that is no JSON":        {found: []artifact.Named{b.simple(t, mine, []byte("hello"))}, want: "payload: "},
		"a payload with a strange digest":  {found: []artifact.Named{b.simple(t, mine, simpleSigning(cosign, v1.Hash{Algorithm: "sha256", Hex: "0"}))}, want: "wrong number of hex digits"},
		"an envelope that is no base64":    {found: []artifact.Named{b.bundle(t, map[string]any{"dsseEnvelope": map[string]any{"payload": "%"}})}, want: "no signature that can be read"},
		"an envelope without a signature":  {found: []artifact.Named{b.bundle(t, map[string]any{"dsseEnvelope": dsse.Envelope{PayloadType: payloadStatement, Payload: base64.StdEncoding.EncodeToString(statementOf(predicateSign, image.Digest))}})}, want: "none by mine.pub"},
		"the manifest that has no subject": {found: []artifact.Named{b.message(t, mine, []byte(`{"another":"manifest"}`), v1.Hash{})}, want: "no signature of an image"},
	} {
		t.Run(name, func(t *testing.T) {
			ref, err := artifact.ParseReference("example.com/app:1@" + index.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			err = Keys{mine.key, second.key}.Verify(t.Context(), Image{Ref: ref, Subjects: []v1.Descriptor{index, image}, Signatures: tt.found, Source: b, Err: tt.err})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestASignatureThatCannotBeReadDoesNotHideTheOthersUnderItsTag(t *testing.T) {
	b, mine := blobs{}, newECDSA(t, "mine.pub")
	d := b.put(string(types.OCIManifestSchema1), []byte(`{"the":"manifest"}`))
	good := b.put(mediaTypePayload, simpleSigning(cosign, d.Digest))
	good.Annotations = map[string]string{annotationSignature: signatureOf(t, b, b.simple(t, mine, simpleSigning(cosign, d.Digest)))}
	bad := good
	bad.Annotations = map[string]string{annotationSignature: "%"}
	lost := v1.Descriptor{MediaType: mediaTypeEnvelope, Size: 1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}}
	ref, err := artifact.ParseReference("example.com/app:1@" + d.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	for name, layers := range map[string][]v1.Descriptor{"before": {bad, lost, good}, "after": {good, bad, lost}} {
		raw, err := json.Marshal(v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: good, Layers: layers})
		if err != nil {
			t.Fatal(err)
		}
		img := Image{Ref: ref, Subjects: []v1.Descriptor{d}, Source: b, Signatures: []artifact.Named{{Ref: ref, Desc: b.put(string(types.OCIManifestSchema1), raw)}}}
		if err := (Keys{mine.key}).Verify(t.Context(), img); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// signatureOf returns the annotation of a signature.
func signatureOf(t *testing.T, b blobs, n artifact.Named) string {
	t.Helper()
	var m v1.Manifest
	if err := json.Unmarshal(b[n.Desc.Digest], &m); err != nil {
		t.Fatal(err)
	}
	return m.Layers[0].Annotations[annotationSignature]
}

func TestKinds(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, private := range map[string]crypto.Signer{"RSA": small, "ECDSA P-384": wide, "Ed25519": edwards} {
		t.Run(name, func(t *testing.T) {
			s := newSigner(t, "k.pub", private)
			sized, err := signature.LoadDefaultSigner(private)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []signer{s, {sized, s.key}} {
				if !s.key.verify(s.sign(t, []byte("text")), []byte("text")) {
					t.Errorf("what %T signed is refused", s.Signer)
				}
				if s.key.verify(s.sign(t, []byte("text")), []byte("other")) {
					t.Errorf("what %T did not sign is taken", s.Signer)
				}
			}
		})
	}
}

func TestLoadKeySaysWhatIsWrong(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := cryptoutils.MarshalPublicKeyToPEM(weak.Public())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, tt := range map[string]struct{ content, want string }{
		"private":  {"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "this is the private key"},
		"no PEM":   {"hello", "name a public key in PEM, such as cosign.pub"},
		"nonsense": {"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "name a public key in PEM"},
		"weak":     {string(pem), "sign with a stronger key"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name)
			if err := os.WriteFile(file, []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := LoadKey(file); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := LoadKey(filepath.Join(dir, "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
