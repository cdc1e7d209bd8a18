package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// FuzzArchive reads what may be an archive, in place and as a stream: whatever it says, nothing but errors comes of it,
// and what is in the store then is whole.
func FuzzArchive(f *testing.F) {
	s, err := store.Open(filepath.Join(f.TempDir(), "store"))
	artifacttest.Check(f, err)
	defer s.Close()
	ref := artifacttest.MustRef(f, "k3s:v1")
	artifacttest.Check(f, s.Tag(f.Context(), ref, artifacttest.AddImage(f, s, "amd64", []string{"a", "b"})))
	var whole, delta bytes.Buffer
	artifacttest.Check(f, Write(f.Context(), &whole, s, []artifact.Reference{ref}, Options{}))
	base, err := Take(f.Context(), s, []artifact.Reference{ref})
	artifacttest.Check(f, err)
	artifacttest.Check(f, Write(f.Context(), &delta, s, []artifact.Reference{ref}, Options{Base: []*Inventory{base}}))
	f.Add(whole.Bytes())
	f.Add(delta.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := New("fuzz", bytes.NewReader(b), int64(len(b))); err == nil {
			a.Over(s).RequireWhole(t.Context(), a.Refs())
			a.Inventory(t.Context())
		}
		dst := newStore(t)
		list, err := Load(t.Context(), dst, bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		for _, n := range list {
			artifacttest.RequireWholeStore(t, dst, n.Ref)
		}
	})
}

// FuzzVolume reads what may be a volume.
func FuzzVolume(f *testing.F) {
	s, err := store.Open(filepath.Join(f.TempDir(), "store"))
	artifacttest.Check(f, err)
	defer s.Close()
	ref := artifacttest.MustRef(f, "k3s:v1")
	artifacttest.Check(f, s.Tag(f.Context(), ref, artifacttest.AddImage(f, s, "amd64", []string{"a", string(artifacttest.Noise(1, 40<<10))})))
	paths, err := SaveVolumes(f.Context(), filepath.Join(f.TempDir(), "x"), 40<<10, s, []artifact.Reference{ref}, Options{})
	artifacttest.Check(f, err)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		artifacttest.Check(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "x.001")
		artifacttest.Check(t, os.WriteFile(path, b, 0o644))
		if a, err := Open(path); err == nil {
			a.Close()
		}
		dst := newStore(t)
		list, err := LoadVolumes(t.Context(), dst, []string{path}, nil)
		if err != nil {
			return
		}
		for _, n := range list {
			artifacttest.RequireWholeStore(t, dst, n.Ref)
		}
	})
}

// FuzzPlan reads what may be volume.json.
func FuzzPlan(f *testing.F) {
	plan := setPlan{Volumes: 2, Images: []Image{{artifacttest.MustRef(f, "k3s:v1"), artifacttest.DigestOf(nil)}}, Index: artifacttest.DigestOf(nil),
		Blobs: []volumeBlob{{artifacttest.DigestOf([]byte("a")), 10, []place{{1, 0, 5}, {2, 5, 5}}}, {Digest: artifacttest.DigestOf(nil)}}}
	b, err := plan.format(1)
	artifacttest.Check(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, p, err := parseVolume(b)
		if err != nil {
			return
		}
		again, err := p.format(v.Volume)
		artifacttest.Check(t, err)
		if _, _, err := parseVolume(again); err != nil {
			t.Errorf("what was read is written so that it cannot be read: %v", err)
		}
	})
}
