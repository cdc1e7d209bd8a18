package store

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
)

// partsOf returns the digests of config and layers of an image.
func partsOf(t *testing.T, s *Store, ref artifact.Reference) (config v1.Hash, layers []v1.Hash) {
	t.Helper()
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	for _, l := range m.Layers {
		layers = append(layers, l.Digest)
	}
	return m.Config.Digest, layers
}

func verify(t *testing.T, s *Store, o VerifyOptions) *Verified {
	t.Helper()
	v, err := s.Verify(t.Context(), o)
	artifacttest.Check(t, err)
	return v
}

func lines(v *Verified) []string {
	var list []string
	for _, p := range v.Problems {
		list = append(list, strings.Join(append([]string{p.Kind, p.Part}, p.Images...), " "))
	}
	return list
}

func TestVerifyNamesWhatIsWrongAndWhoNeedsIt(t *testing.T) {
	flip := func(t *testing.T, path string) {
		b, err := os.ReadFile(path)
		artifacttest.Check(t, err)
		b[len(b)/2] ^= 1
		artifacttest.Check(t, os.WriteFile(path, b, 0o644))
	}
	for _, tc := range []struct {
		name   string
		damage func(t *testing.T, s *Store, ref artifact.Reference)
		found  []string // kind, part, images
		after  []string // a repair
	}{
		{"nothing", func(*testing.T, *Store, artifact.Reference) {}, nil, nil},
		{"layer", func(t *testing.T, s *Store, ref artifact.Reference) {
			_, layers := partsOf(t, s, ref)
			flip(t, s.BlobPath(layers[1]))
		}, []string{"damaged layer k3s:v1 other:v1"}, []string{"missing layer k3s:v1 other:v1"}},
		{"layer without its end", func(t *testing.T, s *Store, ref artifact.Reference) {
			_, layers := partsOf(t, s, ref)
			artifacttest.Check(t, os.Truncate(s.BlobPath(layers[0]), 7))
		}, []string{"damaged layer k3s:v1 other:v1"}, []string{"missing layer k3s:v1 other:v1"}},
		{"manifest", func(t *testing.T, s *Store, ref artifact.Reference) {
			d, err := s.Resolve(t.Context(), ref)
			artifacttest.Check(t, err)
			artifacttest.Check(t, os.WriteFile(s.BlobPath(d.Digest), make([]byte, d.Size), 0o644))
		}, []string{"damaged manifest k3s:v1 other:v1"}, []string{"missing manifest k3s:v1 other:v1"}},
		{"config is gone", func(t *testing.T, s *Store, ref artifact.Reference) {
			config, _ := partsOf(t, s, ref)
			artifacttest.Check(t, os.Remove(s.BlobPath(config)))
		}, []string{"missing config k3s:v1 other:v1"}, []string{"missing config k3s:v1 other:v1"}},
		{"what nobody needs", func(t *testing.T, s *Store, _ artifact.Reference) {
			artifacttest.Check(t, os.WriteFile(s.BlobPath(artifacttest.DigestOf([]byte("x"))), []byte("y"), 0o644))
		}, []string{"damaged "}, nil},
		{"record", func(t *testing.T, s *Store, _ artifact.Reference) {
			artifacttest.Check(t, s.CachePut("build/a", []byte(`{"n":1}`)))
			flip(t, s.path("cache/build/a"))
		}, []string{"damaged record"}, nil},
		{"a file among blobs", func(t *testing.T, s *Store, _ artifact.Reference) {
			artifacttest.Check(t, os.WriteFile(s.path("blobs/sha256/notes.txt"), nil, 0o644))
		}, []string{"foreign "}, []string{"foreign "}},
		{"index", func(t *testing.T, s *Store, _ artifact.Reference) {
			artifacttest.Check(t, os.WriteFile(s.path("index.json"), []byte("{"), 0o644))
		}, []string{"index "}, []string{"index "}},
		{"attachment", func(t *testing.T, s *Store, ref artifact.Reference) {
			d, err := s.Resolve(t.Context(), ref)
			artifacttest.Check(t, err)
			sig := artifacttest.AddImage(t, s, "amd64", []string{"sig", "of it"})
			artifacttest.Check(t, s.Attach(t.Context(), ref.WithDigest(d.Digest), artifact.Named{Ref: artifacttest.MustRef(t, "k3s@"+sig.Digest.String()), Desc: sig}))
			artifacttest.Check(t, os.Remove(s.BlobPath(sig.Digest)))
		}, []string{"missing attachment k3s:v1 other:v1"}, []string{"missing attachment k3s:v1 other:v1"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStore(t)
			ref, d := artifacttest.Tagged(t, s)
			artifacttest.Check(t, s.Tag(t.Context(), artifacttest.MustRef(t, "other:v1"), d))
			sound := artifacttest.AddImage(t, s, "arm64", []string{"etc/b", "two"})
			artifacttest.Check(t, s.Tag(t.Context(), artifacttest.MustRef(t, "sound:v1"), artifacttest.AddIndex(t, s, sound)))
			tc.damage(t, s, ref)
			var read, all int64
			v := verify(t, s, VerifyOptions{Jobs: 2, Observe: func(done, total int64) { read, all = done, total }})
			if got := lines(v); !slices.Equal(got, tc.found) {
				t.Errorf("found %q, want %q", got, tc.found)
			}
			if read != v.Bytes || all != v.Bytes {
				t.Errorf("told of %d of %d bytes, there are %d", read, all, v.Bytes)
			}
			if got := lines(verify(t, s, VerifyOptions{Repair: true})); !slices.Equal(got, tc.found) {
				t.Errorf("repaired %q, want %q", got, tc.found)
			}
			if got := lines(verify(t, s, VerifyOptions{})); !slices.Equal(got, tc.after) {
				t.Errorf("after the repair %q, want %q", got, tc.after)
			}
			if tc.name != "index" {
				_, missing, err := artifact.Contents(t.Context(), s, artifacttest.MustRef(t, "sound:v1"), mustResolve(t, s, "sound:v1"))
				if artifacttest.Check(t, err); len(missing) > 0 {
					t.Errorf("the repair left %v out", missing)
				}
			}
		})
	}
}

