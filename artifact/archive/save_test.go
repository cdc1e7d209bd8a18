package archive

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/disk"
)

func TestRoomIsAskedForBeforeTheFirstByte(t *testing.T) {
	src := newStore(t)
	ref := artifacttest.Vast(t, src)

	dir := t.TempDir()
	artifacttest.WantError(t, Save(t.Context(), filepath.Join(dir, "x.tar"), src, []artifact.Reference{ref}, Options{}), "x.tar", "1.0 EiB needed", "free on "+dir)
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestSaveReplacesTheFileWhenItIsComplete(t *testing.T) {
	s := newStore(t)
	ref, d := artifacttest.Tagged(t, s)
	other := artifacttest.MustRef(t, "a:v2")
	artifacttest.Check(t, s.Tag(t.Context(), other, d))
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	artifacttest.Check(t, os.WriteFile(path, []byte("before"), 0o600))
	dead, alive := filepath.Join(dir, disk.Unfinished(path)+"DEAD"), filepath.Join(dir, disk.Unfinished("y.tar")+"OTHER")
	for _, p := range []string{dead, alive} {
		artifacttest.Check(t, os.WriteFile(p, []byte("half"), 0o600))
	}

	artifacttest.Check(t, Save(t.Context(), path, s, []artifact.Reference{ref, other, ref}, Options{}))
	one, err := os.ReadFile(path)
	artifacttest.Check(t, err)
	artifacttest.Check(t, Save(t.Context(), path, s, []artifact.Reference{other, ref}, Options{}))
	two, err := os.ReadFile(path)
	artifacttest.Check(t, err)
	if !bytes.Equal(one, two) {
		t.Error("the order of the names changes the bytes")
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead process left is there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("another file's is gone: %v", err)
	}

	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	artifacttest.Check(t, os.Truncate(s.BlobPath(m.Layers[1].Digest), 100))
	artifacttest.WantError(t, Save(t.Context(), path, s, []artifact.Reference{ref}, Options{}), "save to "+path, "100 bytes of", "remove "+s.BlobPath(m.Layers[1].Digest))
	if three, _ := os.ReadFile(path); !bytes.Equal(two, three) {
		t.Error("a save that failed changed the file")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestDamageInAStoreNamesTheFileAndTheWayOut(t *testing.T) {
	s := newStore(t)
	ref := threeLayers(t, s)
	_, m, _, err := artifact.Manifest(t.Context(), s, ref, nil)
	artifacttest.Check(t, err)
	path := s.BlobPath(m.Layers[0].Digest)
	b, err := os.ReadFile(path)
	artifacttest.Check(t, err)
	b[len(b)-1] ^= 1
	artifacttest.Check(t, os.WriteFile(path, b, 0o644))
	advice := "remove " + path + ", then pull or load"
	dir := t.TempDir()
	artifacttest.WantError(t, Save(t.Context(), filepath.Join(dir, "x"), s, []artifact.Reference{ref}, Options{}), advice)
	_, err = SaveVolumes(t.Context(), filepath.Join(dir, "x"), volumeSize, s, []artifact.Reference{ref}, Options{})
	artifacttest.WantError(t, err, advice)
	artifacttest.Check(t, os.Remove(path))
	artifacttest.WantError(t, Write(t.Context(), &bytes.Buffer{}, s, []artifact.Reference{ref}, Options{}), "pull or load the image again")
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestArchiveErrorsSayWhatToDo(t *testing.T) {
	s := newStore(t)
	ref, _ := artifacttest.Tagged(t, s)
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.tar")
	artifacttest.Check(t, Save(t.Context(), whole, s, []artifact.Reference{ref}, Options{}))
	b, err := os.ReadFile(whole)
	artifacttest.Check(t, err)
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		artifacttest.Check(t, os.WriteFile(path, b, 0o644))
		return path
	}
	layout := file{name: "oci-layout", content: artifact.LayoutFile}
	blob := file{name: blobDir + artifacttest.DigestOf([]byte("{}")).Hex, content: "{}"}
	index := file{name: "index.json", content: strings.ReplaceAll(`{"schemaVersion":2,"manifests":[{"mediaType":"application/json","size":2,"digest":"D"}]}`, "D", artifacttest.DigestOf([]byte("{}")).String())}
	for name, tc := range map[string]struct{ path, want string }{
		"cut short":   {write("short.tar", b[:len(b)/2]), "copy it here again"},
		"cut between": {write("between.tar", makeTar(t, layout, blob)[:2048]), "copy it here again"},
		"noise":       {write("noise.tar", artifacttest.Noise(7, 4096)), "skopeo copy"},
		"empty":       {write("empty.tar", nil), "skopeo copy"},
		"directory":   {dir, "tar -C DIR -cf FILE ."},
		"other entry": {write("other.tar", makeTar(t, layout, blob, index)), `"application/json"`},
	} {
		t.Run(name, func(t *testing.T) {
			dst := newStore(t)
			f, err := os.Open(tc.path)
			artifacttest.Check(t, err)
			defer f.Close()
			_, err = Load(t.Context(), dst, f, nil)
			artifacttest.WantError(t, err, tc.want)
			if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 && name != "other entry" {
				t.Errorf("an archive that is seen to be bad left %v", inv)
			}
			if list, _ := dst.Refs(t.Context()); len(list) != 0 {
				t.Errorf("names: %v", list)
			}
		})
	}
}
