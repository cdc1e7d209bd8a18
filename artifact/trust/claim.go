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

// What cosign writes: payloads as its SIGNATURE_SPEC.md has them, and bundles as
// sigstore's protobuf-specs and "Cosign Bundle" specification do.
const (
	mediaTypePayload    = "application/vnd.dev.cosign.simplesigning.v1+json"
	annotationSignature = "dev.cosignproject.cosign/signature"
	mediaTypeBundle     = "application/vnd.dev.sigstore.bundle" // and a version
	payloadStatement    = "application/vnd.in-toto+json"
	predicateSign       = "https://sigstore.dev/cosign/sign/v1"
)

// claim is a signature: somebody says that something is theirs.
type claim struct {
	verify func(ctx context.Context, k *Key) bool
	text   []byte                             // what is signed; nil: the manifest of digest itself
	read   func(text []byte) (v1.Hash, error) // finds in it what is signed
	digest v1.Hash                            // of what is signed, after parse
}

// parse finds out what is signed. It is called when a key is found to have
// signed it, and not before.
func (c *claim) parse() (err error) {
	if c.text != nil {
		c.digest, err = c.read(c.text)
	}
	return err
}

// readClaims reads the signatures in a manifest. There are none in a manifest of
// something else.
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
	for _, l := range m.Layers {
		var c *claim
		switch {
		case l.MediaType == mediaTypePayload:
			c, err = readPayload(ctx, img, ref, l)
		case strings.HasPrefix(string(l.MediaType), mediaTypeBundle):
			c, err = readBundle(ctx, img, ref, l)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Ref.Familiar(), err)
		}
		if c != nil {
			list = append(list, c)
		}
	}
	return list, nil
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
		verify: func(_ context.Context, k *Key) bool { return k.verify(sig, text) },
		text:   text, read: digestOfPayload,
	}, nil
}

// digestOfPayload reads the JSON that cosign signs (containers-signature(5), "JSON data format").
func digestOfPayload(text []byte) (v1.Hash, error) {
	var p payload.SimpleContainerImage
	if err := json.Unmarshal(text, &p); err != nil {
		return v1.Hash{}, fmt.Errorf("payload: %w", err)
	}
	if p.Critical.Type != payload.CosignSignatureType {
		return v1.Hash{}, fmt.Errorf("the payload is a %q, no %q", p.Critical.Type, payload.CosignSignatureType)
	}
	return v1.NewHash(p.Critical.Image.DockerManifestDigest)
}

// bundle is a signature with what is needed to check it (sigstore_bundle.proto).
type bundle struct {
	Envelope *dsse.Envelope `json:"dsseEnvelope"`
	Message  *struct {
		Digest struct {
			Digest []byte `json:"digest"`
		} `json:"messageDigest"`
		Signature []byte `json:"signature"`
	} `json:"messageSignature"`
}

// readBundle reads a layer that is a bundle. A bundle that attests something
// about an image is no signature of it.
func readBundle(ctx context.Context, img Image, ref artifact.Reference, l v1.Descriptor) (*claim, error) {
	text, err := artifact.ReadManifest(ctx, img.Source, ref, l)
	if err != nil {
		return nil, err
	}
	var b bundle
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	switch {
	case b.Envelope != nil:
		return readEnvelope(*b.Envelope)
	case b.Message != nil:
		return readMessage(ctx, img, b.Message.Digest.Digest, b.Message.Signature)
	}
	return nil, errors.New("the bundle holds no signature")
}

// statement is an in-toto statement (in-toto attestation spec v1, "Statement").
type statement struct {
	Subject []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
	PredicateType string `json:"predicateType"`
}

// readEnvelope reads a signed statement about an image. One about something else
// than that it is signed is no claim.
func readEnvelope(e dsse.Envelope) (*claim, error) {
	text, err := e.DecodeB64Payload()
	if err != nil {
		return nil, fmt.Errorf("envelope: %w", err)
	}
	if s, ok := readStatement(text); !ok || e.PayloadType != payloadStatement || s.PredicateType != predicateSign {
		return nil, nil
	}
	return &claim{
		verify: func(ctx context.Context, k *Key) bool { return k.opens(ctx, e) },
		text:   text, read: digestOfStatement,
	}, nil
}

func readStatement(text []byte) (s statement, ok bool) {
	return s, json.Unmarshal(text, &s) == nil
}

func digestOfStatement(text []byte) (v1.Hash, error) {
	s, _ := readStatement(text)
	if len(s.Subject) != 1 {
		return v1.Hash{}, fmt.Errorf("the statement is about %d things, not one image", len(s.Subject))
	}
	return v1.NewHash("sha256:" + s.Subject[0].Digest["sha256"])
}

// readMessage reads a signature of the bytes of a manifest. Of other bytes than
// those of a subject it cannot be checked, and is no claim.
func readMessage(ctx context.Context, img Image, digest, sig []byte) (*claim, error) {
	for _, s := range img.Subjects {
		if s.Digest.Hex != fmt.Sprintf("%x", digest) {
			continue
		}
		message, err := artifact.ReadManifest(ctx, img.Source, img.Ref.WithDigest(s.Digest), s)
		if err != nil {
			return nil, err
		}
		return &claim{verify: func(_ context.Context, k *Key) bool { return k.verify(sig, message) }, digest: s.Digest}, nil
	}
	return nil, nil
}
