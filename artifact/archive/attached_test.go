package archive

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// signed attaches a manifest to an image, and another to that.
func signed(t testing.TB, s *store.Store, ref artifact.Reference) {
	t.Helper()
	d, err := s.Resolve(t.Context(), ref)
	artifacttest.Check(t, err)
	for i := range 2 {
		content, _ := artifacttest.AddLayer(t, s, "signature", fmt.Sprint("of ", d.Digest))
		m := artifacttest.AddJSON(t, s, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1,
			Config: artifacttest.AddJSON(t, s, "application/json", i), Layers: []v1.Descriptor{content}})
		name, err := ref.WithTag("sha256-" + d.Digest.Hex + ".sig")
		artifacttest.Check(t, err)
		artifacttest.Check(t, s.Attach(t.Context(), ref.WithDigest(d.Digest), artifact.Named{Ref: name, Desc: m}))
		d = m
	}
}

// signatures lists what is attached to an image and to that.
func signatures(t testing.TB, src interface {
	artifact.Source
	artifact.Describer
}, ref artifact.Reference) []v1.Hash {
	t.Helper()
	d, err := src.Resolve(t.Context(), ref)
	artifacttest.Check(t, err)
	var list []v1.Hash
	for h := d.Digest; ; {
		found, err := src.Attached(t.Context(), ref.WithDigest(h))
		artifacttest.Check(t, err)
		if len(found) == 0 {
			return list
		}
		_, err = artifact.ReadManifest(t.Context(), src, ref, found[0].Desc)
		artifacttest.Check(t, err)
		h = found[0].Desc.Digest
		list = append(list, h)
	}
}

func TestWhatIsAttachedTravelsWithAnImage(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	signed(t, s, ref)
	want := signatures(t, s, ref)
	if len(want) != 2 {
		t.Fatalf("attached: %v", want)
	}
	same := func(where string, got []v1.Hash) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: attached %v, want %v", where, got, want)
		}
	}
	file := filepath.Join(t.TempDir(), "signed.tar")
	artifacttest.Check(t, Save(t.Context(), file, s, []artifact.Reference{ref}, Options{}))
	a, err := Open(file)
	artifacttest.Check(t, err)
	defer a.Close()
	if n := len(a.Refs()); n != 1 {
		t.Errorf("%d images in the archive", n)
	}
	same("archive", signatures(t, a, ref))

	var b bytes.Buffer
	artifacttest.Check(t, Write(t.Context(), &b, a, []artifact.Reference{ref}, Options{})) // from an archive to another
	dst := newStore(t)
	_, err = Load(t.Context(), dst, &b, nil)
	artifacttest.Check(t, err)
	same("loaded", signatures(t, dst, ref))

	dst = newStore(t)
	paths := volumes(t, a2s(t, a, ref), ref, volumeSize, Options{})
	_, err = LoadVolumes(t.Context(), dst, paths, nil)
	artifacttest.Check(t, err)
	same("volumes", signatures(t, dst, ref))

	// A signature that is attached to what is not in the archive harms nobody.
	base, err := Take(t.Context(), s, []artifact.Reference{ref})
	artifacttest.Check(t, err)
	var delta bytes.Buffer
	artifacttest.Check(t, Write(t.Context(), &delta, s, []artifact.Reference{ref}, Options{Base: []*Inventory{base}}))
	_, err = Load(t.Context(), dst, &delta, nil)
	artifacttest.Check(t, err)
	same("delta", signatures(t, dst, ref))
}

// a2s loads an archive into a fresh store.
func a2s(t testing.TB, a *Archive, ref artifact.Reference) *store.Store {
	t.Helper()
	s := newStore(t)
	var b bytes.Buffer
	artifacttest.Check(t, Write(t.Context(), &b, a, []artifact.Reference{ref}, Options{}))
	_, err := Load(t.Context(), s, &b, nil)
	artifacttest.Check(t, err)
	return s
}

