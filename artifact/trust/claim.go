package trust

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/sealrt/sealrt/artifact"
)

// What cosign writes: payloads as its SIGNATURE_SPEC.md has them, envelopes as
// its ATTESTATION_SPEC.md does, and bundles as sigstore's protobuf-specs and
// "Cosign Bundle" specification do.
const (
	mediaTypePayload      = "application/vnd.dev.cosign.simplesigning.v1+json"
	mediaTypeEnvelope     = "application/vnd.dsse.envelope.v1+json"
	mediaTypeBundle       = "application/vnd.dev.sigstore.bundle" // and a version
	mediaTypeBundle03     = mediaTypeBundle + ".v0.3+json"
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	payloadStatement      = "application/vnd.in-toto+json"
	predicateSign         = "https://sigstore.dev/cosign/sign/v1"
)

// claim is a signature: somebody says that something is theirs, or attests
// something about it.
type claim struct {
	form      Form
	verify    func(ctx context.Context, k *Key) bool
	text      []byte                               // what is signed; nil: the manifest of digests itself
	read      func(text []byte) ([]v1.Hash, error) // finds in it what is signed
	digests   []v1.Hash                            // of what is signed, after parse
	predicate string                               // the type of what is attested; "": a signature
	certified bool                                 // a certificate comes with it
}

// parse finds out what is signed. It is called when a key is found to have
// signed it, and not before; for attestations in any case, as their type is read
// anyway.
func (c *claim) parse() (err error) {
	if c.text != nil {
		c.digests, err = c.read(c.text)
	}
	return err
}

// readClaims reads the signatures in a manifest. There are none in a manifest of
// something else. One that cannot be read does not hide the others: they are
// returned beside the error.
func readClaims(ctx context.Context, img Image, n artifact.Named) ([]*claim, error) {
	ref := n.Ref.WithDigest(n.Desc.Digest)
	b, err := artifact.ReadManifest(ctx, img.Source, ref, n.Desc)
	if err != nil {
		return nil, err
	}
	var m v1.Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
	}
	var list []*claim
	var unread []error
	for _, l := range m.Layers {
		var c *claim
		var err error
		switch {
		case l.MediaType == mediaTypePayload:
			c, err = readPayload(ctx, img, ref, l)
		case l.MediaType == mediaTypeEnvelope:
			c, err = readEnvelopeLayer(ctx, img, ref, l)
		case strings.HasPrefix(string(l.MediaType), mediaTypeBundle):
			c, err = readBundle(ctx, img, ref, l)
		}
		if err != nil {
			unread = append(unread, fmt.Errorf("%s: %w", n.Ref.Familiar(), err))
			continue
		}
		if c != nil {
			list = append(list, c)
		}
	}
	return list, errors.Join(unread...)
}

// readPayload reads a layer whose signature is in its annotations.
func readPayload(ctx context.Context, img Image, ref artifact.Reference, l v1.Descriptor) (*claim, error) {
	sig, err := base64.StdEncoding.DecodeString(l.Annotations[annotationSignature])
	if err != nil {
		return nil, fmt.Errorf("signature of layer %s: %w", l.Digest, err)
	}
	text, err := artifact.ReadManifest(ctx, img.Source, ref, l)
	if err != nil {
		return nil, err
	}
	return &claim{
		form: Tag, certified: l.Annotations[annotationCertificate] != "",
		verify: func(_ context.Context, k *Key) bool { return k.verify(sig, text) },
		text:   text, read: digestOfPayload,
	}, nil
}

// digestOfPayload reads the JSON that cosign signs (containers-signature(5), "JSON data format").
func digestOfPayload(text []byte) ([]v1.Hash, error) {
	var p payload.SimpleContainerImage
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	if p.Critical.Type != payload.CosignSignatureType {
		return nil, fmt.Errorf("the payload is a %q, no %q", p.Critical.Type, payload.CosignSignatureType)
	}
	h, err := v1.NewHash(p.Critical.Image.DockerManifestDigest)
	return []v1.Hash{h}, err
}

// readEnvelopeLayer reads a layer that is an envelope, as cosign keeps them under
// a tag.
func readEnvelopeLayer(ctx context.Context, img Image, ref artifact.Reference, l v1.Descriptor) (*claim, error) {
	text, err := readEvidence(ctx, img.Source, ref, l)
	if err != nil {
		return nil, err
	}
	var e dsse.Envelope
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	c, err := readEnvelope(e)
	if c != nil {
		c.form, c.certified = Tag, l.Annotations[annotationCertificate] != ""
	}
	return c, err
}