func mustResolve(t *testing.T, s *Store, name string) v1.Descriptor {
	t.Helper()
	d, err := s.Resolve(t.Context(), artifacttest.MustRef(t, name))
	artifacttest.Check(t, err)
	return d
}

func TestRepairAndCopyMakeAnImageWholeAgain(t *testing.T) {
	s := newStore(t)
	ref, _ := artifacttest.Tagged(t, s)
	from := newStore(t)
	artifacttest.CopyImage(t, from, ref, s, ref)
	_, layers := partsOf(t, s, ref)
	path := s.BlobPath(layers[1])
	fi, err := os.Stat(path)
	artifacttest.Check(t, err)
	artifacttest.Check(t, os.WriteFile(path, make([]byte, fi.Size()), 0o644)) // as long as before: only reading it tells
	if v := verify(t, s, VerifyOptions{Repair: true}); len(v.Problems) != 1 || !v.Problems[0].Removed {
		t.Fatalf("problems: %+v", v.Problems)
	}
	artifacttest.CopyImage(t, s, ref, from, ref)
	if v := verify(t, s, VerifyOptions{}); len(v.Problems) != 0 {
		t.Errorf("problems: %+v", v.Problems)
	}
}

func TestRepairLeavesWhatCameMeanwhile(t *testing.T) {
	s := newStore(t)
	content := []byte("the blob")
	h := artifacttest.DigestOf(content)
	artifacttest.Check(t, os.WriteFile(s.BlobPath(h), []byte("damaged"), 0o644))
	blobs, _, err := s.listBlobs()
	artifacttest.Check(t, err)
	bad, err := s.hashAll(blobs, 1, func(int64) error { return nil })
	artifacttest.Check(t, err)
	if len(bad) != 1 {
		t.Fatalf("damaged: %v", bad)
	}
	artifacttest.Check(t, s.Put(t.Context(), artifact.Reference{}, v1.Descriptor{MediaType: types.OCILayer, Digest: h, Size: int64(len(content))}, artifacttest.BytesOpener(content)))
	removed, err := s.removeDamaged(bad[0])
	if b, rerr := os.ReadFile(s.BlobPath(h)); removed || err != nil || rerr != nil || string(b) != string(content) {
		t.Errorf("removed %v, %v; the blob is %q, %v", removed, err, b, rerr)
	}
}

func TestVerifyEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	artifacttest.Tagged(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.Verify(ctx, VerifyOptions{Observe: func(int64, int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