func TestDeltaHoldsOnlyWhatTheOtherSideLacks(t *testing.T) {
	src := newStore(t)
	// 2 GiB and 5 MB, at a thousandth of the size.
	big := []string{"big", string(artifacttest.Noise(1, 2<<20))}
	one, two := artifacttest.MustRef(t, "k3s:v1"), artifacttest.MustRef(t, "k3s:v2")
	artifacttest.Check(t, src.Tag(t.Context(), one, artifacttest.AddImage(t, src, "amd64", big, []string{"small", string(artifacttest.Noise(2, 5<<10))})))
	artifacttest.Check(t, src.Tag(t.Context(), two, artifacttest.AddImage(t, src, "amd64", big, []string{"small", string(artifacttest.Noise(3, 5<<10))})))

	file := filepath.Join(t.TempDir(), "base.tar")
	artifacttest.Check(t, Save(t.Context(), file, src, []artifact.Reference{one}, Options{}))
	base, err := Open(file)
	artifacttest.Check(t, err)
	defer base.Close()
	other := newStore(t)
	artifacttest.CopyImage(t, other, one, base, one)
	inventory := func(inv *Inventory, err error) *Inventory {
		artifacttest.Check(t, err)
		raw, err := inv.Format()
		artifacttest.Check(t, err)
		read, err := ReadInventory(bytes.NewReader(raw))
		artifacttest.Check(t, err)
		return read
	}
	lines := ""
	inv, err := other.Inventory(t.Context())
	artifacttest.Check(t, err)
	for _, h := range inv {
		lines += h.String() + "\n"
	}
	plain, err := ReadInventory(strings.NewReader(lines))
	artifacttest.Check(t, err)
	for name, from := range map[string]*Inventory{
		"reference": inventory(Take(t.Context(), src, []artifact.Reference{one})),
		"archive":   inventory(base.Inventory(t.Context())),
		"store":     inventory(TakeStore(t.Context(), other)),
		"lines":     plain,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			artifacttest.Check(t, Write(t.Context(), &b, src, []artifact.Reference{two}, Options{Base: []*Inventory{from}}))
			if b.Len() > 16<<10 {
				t.Errorf("the delta has %d bytes", b.Len())
			}
			a, err := New("delta", bytes.NewReader(b.Bytes()), int64(b.Len()))
			artifacttest.Check(t, err)
			p := a.Presumes()
			if p == nil || len(p.Blobs) != 1 || p.Blobs[0].Size < 2<<20 || name != "lines" && p.image(p.Blobs[0]) != "k3s:v1" {
				t.Errorf("it presumes %+v", p)
			}
			// Where the base is, it is whole, without being loaded.
			dst := newStore(t)
			artifacttest.Check(t, a.Over(other).RequireWhole(t.Context(), a.Refs()))
			artifacttest.CopyImage(t, dst, two, a.Over(other), two)
			artifacttest.RequireWholeStore(t, dst, two)
			empty := newStore(t)
			err = a.Over(empty).RequireWhole(t.Context(), a.Refs())
			artifacttest.WantError(t, err, "1 blob (2.0 MiB)", p.Blobs[0].Digest.String()+" of k3s:v2", "first")
			for _, r := range []bool{true, false} {
				if r {
					_, err = Load(t.Context(), empty, bytes.NewReader(b.Bytes()), nil)
				}
				if name != "lines" {
					artifacttest.WantError(t, err, "which k3s:v1 has", "load or pull k3s:v1 first")
				}
			}
			// A delta on top of a delta: both are at the other side then.
			second, err := a.Inventory(t.Context())
			artifacttest.Check(t, err)
			b.Reset()
			artifacttest.Check(t, Write(t.Context(), &b, src, []artifact.Reference{one, two}, Options{Base: []*Inventory{second}}))
			if b.Len() > 24<<10 {
				t.Errorf("the delta over a delta has %d bytes", b.Len())
			}
		})
	}
}

func TestBadInventoriesAreRefused(t *testing.T) {
	for name, tc := range map[string]struct{ content, want string }{
		"empty":   {"", "it is empty"},
		"text":    {"hello\n", "this is no inventory"},
		"version": {`{"formatVersion":2}`, "formatVersion is 2"},
		"digest":  {`{"formatVersion":1,"blobs":[{"digest":"sha256:00"}]}`, "this is no inventory"},
		"image":   {`{"formatVersion":1,"blobs":[{"digest":"sha256:` + strings.Repeat("a", 64) + `","image":3}]}`, "not acceptable"},
		"cut":     {`{"formatVersion":1,"blobs":[`, "this is no inventory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ReadInventory(strings.NewReader(tc.content))
			artifacttest.WantError(t, err, tc.want)
		})
	}
}