// bundle is a signature with what is needed to check it (sigstore_bundle.proto).
type bundle struct {
	MediaType string         `json:"mediaType,omitempty"`
	Material  material       `json:"verificationMaterial"`
	Envelope  *dsse.Envelope `json:"dsseEnvelope,omitempty"`
	Message   *message       `json:"messageSignature,omitempty"`
}

// material is what a bundle says of who signed.
type material struct {
	PublicKey   *publicKey      `json:"publicKey,omitempty"`
	Certificate json.RawMessage `json:"certificate,omitempty"`
	Chain       json.RawMessage `json:"x509CertificateChain,omitempty"`
}

type publicKey struct {
	Hint string `json:"hint"`
}

// message is a signature of bytes that lie elsewhere.
type message struct {
	Digest struct {
		Digest []byte `json:"digest"`
	} `json:"messageDigest"`
	Signature []byte `json:"signature"`
}

// readBundle reads a layer that is a bundle.
func readBundle(ctx context.Context, img Image, ref artifact.Reference, l v1.Descriptor) (*claim, error) {
	text, err := readEvidence(ctx, img.Source, ref, l)
	if err != nil {
		return nil, err
	}
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	var c *claim
	switch {
	case b.Envelope != nil:
		c, err = readEnvelope(*b.Envelope)
	case b.Message != nil:
		c, err = readMessage(ctx, img, b.Message.Digest.Digest, b.Message.Signature)
	default:
		err = errors.New("the bundle holds no signature")
	}
	if c != nil {
		c.form, c.certified = Bundle, b.Material.Certificate != nil || b.Material.Chain != nil
	}
	return c, err
}

// statement is an in-toto statement (in-toto attestation spec v1, "Statement").
type statement struct {
	Type          string          `json:"_type"`
	Subject       []subject       `json:"subject"`
	PredicateType string          `json:"predicateType"`
	Predicate     json.RawMessage `json:"predicate"`
}

type subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations json.RawMessage   `json:"annotations,omitempty"`
}

// readEnvelope reads a signed statement about an image. What is no statement is
// no claim.
func readEnvelope(e dsse.Envelope) (*claim, error) {
	text, err := e.DecodeB64Payload()
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	s, ok := readStatement(text)
	if !ok || e.PayloadType != payloadStatement || s.PredicateType == "" {
		return nil, nil
	}
	c := &claim{verify: func(ctx context.Context, k *Key) bool { return k.opens(ctx, e) }, text: text, read: digestOfStatement}
	if s.PredicateType != predicateSign {
		c.predicate, c.read = s.PredicateType, digestsOfStatement
	}
	return c, nil
}

func readStatement(text []byte) (s statement, ok bool) {
	return s, json.Unmarshal(text, &s) == nil
}

// digestOfStatement reads what a signature is of.
func digestOfStatement(text []byte) ([]v1.Hash, error) {
	s, _ := readStatement(text)
	if len(s.Subject) != 1 {
		return nil, fmt.Errorf("the statement is about %d things, not one image", len(s.Subject))
	}
	return digestsOfStatement(text)
}

// digestsOfStatement reads what an attestation is about, which may be several
// things.
func digestsOfStatement(text []byte) ([]v1.Hash, error) {
	s, _ := readStatement(text)
	var list []v1.Hash
	for _, about := range s.Subject {
		h, err := v1.NewHash("sha256:" + about.Digest["sha256"])
		if err != nil {
			return nil, fmt.Errorf("what the statement is about: %w", err)
		}
		list = append(list, h)
	}
	return list, nil
}

// readMessage reads a signature of the bytes of a manifest. Of other bytes than
// those of a subject it cannot be checked, and is no claim.
func readMessage(ctx context.Context, img Image, digest, sig []byte) (*claim, error) {
	for _, s := range img.Subjects {
		if s.Digest.Hex != fmt.Sprintf("%x", digest) {
			continue
		}
		text, err := artifact.ReadManifest(ctx, img.Source, img.Ref.WithDigest(s.Digest), s)
		if err != nil {
			return nil, err
		}
		return &claim{verify: func(_ context.Context, k *Key) bool { return k.verify(sig, text) }, digests: []v1.Hash{s.Digest}}, nil
	}
	return nil, nil
}
