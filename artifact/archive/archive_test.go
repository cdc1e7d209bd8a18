package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/artifacttest"
	"github.com/sealrt/sealrt/artifact/store"
)

// save writes refs of src as an archive.
func save(t testing.TB, src *store.Store, o artifact.CopyOptions, refs ...artifact.Reference) []byte {
	t.Helper()
	var b bytes.Buffer
	a := NewSink(&b)
	for _, ref := range refs {
		_, err := artifact.Copy(t.Context(), a, ref, src, ref, o)
		artifacttest.Check(t, err)
	}
	artifacttest.Check(t, a.Close())
	return b.Bytes()
}

// twoImages share a layer.
func twoImages(t testing.TB, s *store.Store) []artifact.Reference {
	t.Helper()
	refs := []artifact.Reference{artifacttest.MustRef(t, "k3s:v1"), artifacttest.MustRef(t, "k3s:v2")}
	for i, ref := range refs {
		artifacttest.Check(t, s.Tag(t.Context(), ref, artifacttest.AddImage(t, s, "amd64", []string{"shared", string(artifacttest.Noise(5, 1<<20))}, []string{"own", fmt.Sprint(i)})))
	}
	return refs
}

func entryNames(t testing.TB, b []byte) []string {
	t.Helper()
	var names []string
	for tr := tar.NewReader(bytes.NewReader(b)); ; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		artifacttest.Check(t, err)
		if hdr.ModTime.Unix() != 0 || hdr.Uid != 0 || hdr.Uname != "" {
			t.Errorf("%s: mtime %v, owner %d %q", hdr.Name, hdr.ModTime, hdr.Uid, hdr.Uname)
		}
		names = append(names, hdr.Name)
	}
}

func TestArchiveIsDeterministicAndSharesBlobs(t *testing.T) {
	src := newStore(t)
	refs := twoImages(t, src)
	a, b := save(t, src, artifact.CopyOptions{Jobs: 8}, refs...), save(t, src, artifact.CopyOptions{}, refs...)
	if !bytes.Equal(a, b) {
		t.Error("the same images gave other bytes")
	}
	names := entryNames(t, a)
	if names[0] != "oci-layout" || names[len(names)-1] != "index.json" {
		t.Errorf("entries: %v", names)
	}
	if slices.Sort(names); len(slices.Compact(names)) != 1+2+7+1 { // layout, directories, 3 layers 2 configs 2 manifests, index
		t.Errorf("entries: %v", names)
	}
}

func TestArchiveRoundTrip(t *testing.T) {
	src := newStore(t)
	refs := twoImages(t, src)
	plain := save(t, src, artifact.CopyOptions{}, refs...)
	var zipped, zstded bytes.Buffer
	gz := gzip.NewWriter(&zipped)
	gz.Write(plain)
	artifacttest.Check(t, gz.Close())
	zw, err := zstd.NewWriter(&zstded)
	artifacttest.Check(t, err)
	zw.Write(plain)
	artifacttest.Check(t, zw.Close())
	want, err := src.Refs(t.Context())
	artifacttest.Check(t, err)
	for name, b := range map[string][]byte{"plain": plain, "gzip": zipped.Bytes(), "zstd": zstded.Bytes()} {
		t.Run(name, func(t *testing.T) {
			dst := newStore(t)
			got, err := Load(t.Context(), dst, iotest.OneByteReader(bytes.NewReader(b[:512:512])), nil)
			if err == nil {
				t.Fatalf("the first 512 bytes were taken for an archive: %v", got)
			}
			got, err = Load(t.Context(), dst, struct{ io.Reader }{bytes.NewReader(b)}, nil)
			artifacttest.Check(t, err)
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b artifact.Reference) bool { return a == b })); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			for _, ref := range refs {
				artifacttest.RequireWholeStore(t, dst, ref)
			}
			if left := artifacttest.Ingest(t, dst); len(left) > 0 {
				t.Errorf("left in ingest: %v", left)
			}
		})
	}
}

