package trust

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
)

// MaxPredicate bounds the bytes of what is attested: signed statements are made
// and checked in memory.
const MaxPredicate = 6 << 20

// Types of what lists the contents of an image.
const (
	PredicateSPDX      = "https://spdx.dev/Document"
	PredicateCycloneDX = "https://cyclonedx.org/bom"
)

// predicateCustom is the type of anything: cosign keeps it as a string.
const predicateCustom = "https://cosign.sigstore.dev/attestation/v1"

// predicateTypes are the short names that cosign has for types.
//
//nolint:gochecknoglobals // a table
var predicateTypes = map[string]string{
	"custom":           predicateCustom,
	"cyclonedx":        PredicateCycloneDX,
	"link":             "https://in-toto.io/Link/v1",
	"openvex":          "https://openvex.dev/ns",
	"slsaprovenance":   "https://slsa.dev/provenance/v0.2",
	"slsaprovenance02": "https://slsa.dev/provenance/v0.2",
	"slsaprovenance1":  "https://slsa.dev/provenance/v1",
	"spdx":             PredicateSPDX,
	"spdxjson":         PredicateSPDX,
	"vuln":             "https://cosign.sigstore.dev/attestation/vuln/v1",
}

// PredicateTypes lists the short names that ParsePredicateType knows, sorted.
func PredicateTypes() []string {
	var names []string
	for name := range predicateTypes {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// ParsePredicateType reads the type of what is attested: one of cosign's short
// names or a URI. See https://github.com/sigstore/cosign/blob/main/specs/ATTESTATION_SPEC.md.
func ParsePredicateType(s string) (string, error) {
	if uri, ok := predicateTypes[s]; ok {
		return uri, nil
	}
	if u, err := url.Parse(s); err != nil || u.Scheme == "" {
		return "", fmt.Errorf("type %q: it is one of %s, or a URI", s, strings.Join(PredicateTypes(), ", "))
	}
	if s == predicateSign {
		return "", fmt.Errorf("type %s: this is a signature: sign the image", s)
	}
	return s, nil
}

// Attest signs what predicate, of a type that ParsePredicateType returned, says of
// the image that ref, pinned to its digest, is in a place. It returns the forms
// that were added: those in which the key had not said the same already. Forms are
// as for Sign.
func Attest(ctx context.Context, at Place, ref artifact.Reference, d v1.Descriptor, s *Signer, predicateType string, predicate []byte, forms []Form) ([]Form, error) {
	img := Image{Ref: ref, Subjects: []v1.Descriptor{d}, Source: at}
	text, err := statementAbout(img, predicateType, predicate)
	if err != nil {
		return nil, fmt.Errorf("attest %s: %w", ref.Familiar(), err)
	}
	r, err := examineFor(ctx, at, &img, s)
	if err != nil {
		return nil, fmt.Errorf("attest %s: %w", ref.Familiar(), err)
	}
	var added []Form
	for _, form := range r.choose(forms) {
		if slices.ContainsFunc(r.Attestations(predicateType), func(f Found) bool { return f.Form == form && string(f.Statement) == string(text) }) {
			continue
		}
		if err := s.attachAttestation(ctx, at, img, predicateType, text, form); err != nil {
			return added, fmt.Errorf("attest %s: %w", ref.Familiar(), err)
		}
		added = append(added, form)
	}
	return added, nil
}

func (s *Signer) attachAttestation(ctx context.Context, at Place, img Image, predicateType string, text []byte, form Form) error {
	if form == Bundle {
		return s.attachBundle(ctx, at, img, predicateType, text)
	}
	envelope, err := s.seal(text)
	if err != nil {
		return err
	}
	content, err := json.Marshal(envelope)
	if err != nil {
		return err
	}
	return appendUnderTag(ctx, at, img, suffixAttestation, blob{
		mediaType: mediaTypeEnvelope, content: content,
		annotations: map[string]string{annotationSignature: "", "predicateType": predicateType},
	})
}

// statementAbout says something of an image as cosign would.
func statementAbout(img Image, predicateType string, predicate []byte) ([]byte, error) {
	if len(predicate) > MaxPredicate {
		return nil, errTooMuch
	}
	object, err := predicateObject(predicateType, predicate)
	if err != nil {
		return nil, err
	}
	about := img.Subjects[0].Digest
	text, err := marshal(statement{
		Type:          "https://in-toto.io/Statement/v0.1",
		Subject:       []subject{{Name: img.Ref.Name(), Digest: map[string]string{about.Algorithm: about.Hex}}},
		PredicateType: predicateType,
		Predicate:     object,
	})
	if err == nil && base64.StdEncoding.EncodedLen(len(text)) > maxEvidence-maxKey {
		err = errTooMuch
	}
	return text, err
}

var errTooMuch = fmt.Errorf("more than the %d MiB that can be attested: attach it without signing it", MaxPredicate>>20)

// marshal writes JSON without making six bytes of each < and >.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// predicateObject returns the predicate as JSON: the document itself, or for
// types that have other forms what cosign makes of a text.
func predicateObject(predicateType string, predicate []byte) (json.RawMessage, error) {
	if predicateType == predicateCustom {
		return marshal(map[string]string{"Data": string(predicate)})
	}
	var object map[string]json.RawMessage
	err := json.Unmarshal(predicate, &object)
	switch {
	case err == nil && object != nil:
		return predicate, nil
	case predicateType == PredicateSPDX:
		return marshal(string(predicate)) // SPDX in its tag:value form
	case err == nil:
		err = errors.New("it is null")
	}
	return nil, fmt.Errorf("the predicate is no JSON object: %w", err)
}
