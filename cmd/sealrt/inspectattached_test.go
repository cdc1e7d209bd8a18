package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

func TestAttachmentsOfTheStoreAreListed(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	put := func(content string) v1.Descriptor {
		t.Helper()
		d, err := s.PutBytes(t.Context(), types.OCIManifestSchema1, []byte(content))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	ref, err := artifact.ParseReference("k3s:v1")
	if err != nil {
		t.Fatal(err)
	}
	image := put(`{"schemaVersion":2,"config":{},"layers":[]}`)
	sig := put(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json"},"layers":[]}`)
	att := put(`{"schemaVersion":2,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json","config":{},"layers":[],` +
		`"annotations":{"dev.sigstore.bundle.predicateType":"https://spdx.dev/Document"}}`)
	tagged, err := ref.WithTag("sha256-" + image.Digest.Hex + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []artifact.Named{{Ref: tagged, Desc: sig}, {Ref: ref.WithDigest(att.Digest), Desc: att}} {
		if err := s.Attach(t.Context(), ref.WithDigest(image.Digest), n); err != nil {
			t.Fatal(err)
		}
	}
	list, err := attachments(t.Context(), s, ref, []v1.Hash{image.Digest})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		if a.Subject != image.Digest.String() {
			t.Errorf("%s is about %s", a.Ref, a.Subject)
		}
		got = append(got, a.Kind+" "+a.Digest+" "+a.PredicateType)
	}
	want := []string{"signature " + sig.Digest.String() + " ", "attestation " + att.Digest.String() + " https://spdx.dev/Document"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