func TestArchiveIsReadWhereItLies(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	refs := twoImages(t, src)
	file := filepath.Join(t.TempDir(), "a.tar")
	b := save(t, src, artifact.CopyOptions{}, refs...)
	artifacttest.Check(t, os.WriteFile(file, b, 0o600))
	a, err := Open(file)
	artifacttest.Check(t, err)
	defer a.Close()
	if got := a.Refs(); len(got) != 2 || got[0].Ref != refs[0] {
		t.Errorf("Refs = %v", got)
	}
	artifacttest.CopyImage(t, dst, refs[1], a, refs[1])
	artifacttest.RequireWholeStore(t, dst, refs[1])
	if _, err := a.Resolve(t.Context(), artifacttest.MustRef(t, "other:v1")); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("resolve of what is not in it: %v", err)
	}
	// A bit that rots in the file is noticed when it is read.
	_, m, _, err := artifact.Manifest(t.Context(), src, refs[0], nil)
	artifacttest.Check(t, err)
	i := bytes.Index(b, []byte("blobs/sha256/"+m.Layers[0].Digest.Hex))
	b[i+512+100] ^= 1
	rotten, err := New("rotten", bytes.NewReader(b), int64(len(b)))
	artifacttest.Check(t, err)
	_, err = artifact.Copy(t.Context(), newStore(t), refs[0], rotten, refs[0], artifact.CopyOptions{})
	artifacttest.WantError(t, err, "the source is damaged", m.Layers[0].Digest.String())
	_, err = Load(t.Context(), newStore(t), bytes.NewReader(b), nil)
	artifacttest.WantError(t, err, "the source is damaged", m.Layers[0].Digest.String())
	// One that is cut is not opened at all.
	_, err = New("cut", bytes.NewReader(b[:len(b)/2]), int64(len(b)/2))
	if err == nil {
		t.Error("half an archive was opened")
	}
}

func TestTheImageForOnePlatformIsFoundByItsDigest(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	amd, arm := artifacttest.AddImage(t, src, "amd64", []string{"etc/a", "one"}), artifacttest.AddImage(t, src, "arm64", []string{"etc/a", "two"})
	inner := artifacttest.AddJSON(t, src, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{arm}})
	outer := artifacttest.AddJSON(t, src, types.OCIImageIndex, v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{amd, inner}})
	ref := artifacttest.MustRef(t, "k3s:v1")
	artifacttest.Check(t, src.Tag(t.Context(), ref, outer))
	b := save(t, src, artifact.CopyOptions{}, ref)
	a, err := New("a.tar", bytes.NewReader(b), int64(len(b)))
	artifacttest.Check(t, err)
	for _, d := range []v1.Descriptor{amd, arm} {
		artifacttest.CopyImage(t, dst, ref.WithDigest(d.Digest), a, ref.WithDigest(d.Digest))
		artifacttest.RequireWholeStore(t, dst, ref.WithDigest(d.Digest))
	}
	if _, err := a.Resolve(t.Context(), ref.WithDigest(artifacttest.DigestOf([]byte("x")))); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestDeltaArchiveNamesWhatItPresumes(t *testing.T) {
	src, dst := newStore(t), newStore(t)
	refs := twoImages(t, src)
	_, base, _, err := artifact.Manifest(t.Context(), src, refs[0], nil)
	artifacttest.Check(t, err)
	shared := base.Layers[0].Digest
	delta := save(t, src, artifact.CopyOptions{Have: func(h v1.Hash) bool { return h == shared }}, refs[1])
	if len(delta) > 1<<20 {
		t.Errorf("the delta has %d bytes", len(delta))
	}
	_, err = Load(t.Context(), dst, bytes.NewReader(delta), nil)
	artifacttest.WantError(t, err, shared.String(), "k3s:v2", "loaded first")
	if !errors.Is(err, artifact.ErrNotFound) {
		t.Error("the error is not artifact.ErrNotFound")
	}
	if list, _ := dst.Refs(t.Context()); len(list) != 0 {
		t.Errorf("names after the failure: %v", list)
	}
	artifacttest.CopyImage(t, dst, refs[0], src, refs[0])
	_, err = Load(t.Context(), dst, bytes.NewReader(delta), nil)
	artifacttest.Check(t, err)
	artifacttest.RequireWholeStore(t, dst, refs[1])
}

type file struct {
	name, content string
	typ           byte
}

func makeTar(t testing.TB, files ...file) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Typeflag: f.typ}
		switch f.typ {
		case 0:
			h.Typeflag, h.Size = tar.TypeReg, int64(len(f.content))
		case tar.TypeSymlink, tar.TypeLink:
			h.Linkname = f.content
		}
		artifacttest.Check(t, w.WriteHeader(h))
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, f.content)
		}
	}
	artifacttest.Check(t, w.Close())
	return b.Bytes()
}

