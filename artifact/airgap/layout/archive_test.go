package layout_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact/airgap/airgaptest"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	ociarchive "github.com/sealrt/sealrt/artifact/archive"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
)

// unpackedImages returns an images/ directory with two images that share a
// layer, and the names of both.
func unpackedImages(t *testing.T) (dir, a, b string) {
	t.Helper()
	reg := registrytest.New(t)
	reg.Push(t, "a:1", registrytest.Image(t, amd64, 100, "base", "a"))
	reg.Push(t, "b:1", registrytest.Image(t, amd64, 100, "base", "b"))
	store := registrytest.Store(t)
	set := airgaptest.Collect(t, store, amd64, airgaptest.List(t, reg, "a:1", "b:1"))
	return airgaptest.Unpack(t, store, set), reg.Host + "/a:1", reg.Host + "/b:1"
}

func writeArchive(t *testing.T, dir string, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := layout.WriteArchive(t.Context(), &b, dir, names); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteArchiveOfAll(t *testing.T) {
	dir, _, _ := unpackedImages(t)
	archive := writeArchive(t, dir)
	if !bytes.Equal(archive, writeArchive(t, dir)) {
		t.Error("a second archive has other bytes")
	}
	names := airgaptest.Members(t, archive)
	if want := 2 + 2 + 2*3 + 1; len(names) != want { // directories, layout files, blobs
		t.Errorf("%d members, %d wanted: %v", len(names), want, names)
	}
	store := registrytest.Store(t)
	refs, err := ociarchive.Load(t.Context(), store, bytes.NewReader(archive), nil)
	if err != nil {
		t.Fatalf("load the archive: %v", err)
	}
	if len(refs) != 2 {
		t.Errorf("%d images loaded", len(refs))
	}
}

func TestWriteArchiveOfSome(t *testing.T) {
	dir, a, b := unpackedImages(t)
	archive := writeArchive(t, dir, b)
	if n := len(airgaptest.Members(t, archive)); n != 2+2+4 {
		t.Errorf("%d members: %v", n, airgaptest.Members(t, archive))
	}
	if bytes.Contains(archive, []byte(a)) || !bytes.Contains(archive, []byte(b)) {
		t.Error("the index does not name just the image asked for")
	}
	err := layout.WriteArchive(t.Context(), io.Discard, dir, []string{a, "nobody:1"})
	if !errors.Is(err, artifact.ErrNotFound) || !strings.Contains(err.Error(), "nobody:1") {
		t.Errorf("unknown name: %v", err)
	}
}

func TestWriteArchiveRefusesDamagedLayout(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, dir, blob string)
		want   string
	}{
		{"absent blob", func(t *testing.T, dir, blob string) {
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"short blob", func(t *testing.T, dir, blob string) {
			if err := os.Truncate(blob, 1); err != nil {
				t.Fatal(err)
			}
		}, "damaged"},
		{"blob that leads out of the tree", func(t *testing.T, dir, blob string) {
			outside := filepath.Join(t.TempDir(), "secret")
			if err := os.Rename(blob, outside); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, blob); err != nil {
				t.Fatal(err)
			}
		}, "escapes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir, _, _ := unpackedImages(t)
			blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
			if err != nil {
				t.Fatal(err)
			}
			tt.damage(t, dir, blobs[0])
			err = layout.WriteArchive(t.Context(), io.Discard, dir, nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestOpenWhatIsNoLayout(t *testing.T) {
	if _, err := layout.Open(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "images/") {
		t.Errorf("got %v", err)
	}
	dir := t.TempDir()
	for name, content := range map[string]string{"oci-layout": "{}", "index.json": `{"manifests":[{"digest":"sha256:zz"}]}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := layout.Open(dir)
	if diff := cmp.Diff(true, err != nil && strings.Contains(err.Error(), "index.json")); diff != "" {
		t.Errorf("got %v", err)
	}
}
