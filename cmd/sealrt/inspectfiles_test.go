package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/store"
)

// rawLayer puts a layer into a store. Names with a slash at the end are
// directories; files hold their names.
func rawLayer(t *testing.T, s *store.Store, names ...string) v1.Descriptor {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(name))}
		if name[len(name)-1] == '/' {
			h.Typeflag, h.Mode, h.Size = tar.TypeDir, 0o755, 0
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			fmt.Fprint(w, name)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	blob, err := s.NewBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	h := v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))}
	if _, err := blob.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := blob.Commit(h, int64(b.Len())); err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: h, Size: int64(b.Len())}
}

func TestFilesAreThoseOfTheTree(t *testing.T) {
	base := []string{"d/", "d/a", "d/b", "d/sub/", "d/sub/c", "e/", "e/f", "x"}
	for name, layers := range map[string][][]string{
		"no layer":                   {},
		"one layer":                  {base},
		"a file replaced":            {base, {"d/", "d/a"}},
		"a file deleted":             {base, {"d/", "d/.wh.a", ".wh.x"}},
		"deleted and made again":     {base, {".wh.x", "x", ".wh.d", "d/", "d/new"}},
		"deleted above":              {base, {"d/", "d/sub/", "d/sub/new"}, {"d/.wh.sub"}},
		"a directory emptied":        {base, {"d/", "d/new", "d/.wh..wh..opq"}},
		"emptied, then filled above": {base, {"d/", "d/.wh..wh..opq"}, {"d/", "d/a", "d/sub/"}},
		"a directory for a file":     {base, {"x/", "x/y"}},
		"a file for a directory":     {base, {"d"}, {"e/", "e/g"}},
		"and a directory again":      {base, {"d"}, {"d/", "d/new"}},
		"all deleted":                {base, {".wh..wh..opq", "new"}},
		"deleted by the middle only": {base, {"e/", "e/.wh.f"}, {"e/", "e/f"}},
		"twice in one layer":         {{"d/", "d/a", "d/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(filepath.Join(t.TempDir(), "store"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			m := &v1.Manifest{}
			for _, names := range layers {
				m.Layers = append(m.Layers, rawLayer(t, s, names...))
			}
			ref, err := artifact.ParseReference("k3s:v1")
			if err != nil {
				t.Fatal(err)
			}
			tree := filepath.Join(t.TempDir(), "tree")
			if err := artifact.Unpack(t.Context(), s, ref, m, tree, artifact.UnpackOptions{}); err != nil {
				t.Fatal(err)
			}
			want := map[string]string{}
			err = filepath.WalkDir(tree, func(file string, e fs.DirEntry, err error) error {
				if file == tree || err != nil {
					return err
				}
				content := ""
				if !e.IsDir() {
					b, err := os.ReadFile(file)
					if err != nil {
						return err
					}
					content = string(b)
				}
				rel, err := filepath.Rel(tree, file)
				want[rel] = fmt.Sprint(e.IsDir(), len(content))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			list, err := listFiles(t.Context(), s, ref, m)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, f := range list {
				got[f.Path] = fmt.Sprint(f.Type == "dir", f.Size)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("unpack, inspect --files:\n%s", diff)
			}
		})
	}
}

func TestAFileNamesTheLayerThatItComesFrom(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := &v1.Manifest{Layers: []v1.Descriptor{rawLayer(t, s, "a", "b", "c"), rawLayer(t, s, "b", ".wh.c"), rawLayer(t, s, "c")}}
	list, err := listFiles(t.Context(), s, artifact.Reference{}, m)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range list {
		if f.Layer != m.Layers[f.number-1].Digest.String() {
			t.Errorf("%s: %s is not layer %d", f.Path, f.Layer, f.number)
		}
		got = append(got, fmt.Sprint(f.Path, " ", f.number))
	}
	if diff := cmp.Diff([]string{"a 1", "b 2", "c 3"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestNamesDoNothingToATerminal(t *testing.T) {
	for name, want := range map[string]string{"bin/k3s": "bin/k3s", "ä b": "ä b", "a\nb": `"a\nb"`, "\x1b[2J": `"\x1b[2J"`} {
		if got := printable(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func TestAttachmentsAreCalledWhatTheyAre(t *testing.T) {
	for _, test := range []struct {
		tag  string
		j    attachmentJSON
		want string
	}{
		{"sha256-ab.sig", attachmentJSON{}, "signature"},
		{"sha256-ab.att", attachmentJSON{}, "attestation"},
		{"sha256-ab.sbom", attachmentJSON{}, "sbom"},
		{"", attachmentJSON{ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json"}, "signature"},
		{"", attachmentJSON{ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", PredicateType: predicateSign}, "signature"},
		{"", attachmentJSON{ArtifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", PredicateType: "https://spdx.dev/Document"}, "attestation"},
		{"", attachmentJSON{ArtifactType: "application/spdx+json"}, "sbom"},
		{"", attachmentJSON{ArtifactType: "application/vnd.cyclonedx+json"}, "sbom"},
		{"", attachmentJSON{ArtifactType: "application/vnd.cncf.notary.signature"}, "signature"},
		{"", attachmentJSON{ArtifactType: "application/vnd.example.thing"}, "other"},
	} {
		if got := test.j.kind(test.tag); got != test.want {
			t.Errorf("%+v: %s, want %s", test.j, got, test.want)
		}
	}
}
