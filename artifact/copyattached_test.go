package artifact_test

import (
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// attachTo attaches a manifest with layers of such contents, under the tag with suffix if that is not empty.
func attachTo(t testing.TB, s *store.Store, ref artifact.Reference, subject v1.Descriptor, suffix string, contents ...string) v1.Descriptor {
	t.Helper()
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: artifacttest.AddJSON(t, s, "application/vnd.example", struct{}{})}
	if suffix == "" {
		m.Subject = &subject
	}
	for _, c := range contents {
		m.Layers = append(m.Layers, artifacttest.AddJSON(t, s, "application/vnd.example", c))
	}
	n := artifact.Named{Ref: ref, Desc: artifacttest.AddJSON(t, s, types.OCIManifestSchema1, m)}
	n.Ref = n.Ref.Repository()
	if n.Ref = n.Ref.WithDigest(n.Desc.Digest); suffix != "" {
		var err error
		n.Ref, err = ref.WithTag(artifact.ReferrersTag(subject.Digest) + suffix)
		artifacttest.Check(t, err)
	}
	artifacttest.Check(t, s.Attach(t.Context(), ref.WithDigest(subject.Digest), n))
	return n.Desc
}

func TestCopyTakesAlongWhatIsAttached(t *testing.T) {
	src, dst := registrytest.Store(t), registrytest.Store(t)
	image := artifacttest.AddImage(t, src, "amd64", []string{"etc/a", "one"})
	index := artifacttest.AddIndex(t, src, image)
	ref, to := artifacttest.MustRef(t, "k3s:v1"), artifacttest.MustRef(t, "registry.example.com/other:v2")
	artifacttest.Check(t, src.Tag(t.Context(), ref, index))
	sig := attachTo(t, src, ref, index, ".sig", "signature")
	contents := attachTo(t, src, ref, image, "", "contents")
	attachTo(t, src, ref, contents, "", "signature of the contents")

	for again := range 2 {
		var sent []artifact.EventKind
		_, err := artifact.Copy(t.Context(), dst, to, src, ref, artifact.CopyOptions{Attached: true, Observe: func(e artifact.Event) { sent = append(sent, e.Kind) }})
		artifacttest.Check(t, err)
		for _, d := range []v1.Descriptor{index, image, contents} {
			list, err := dst.Attached(t.Context(), to.WithDigest(d.Digest))
			artifacttest.Check(t, err)
			if len(list) != 1 || list[0].Ref.Name() != to.Name() {
				t.Errorf("attached to %s: %v", d.Digest, list)
			}
			for _, n := range list {
				artifacttest.RequireWholeStore(t, dst, n.Ref.WithDigest(n.Desc.Digest))
				if (n.Desc.Digest == sig.Digest) != (n.Ref.Tag() == artifact.ReferrersTag(index.Digest)+".sig") {
					t.Errorf("%v has the wrong name", n)
				}
			}
		}
		if refs, err := dst.Refs(t.Context()); err != nil || len(refs) != 1 {
			t.Errorf("images: %v %v", refs, err)
		}
		if again > 0 && slices.Contains(sent, artifact.EventDone) {
			t.Errorf("sent again: %v", sent)
		}
	}
}

func TestCopyWithoutAttachmentsLeavesThem(t *testing.T) {
	src, dst := registrytest.Store(t), registrytest.Store(t)
	ref, d := artifacttest.Tagged(t, src)
	attachTo(t, src, ref, d, ".sig", "signature")
	artifacttest.CopyImage(t, dst, ref, src, ref)
	if list, err := dst.Attached(t.Context(), ref.WithDigest(d.Digest)); err != nil || len(list) != 0 {
		t.Errorf("attached: %v %v", list, err)
	}
}

func TestSignaturesThatOnlyTheDestinationHasStay(t *testing.T) {
	for _, tc := range []struct {
		name         string
		ours, theirs []string
		want         int // layers afterwards
	}{
		{"ours has theirs", []string{"a", "b"}, []string{"a"}, 2},
		{"theirs has more", []string{"a"}, []string{"a", "b"}, 2},
		{"others", []string{"a"}, []string{"b"}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, dst := registrytest.Store(t), registrytest.Store(t)
			ref, d := artifacttest.Tagged(t, src)
			artifacttest.CopyImage(t, dst, ref, src, ref)
			attachTo(t, src, ref, d, ".sig", tc.ours...)
			before := attachTo(t, dst, ref, d, ".sig", tc.theirs...)
			var notes []string
			_, err := artifact.Copy(t.Context(), dst, ref, src, ref, artifact.CopyOptions{Attached: true, Observe: func(e artifact.Event) {
				if e.Kind == artifact.EventNote {
					notes = append(notes, e.Name)
				}
			}})
			artifacttest.Check(t, err)
			list, err := dst.Attached(t.Context(), ref.WithDigest(d.Digest))
			artifacttest.Check(t, err)
			layers, err := artifact.ReadLayers(t.Context(), dst, ref, list[0].Desc)
			artifacttest.Check(t, err)
			kept := list[0].Desc.Digest == before.Digest
			if len(layers) != tc.want || kept != (len(notes) == 1) {
				t.Errorf("layers %v, kept %t, notes %q", layers, kept, notes)
			}
		})
	}
}
