package main

import (
	"cmp"
	"context"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
)

// attachmentJSON is what signs or describes an image.
type attachmentJSON struct {
	Kind          string `json:"kind"` // signature, attestation, sbom or other
	Ref           string `json:"ref"`
	Digest        string `json:"digest"`
	Subject       string `json:"subject"` // the digest that it is about
	ArtifactType  string `json:"artifactType,omitempty"`
	PredicateType string `json:"predicateType,omitempty"` // of an attestation
}

// Annotations by which cosign says what a sigstore bundle holds.
const annotationPredicate = "dev.sigstore.bundle.predicateType"

// predicateSign is the statement that is nothing but a signature (cosign v3).
const predicateSign = "https://sigstore.dev/cosign/sign/v1"

// attachments lists what is attached to one of the digests. A place that cannot
// tell has none.
func attachments(ctx context.Context, src artifact.Source, ref artifact.Reference, digests []v1.Hash) ([]attachmentJSON, error) {
	list := []attachmentJSON{}
	describer, ok := src.(artifact.Describer)
	if !ok {
		return list, nil
	}
	for _, h := range digests {
		found, err := describer.Attached(ctx, ref.WithDigest(h))
		if err != nil {
			return nil, err
		}
		for _, n := range found {
			j := attachmentJSON{Ref: n.Ref.Familiar(), Digest: n.Desc.Digest.String(), Subject: h.String(), ArtifactType: n.Desc.ArtifactType}
			if n.Desc.MediaType.IsImage() {
				m, err := layout.ReadAttached(ctx, src, n)
				if err != nil {
					return nil, err
				}
				j.ArtifactType = cmp.Or(j.ArtifactType, m.ArtifactType, string(m.Config.MediaType))
				j.PredicateType = m.Annotations[annotationPredicate]
			}
			j.Kind = j.kind(n.Ref.Tag())
			list = append(list, j)
		}
	}
	return list, nil
}

// kind says in a word what an attachment is, by its tag (cosign's
// SIGNATURE_SPEC.md, "Tag-based discovery") or by its type.
func (j attachmentJSON) kind(tag string) string {
	has := func(text string) bool { return strings.Contains(j.ArtifactType, text) }
	switch {
	case strings.HasSuffix(tag, ".sig"):
		return "signature"
	case strings.HasSuffix(tag, ".att"):
		return "attestation"
	case strings.HasSuffix(tag, ".sbom"), has("spdx"), has("cyclonedx"), has("sbom"), has("syft"):
		return "sbom"
	case j.PredicateType != "" && j.PredicateType != predicateSign, has("in-toto"):
		return "attestation"
	case has("sigstore.bundle"), has("signature"), has("cosign.artifact.sig"):
		return "signature"
	}
	return "other"
}