func TestBadArchivesAreRefused(t *testing.T) {
	layout := file{name: "oci-layout", content: artifact.LayoutFile}
	hex := strings.Repeat("a", 64)
	entry := func(digest string) string {
		return fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":2,"digest":%q}]}`, digest)
	}
	for name, tc := range map[string]struct {
		files []file
		want  string
	}{
		"parent":           {[]file{layout, {name: "../../etc/passwd", content: "x"}}, "leads out"},
		"parent in blobs":  {[]file{layout, {name: "blobs/sha256/../../../x", content: "x"}}, "leads out"},
		"absolute":         {[]file{layout, {name: "/etc/passwd", content: "x"}}, "leads out"},
		"symbolic link":    {[]file{layout, {name: "blobs/sha256", content: "/etc", typ: tar.TypeSymlink}}, "not a regular file"},
		"hard link":        {[]file{layout, {name: "blobs/sha256/" + hex, content: "/etc/shadow", typ: tar.TypeLink}}, "not a regular file"},
		"name no digest":   {[]file{layout, {name: "blobs/sha256/evil", content: "x"}}, "not named by a digest"},
		"wrong digest":     {[]file{layout, {name: "blobs/sha256/" + hex, content: "x"}}, "digest sha256:"},
		"docker-archive":   {[]file{{name: "manifest.json", content: "[]"}, {name: "x/layer.tar", content: "y"}}, "skopeo copy docker-archive:"},
		"no index":         {[]file{layout}, "no index.json"},
		"no layout":        {[]file{{name: "index.json", content: entry("sha256:" + hex)}}, "no oci-layout"},
		"no image":         {[]file{layout, {name: "index.json", content: `{"schemaVersion":2,"manifests":[]}`}}, "names no image"},
		"index no json":    {[]file{layout, {name: "index.json", content: "{"}}, "index.json"},
		"digest in index":  {[]file{layout, {name: "index.json", content: entry("sha256:../../etc")}}, "index.json"},
		"missing manifest": {[]file{layout, {name: "index.json", content: entry("sha256:" + hex)}}, "not found"},
		"huge index":       {[]file{layout, {name: "index.json", content: strings.Repeat(" ", artifact.MaxManifest+1)}}, "4.0 MiB"},
		"another version":  {[]file{{name: "oci-layout", content: `{"imageLayoutVersion":"2.0.0"}`}}, "1.0.0"},
	} {
		t.Run(name, func(t *testing.T) {
			b := makeTar(t, tc.files...)
			s := newStore(t)
			_, err := Load(t.Context(), s, bytes.NewReader(b), nil)
			artifacttest.WantError(t, err, tc.want)
			if list, _ := s.Refs(t.Context()); len(list) != 0 {
				t.Errorf("names: %v", list)
			}
			if name != "missing manifest" && name != "wrong digest" {
				_, err = New("x.tar", bytes.NewReader(b), int64(len(b)))
				artifacttest.WantError(t, err, tc.want, "x.tar")
			}
		})
	}
}

func TestCompressedArchiveIsNotOpenedInPlace(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(make([]byte, 2048))
	artifacttest.Check(t, w.Close())
	_, err := New("a.tar.gz", bytes.NewReader(b.Bytes()), int64(b.Len()))
	artifacttest.WantError(t, err, "a.tar.gz", "gzip", "sealrt load")
}

func TestEmptyArchiveIsAnError(t *testing.T) {
	artifacttest.WantError(t, NewSink(io.Discard).Close(), "no image")
}

func TestArchiveSinkStaysBroken(t *testing.T) {
	src := newStore(t)
	ref, _ := artifacttest.Tagged(t, src)
	boom := errors.New("boom")
	a := NewSink(iotestWriter{boom})
	if _, err := artifact.Copy(t.Context(), a, ref, src, ref, artifact.CopyOptions{}); !errors.Is(err, boom) {
		t.Errorf("copy: %v", err)
	}
	if err := a.Close(); !errors.Is(err, boom) {
		t.Errorf("close: %v", err)
	}
}

type iotestWriter struct{ err error }

func (w iotestWriter) Write([]byte) (int, error) { return 0, w.err }
