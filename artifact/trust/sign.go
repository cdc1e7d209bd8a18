package trust

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/signature/payload"

	"github.com/sealrt/sealrt/artifact"
)

// Place is where images lie beside what signs them.
type Place interface {
	artifact.Source
	artifact.Sink
	artifact.Describer
	artifact.Attacher
}

// Sign signs the manifest or index that ref, pinned to its digest, is in a place,
// and returns the forms that were added: those that the key had not signed it in
// yet. The same image and key give the same signature.
//
// No forms are those that every cosign reads: a tag, and a bundle too when the
// image has a bundle already. From then on cosign 3 looks at bundles only. Without
// a network cosign 2.6 accepts no image that has one.
func Sign(ctx context.Context, at Place, ref artifact.Reference, d v1.Descriptor, s *Signer, forms []Form) ([]Form, error) {
	img := Image{Ref: ref, Subjects: []v1.Descriptor{d}, Source: at}
	r, err := examineFor(ctx, at, &img, s)
	if err != nil {
		return nil, fmt.Errorf("sign %s: %w", ref.Familiar(), err)
	}
	var added []Form
	for _, form := range r.choose(forms) {
		if slices.ContainsFunc(r.Signatures(), func(f Found) bool { return f.Form == form }) {
			continue
		}
		if err := s.attachSignature(ctx, at, img, form); err != nil {
			return added, fmt.Errorf("sign %s: %w", ref.Familiar(), err)
		}
		added = append(added, form)
	}
	return added, nil
}

// examineFor finds out what the key has signed of an image already.
func examineFor(ctx context.Context, at Place, img *Image, s *Signer) (Report, error) {
	var err error
	if img.Signatures, err = Attached(ctx, at, img.Ref); err != nil {
		return Report{}, err
	}
	return Keys{s.key}.Examine(ctx, *img)
}

// choose returns the forms to write.
func (r Report) choose(forms []Form) []Form {
	if len(forms) > 0 {
		return forms
	}
	if slices.ContainsFunc(r.Found, func(f Found) bool { return f.Form == Bundle }) {
		return []Form{Tag, Bundle}
	}
	return []Form{Tag}
}

// attachSignature adds a signature of an image in one form.
func (s *Signer) attachSignature(ctx context.Context, at Place, img Image, form Form) error {
	about := img.Subjects[0].Digest
	if form == Bundle {
		text, err := json.Marshal(statement{
			Type:          "https://in-toto.io/Statement/v1",
			Subject:       []subject{{Digest: map[string]string{about.Algorithm: about.Hex}, Annotations: json.RawMessage("{}")}},
			PredicateType: predicateSign,
			Predicate:     json.RawMessage("{}"),
		})
		if err != nil {
			return err
		}
		return s.attachBundle(ctx, at, img, predicateSign, text)
	}
	text, err := json.Marshal(payload.SimpleContainerImage{Critical: payload.Critical{
		Identity: payload.Identity{DockerReference: img.Ref.Name()},
		Image:    payload.Image{DockerManifestDigest: about.String()},
		Type:     payload.CosignSignatureType,
	}})
	if err != nil {
		return err
	}
	sig, err := s.sign(text)
	if err != nil {
		return err
	}
	return appendUnderTag(ctx, at, img, suffixSignature, blob{
		mediaType: mediaTypePayload, content: text,
		annotations: map[string]string{annotationSignature: base64.StdEncoding.EncodeToString(sig)},
	})
}

// seal signs a statement (DSSE protocol.md).
func (s *Signer) seal(statement []byte) (*dsse.Envelope, error) {
	sig, err := s.sign(dsse.PAE(payloadStatement, statement))
	if err != nil {
		return nil, err
	}
	return &dsse.Envelope{
		PayloadType: payloadStatement, Payload: base64.StdEncoding.EncodeToString(statement),
		Signatures: []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}, nil
}

// attachBundle signs a statement and adds it as a bundle.
func (s *Signer) attachBundle(ctx context.Context, at Place, img Image, predicate string, statement []byte) error {
	envelope, err := s.seal(statement)
	if err != nil {
		return err
	}
	text, err := json.Marshal(bundle{MediaType: mediaTypeBundle03, Material: material{PublicKey: &publicKey{Hint: s.hint}}, Envelope: envelope})
	if err != nil {
		return err
	}
	return attachReferrer(ctx, at, img, blob{mediaType: mediaTypeBundle03, content: text}, map[string]string{
		"dev.sigstore.bundle.content":       "dsse-envelope",
		"dev.sigstore.bundle.predicateType": predicate,
	})
}
