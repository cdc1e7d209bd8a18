package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/registrytest"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/disk"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
)

// addTar stores an image of layers that are given as headers.
func addTar(t *testing.T, s *store.Store, layers ...[]tar.Header) (artifact.Reference, *v1.Manifest) {
	t.Helper()
	m := &v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, headers := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			h.Uid, h.Gid = os.Getuid(), os.Getgid()
			artifacttest.Check(t, w.WriteHeader(&h))
			_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
			artifacttest.Check(t, err)
		}
		artifacttest.Check(t, w.Close())
		d, err := s.PutBytes(t.Context(), types.OCIUncompressedLayer, b.Bytes())
		artifacttest.Check(t, err)
		m.Layers = append(m.Layers, d)
	}
	return artifacttest.MustRef(t, "app:1"), m
}

func TestUnpackSharesItsLimitsAmongLayers(t *testing.T) {
	s := registrytest.Store(t)
	file := func(name string) []tar.Header { return []tar.Header{{Name: name, Mode: 0o644, Size: 100}} }
	ref, m := addTar(t, s, file("a"), file("b"), file("c"))
	for _, test := range []struct {
		o    artifact.UnpackOptions
		want string
	}{
		{artifact.UnpackOptions{MaxBytes: 300, MaxEntries: 3}, ""},
		{artifact.UnpackOptions{MaxBytes: 299}, "layer 3 of 3: extract layer: entry \"c\": larger than allowed: the files are more than 299 bytes together"},
		{artifact.UnpackOptions{MaxEntries: 2}, "layer 3 of 3: extract layer: entry \"c\": larger than allowed: more than 2 files and directories"},
	} {
		parent := t.TempDir()
		err := artifact.Unpack(t.Context(), s, ref, m, filepath.Join(parent, "tree"), test.o)
		if test.want == "" {
			artifacttest.Check(t, err)
			continue
		}
		artifacttest.WantError(t, err, test.want)
		if !errors.Is(err, layer.ErrLimit) {
			t.Errorf("%v is not ErrLimit", err)
		}
		if left, _ := os.ReadDir(parent); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestUnpackKeepsSetIDBitsOnlyWithTheirOwner(t *testing.T) {
	s := registrytest.Store(t)
	ref, m := addTar(t, s, []tar.Header{{Name: "sudo", Mode: 0o4755}, {Name: "wall", Mode: 0o2755}, {Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}})
	dir := filepath.Join(t.TempDir(), "tree")
	artifacttest.Check(t, artifact.Unpack(t.Context(), s, ref, m, dir, artifact.UnpackOptions{}))
	want := map[string]fs.FileMode{"sudo": 0o755, "wall": 0o755, "tmp": fs.ModeDir | fs.ModeSticky | 0o777}
	if os.Geteuid() == 0 {
		want["sudo"] |= fs.ModeSetuid
		want["wall"] |= fs.ModeSetgid
	}
	for name, mode := range want {
		fi, err := os.Stat(filepath.Join(dir, name))
		artifacttest.Check(t, err)
		if fi.Mode() != mode {
			t.Errorf("%s: %v, want %v", name, fi.Mode(), mode)
		}
	}
}

// What is in an image can be reached only when all of it was verified, whatever modes it has.
func TestUnpackShowsNothingBeforeAllIsVerified(t *testing.T) {
	s := registrytest.Store(t)
	ref, m := addTar(t, s, []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "sudo", Mode: 0o4755}}, []tar.Header{{Name: "b", Mode: 0o644}})
	for name, prepare := range map[string]func(string){"new": func(string) {}, "standing": func(dir string) { artifacttest.Check(t, os.Mkdir(dir, 0o755)) }} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "tree")
		prepare(dir)
		where := parent
		if name == "standing" {
			where = dir
		}
		looked := false
		look := watched{s, m.Layers[1].Digest, func() {
			looked = true
			entries, err := os.ReadDir(where)
			artifacttest.Check(t, err)
			for _, e := range entries {
				fi, err := e.Info()
				artifacttest.Check(t, err)
				if fi.Mode().Perm()&0o077 != 0 {
					t.Errorf("%s: %s lets others in: %v", name, e.Name(), fi.Mode())
				}
			}
		}}
		artifacttest.Check(t, artifact.Unpack(t.Context(), look, ref, m, dir, artifact.UnpackOptions{}))
		fi, err := os.Stat(dir)
		artifacttest.Check(t, err)
		if fi.Mode().Perm() != 0o777 || !looked {
			t.Errorf("%s: mode %v", name, fi.Mode())
		}
		if left, _ := os.ReadDir(dir); len(left) != 2 {
			t.Errorf("%s: %v", name, left)
		}
		if left, _ := os.ReadDir(parent); len(left) != 1 {
			t.Errorf("%s: beside it: %v", name, left)
		}
	}
}

func TestUnpackMovesClosedDirectories(t *testing.T) {
	s := registrytest.Store(t)
	for name, root := range map[string]int64{"open": 0o755, "closed": 0o555} {
		ref, m := addTar(t, s, []tar.Header{{Name: "./", Typeflag: tar.TypeDir, Mode: root}, {Name: "a/", Typeflag: tar.TypeDir, Mode: 0o555}, {Name: "a/b", Mode: 0o444}},
			[]tar.Header{{Name: "a/c", Mode: 0o444}})
		for _, standing := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "tree")
			if standing {
				artifacttest.Check(t, os.Mkdir(dir, 0o755))
			}
			artifacttest.Check(t, artifact.Unpack(t.Context(), s, ref, m, dir, artifact.UnpackOptions{}))
			t.Cleanup(func() { disk.RemoveTree(dir) })
			for path, want := range map[string]fs.FileMode{"": fs.ModeDir | fs.FileMode(root), "a": fs.ModeDir | 0o555, "a/c": 0o444} {
				if fi, err := os.Stat(filepath.Join(dir, path)); err != nil || fi.Mode() != want {
					t.Errorf("%s, standing %v: %q is %v, %v", name, standing, path, fi, err)
				}
			}
		}
	}
}

func TestCopyRefusesImagesOfTooManyManifests(t *testing.T) {
	s := registrytest.Store(t)
	var list []v1.Descriptor
	for i := range 17 { // 17 times 4 MiB
		pad := bytes.Repeat([]byte(" "), artifact.MaxManifest-200)
		raw := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"%s","manifests":[],"n":%d%s}`, types.OCIImageIndex, i, pad)
		d, err := s.PutBytes(t.Context(), types.OCIImageIndex, raw)
		artifacttest.Check(t, err)
		list = append(list, d)
	}
	ref := artifacttest.MustRef(t, "app:1")
	artifacttest.Check(t, s.Tag(t.Context(), ref, artifacttest.AddIndex(t, s, list...)))
	_, err := artifact.Copy(t.Context(), registrytest.Store(t), ref, s, ref, artifact.CopyOptions{})
	artifacttest.WantError(t, err, "app:1", "its manifests have more than 64.0 MiB together")
}

// watched is a source that tells when a blob is opened.
type watched struct {
	artifact.Source
	digest v1.Hash
	tell   func()
}

// Open implements Source.
func (w watched) Open(ctx context.Context, ref artifact.Reference, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if d.Digest == w.digest {
		w.tell()
	}
	return w.Source.Open(ctx, ref, d, offset)
}
