package builder

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// The whiteouts of a layer become files of the overlay, which must not lie where a link of that layer leads.
func TestTreesOfLayersStayInTheirFolder(t *testing.T) {
	for name, order := range map[string][]string{
		"a whiteout, then a link":      {"a/.wh.canary", "a"},
		"an opaque marker, and a link": {"a/.wh..wh..opq", "a"},
		"a link in a link":             {"b/.wh.canary", "b", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			if err := os.Chmod(outside, 0o755); err != nil {
				t.Fatal(err)
			}
			trees, err := openTrees(newStore(t))
			if err != nil {
				t.Fatal(err)
			}
			var raw bytes.Buffer
			w := tar.NewWriter(&raw)
			for _, n := range order {
				h := &tar.Header{Name: n, Mode: 0o644, Typeflag: tar.TypeReg}
				switch n {
				case "a":
					h.Typeflag, h.Linkname = tar.TypeSymlink, outside
				case "b":
					h.Typeflag, h.Linkname = tar.TypeSymlink, "a"
				}
				if err := w.WriteHeader(h); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			d, err := trees.store.PutBytes(t.Context(), types.OCIUncompressedLayer, raw.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trees.extract(t.Context(), d); err == nil {
				t.Error("the tree was made")
			}
			if _, err := os.Lstat(filepath.Join(outside, "canary")); err == nil {
				t.Error("a file is outside")
			}
			if left, _ := os.ReadDir(outside); len(left) > 0 {
				t.Errorf("outside are %v", left)
			}
		})
	}
}

func TestInstructionsAreToldWithoutPasswords(t *testing.T) {
	for text, want := range map[string]string{
		"ADD https://u:s3cret@h/x etc/":                      "ADD https://***@h/x etc/",
		"RUN curl ftp://u:s3cret@h/ 'http://a@b/c' && x@y:z": "RUN curl ftp://***@h/ 'http://***@b/c' && x@y:z",
		"FROM h:5/app@sha256:abc":                            "FROM h:5/app@sha256:abc",
		"ADD https://h/x@1.2 etc/":                           "ADD https://h/x@1.2 etc/",
	} {
		if got := discreet(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
