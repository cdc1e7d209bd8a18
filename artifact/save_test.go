package artifact

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// vast makes an image that claims a layer of 1 EiB, which is not there.
func vast(t *testing.T, s *Store) Reference {
	t.Helper()
	ref := mustRef(t, "vast:v1")
	small, _ := addLayer(t, s, "etc/a", "one")
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{
		small, {MediaType: types.OCILayerZStd, Size: 1 << 60, Digest: digestOf([]byte("nowhere"))},
	}}
	m.Config = addJSON(t, s, types.OCIConfigJSON, v1.ConfigFile{Architecture: "amd64", OS: "linux"})
	check(t, s.Tag(t.Context(), ref, addJSON(t, s, types.OCIManifestSchema1, m)))
	return ref
}

func TestRoomIsAskedForBeforeTheFirstByte(t *testing.T) {
	src := newStore(t)
	ref := vast(t, src)

	dst := newStore(t)
	_, err := Copy(t.Context(), dst, ref, src, ref, CopyOptions{Jobs: 1})
	wantError(t, err, "vast:v1", "1.0 EiB needed", "sealrt rmi", "--root")
	if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 {
		t.Errorf("the store got %v", inv)
	}

	dir := t.TempDir()
	wantError(t, SaveArchive(t.Context(), filepath.Join(dir, "x.tar"), src, []Reference{ref}, CopyOptions{}), "x.tar", "1.0 EiB needed", "free on "+dir)
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestSaveArchiveReplacesTheFileWhenItIsComplete(t *testing.T) {
	s := newStore(t)
	ref, d := tagged(t, s)
	other := mustRef(t, "a:v2")
	check(t, s.Tag(t.Context(), other, d))
	dir := t.TempDir()
	path := filepath.Join(dir, "x.tar")
	check(t, os.WriteFile(path, []byte("before"), 0o600))
	dead, alive := filepath.Join(dir, partialPrefix(path)+"DEAD"), filepath.Join(dir, partialPrefix("y.tar")+"OTHER")
	for _, p := range []string{dead, alive} {
		check(t, os.WriteFile(p, []byte("half"), 0o600))
	}

	check(t, SaveArchive(t.Context(), path, s, []Reference{ref, other, ref}, CopyOptions{}))
	one, err := os.ReadFile(path)
	check(t, err)
	check(t, SaveArchive(t.Context(), path, s, []Reference{other, ref}, CopyOptions{}))
	two, err := os.ReadFile(path)
	check(t, err)
	if !bytes.Equal(one, two) {
		t.Error("the order of the names changes the bytes")
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a dead process left is there: %v", err)
	}
	if _, err := os.Stat(alive); err != nil {
		t.Errorf("another file's is gone: %v", err)
	}

	_, m, _, err := Manifest(t.Context(), s, ref, nil)
	check(t, err)
	rot(t, s, m.Layers[1].Digest)
	wantError(t, SaveArchive(t.Context(), path, s, []Reference{ref}, CopyOptions{}), "save to "+path)
	if three, _ := os.ReadFile(path); !bytes.Equal(two, three) {
		t.Error("a save that failed changed the file")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// rot changes the last byte of a blob.
func rot(t *testing.T, s *Store, h v1.Hash) {
	t.Helper()
	b, err := os.ReadFile(s.BlobPath(h))
	check(t, err)
	b[len(b)-1] ^= 1
	check(t, os.WriteFile(s.BlobPath(h), b, 0o644))
}

func TestDamageInAStoreNamesTheFileAndTheWayOut(t *testing.T) {
	s := newStore(t)
	ref, d := tagged(t, s)
	_, m, _, err := Manifest(t.Context(), s, ref, nil)
	check(t, err)
	damaged := m.Layers[1].Digest
	// in the middle of a compressed stream, where a decoder meets it first
	b, err := os.ReadFile(s.BlobPath(damaged))
	check(t, err)
	b[len(b)/2] ^= 1
	check(t, os.WriteFile(s.BlobPath(damaged), b, 0o644))
	advice := "remove " + s.BlobPath(damaged) + ", then pull or load"

	f := newFakeRegistry(t)
	_, err = Copy(t.Context(), fastRegistry(RegistryOptions{}), f.ref(t, "k3s:v1"), s, ref, CopyOptions{})
	wantError(t, err, advice)
	wantError(t, WriteArchive(t.Context(), &bytes.Buffer{}, s, []Reference{ref}, CopyOptions{}), advice)
	wantError(t, Unpack(t.Context(), s, ref, m, filepath.Join(t.TempDir(), "tree")), "layer 2 of 2", advice)

	// The advice works.
	fresh := newStore(t)
	from, _ := tagged(t, fresh)
	check(t, os.Remove(s.BlobPath(damaged)))
	wantError(t, WriteArchive(t.Context(), &bytes.Buffer{}, s, []Reference{ref}, CopyOptions{}), "pull or load the image again")
	copyImage(t, s, ref, fresh, from)
	requireWholeStore(t, s, ref)

	// So it does for a manifest, without which a sweep cannot tell what is garbage.
	rot(t, s, d.Digest)
	_, err = s.Sweep(t.Context())
	wantError(t, err, "remove "+s.BlobPath(d.Digest))
	check(t, os.Remove(s.BlobPath(d.Digest)))
	copyImage(t, s, ref, fresh, from)
	requireWholeStore(t, s, ref)
}

func TestArchiveErrorsSayWhatToDo(t *testing.T) {
	s := newStore(t)
	ref, _ := tagged(t, s)
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole.tar")
	check(t, SaveArchive(t.Context(), whole, s, []Reference{ref}, CopyOptions{}))
	b, err := os.ReadFile(whole)
	check(t, err)
	write := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		check(t, os.WriteFile(path, b, 0o644))
		return path
	}
	layout := file{name: "oci-layout", content: layoutFile}
	blob := file{name: blobDir + digestOf([]byte("{}")).Hex, content: "{}"}
	index := file{name: "index.json", content: strings.ReplaceAll(`{"schemaVersion":2,"manifests":[{"mediaType":"application/json","size":2,"digest":"D"}]}`, "D", digestOf([]byte("{}")).String())}
	for name, tc := range map[string]struct{ path, want string }{
		"cut short":   {write("short.tar", b[:len(b)/2]), "copy it here again"},
		"cut between": {write("between.tar", makeTar(t, layout, blob)[:2048]), "copy it here again"},
		"noise":       {write("noise.tar", noise(7, 4096)), "skopeo copy"},
		"empty":       {write("empty.tar", nil), "skopeo copy"},
		"directory":   {dir, "tar -C DIR -cf FILE ."},
		"other entry": {write("other.tar", makeTar(t, layout, blob, index)), `"application/json"`},
	} {
		t.Run(name, func(t *testing.T) {
			dst := newStore(t)
			f, err := os.Open(tc.path)
			check(t, err)
			defer f.Close()
			_, err = Receive(t.Context(), dst, f, nil)
			wantError(t, err, tc.want)
			if inv, _ := dst.Inventory(t.Context()); len(inv) != 0 && name != "other entry" {
				t.Errorf("an archive that is seen to be bad left %v", inv)
			}
			if list, _ := dst.Refs(t.Context()); len(list) != 0 {
				t.Errorf("names: %v", list)
			}
		})
	}
}
