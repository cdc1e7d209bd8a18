package artifact_test

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

func TestWhatIsAttachedStaysAsLongAsItsSubject(t *testing.T) {
	ctx := t.Context()
	s, err := store.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	image, err := s.PutBytes(ctx, types.OCIManifestSchema1, []byte(`{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},"layers":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	signature, err := s.PutBytes(ctx, types.OCIManifestSchema1, []byte(`{"schemaVersion":2,"layers":[],"config":{"mediaType":"c/d","digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0}}`))
	if err != nil {
		t.Fatal(err)
	}
	ref := artifacttest.MustRef(t, "registry.example.com/k3s:v1")
	if err := s.Tag(ctx, ref, image); err != nil {
		t.Fatal(err)
	}
	sig, err := ref.WithTag(artifact.ReferrersTag(image.Digest) + ".sig")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []artifact.Named{{Ref: sig, Desc: signature}, {Ref: ref.WithDigest(signature.Digest), Desc: signature}} {
		if n.Ref != sig {
			n.Ref = n.Ref.Repository().WithDigest(n.Desc.Digest)
		}
		if err := s.Attach(ctx, ref.WithDigest(image.Digest), n); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want int) {
		t.Helper()
		list, err := s.Attached(ctx, artifacttest.MustRef(t, "another.example.com/name").WithDigest(image.Digest))
		if err != nil || len(list) != want {
			t.Errorf("attached: %v %v, want %d", list, err, want)
		}
	}
	if refs, err := s.Refs(ctx); err != nil || len(refs) != 1 {
		t.Errorf("images in the store: %v %v, want the one", refs, err)
	}
	if _, err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	check(2)
	if err := s.Untag(ctx, ref); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	check(0)
	if list, err := s.Inventory(ctx); err != nil || len(list) != 0 {
		t.Errorf("left in the store: %v %v", list, err)
	}
}
