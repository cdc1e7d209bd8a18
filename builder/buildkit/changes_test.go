package buildkit

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder"
)

// archive returns a file with the given headers; regular files hold their own name as often as fits into Size.
func archive(t *testing.T, headers ...tar.Header) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer.tar"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w := tar.NewWriter(f)
	for _, h := range headers {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, strings.Repeat(h.Name, 1+int(h.Size))[:h.Size])
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestEntriesAreThoseOfAnOverlay(t *testing.T) {
	long := strings.Repeat("long/", 60) + "name"
	entries, err := readEntries(t.Context(), archive(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeDir, Name: "dir/", Mode: 0o1755, Uid: 1, Gid: 2},
		tar.Header{Typeflag: tar.TypeReg, Name: "dir/file", Mode: 0o4711, Size: 20},
		tar.Header{Typeflag: tar.TypeReg, Name: "dir/empty", Mode: 0o644},
		tar.Header{Typeflag: tar.TypeLink, Name: "dir/same", Linkname: "dir/file", Mode: 0o4711},
		tar.Header{Typeflag: tar.TypeLink, Name: "again", Linkname: "/dir/same", Mode: 0o4711},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "dir/link", Linkname: "../x", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeLink, Name: "linked", Linkname: "dir/link", Mode: 0o777},
		tar.Header{Typeflag: tar.TypeReg, Name: "dir/.wh.gone"},
		tar.Header{Typeflag: tar.TypeReg, Name: "/dir/.wh..wh..opq"},
		tar.Header{Typeflag: tar.TypeReg, Name: long, Mode: 0o600, Size: 600, Uid: 3_000_000},
	))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, fmt.Sprintf("%s %v %d:%d %d %q %s", e.Name, e.Mode, e.UID, e.GID, e.Size, e.Linkname, read(t, e)))
	}
	want := []string{
		`dir dtrwxr-xr-x 1:2 0 "" `,
		`dir/file urwx--x--x 0:0 20 "" dir/filedir/filedir/`,
		`dir/empty -rw-r--r-- 0:0 0 "" `,
		`dir/same urwx--x--x 0:0 20 "" dir/filedir/filedir/`,
		`again urwx--x--x 0:0 20 "" dir/filedir/filedir/`,
		`dir/link Lrwxrwxrwx 0:0 0 "../x" `,
		`linked Lrwxrwxrwx 0:0 0 "../x" `,
		`dir/.wh.gone ---------- 0:0 0 "" `,
		`dir/.wh..wh..opq ---------- 0:0 0 "" `,
		long + ` -rw------- 3000000:0 600 "" ` + (long + long)[:600],
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := layer.Write(t.Context(), io.Discard, layer.Sorted(entries), layer.Options{}); err != nil {
		t.Errorf("they make no layer: %v", err)
	}
}

func TestEntriesThatNoLayerHoldsAreErrors(t *testing.T) {
	for want, h := range map[string]tar.Header{
		"dev/x: a device":                {Typeflag: tar.TypeChar, Name: "dev/x"},
		"pipe: a device or named pipe":   {Typeflag: tar.TypeFifo, Name: "pipe"},
		"a/.wh.b: names that start":      {Typeflag: tar.TypeReg, Name: "a/.wh.b", Size: 3},
		"a/.wh.c: names that start":      {Typeflag: tar.TypeDir, Name: "a/.wh.c"},
		"l: hard link to nowhere":        {Typeflag: tar.TypeLink, Name: "l", Linkname: "nowhere"},
		`odd: entries of type 'Z' are`:   {Typeflag: 'Z', Name: "odd"},
		`again: hard link to dir, which`: {Typeflag: tar.TypeLink, Name: "again", Linkname: "dir"},
	} {
		_, err := readEntries(t.Context(), archive(t, tar.Header{Typeflag: tar.TypeDir, Name: "dir"}, h))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

func TestMountPointsAreLeftOut(t *testing.T) {
	dir := func(name string, mode os.FileMode) layer.Entry {
		return layer.Entry{Name: name, Mode: os.ModeDir | mode}
	}
	s := newStore(t)
	c := builder.Command{HasShell: true}
	for _, entries := range [][]layer.Entry{
		{file("had/f", ""), file("once/f", ""), file("twice/f", ""), file("emptied/f", ""), file("file", "")},
		{layer.Whiteout("once"), layer.Whiteout("twice"), file("twice/g", ""), layer.Opaque("emptied"), file("emptied/g", ""), layer.Whiteout("file"), file("file/f", "")},
		{layer.Whiteout("emptied"), layer.Whiteout("file/f")},
	} {
		c.Layers = append(c.Layers, putLayer(t, s, layer.Zstd, entries...).Descriptor())
	}
	targets := []string{"/new", "/a/b/c", "/had/m", "/once/m", "/twice/m", "/emptied/m", "/file/m", "/kept", "/used/m", "/secret"}
	got, err := withoutStubs(t.Context(), s, c, targets, []layer.Entry{
		dir("new", 0o755), dir("a", 0o755), dir("a/b", 0o755), dir("a/b/c", 0o755), dir("had", 0o755), dir("had/m", 0o755),
		dir("once", 0o755), dir("once/m", 0o755), dir("twice", 0o755), dir("twice/m", 0o755), dir("emptied", 0o755), dir("emptied/m", 0o755),
		dir("file", 0o755), dir("kept", 0o711), dir("used", 0o755), dir("used/m", 0o755), file("used/n", "x"), file("secret", ""),
		dir("proc", 0o755), dir("etc", 0o755), file("etc/hosts", ""), dir("mine", 0o755), layer.Whiteout("x"),
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range got {
		names = append(names, e.Name)
	}
	want := []string{"had", "twice", "file", "kept", "used", "used/n", "mine", ".wh.x"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

func TestMountPointsInTheSandboxAreThoseBelowTheTree(t *testing.T) {
	got := stubNames(false, []string{"/rootfs", "/rootfs/a/b", "/run/secrets/x", "/rootfsx/a"})
	if diff := cmp.Diff([]string{"a/b"}, got); diff != "" {
		t.Error(diff)
	}
}

// Layers of others need not be in the order of ours, nor name every directory.
func TestTreesAreKnownFromTheirLayers(t *testing.T) {
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	s := newStore(t)
	var layers []v1.Descriptor
	for _, headers := range [][]tar.Header{
		{reg("implied/f"), reg("opaque/old"), reg("over/f"), reg("over2/f"), reg("gone/f"), reg("again/f")},
		{reg("opaque/.new"), reg("opaque/.wh..wh..opq"), reg("over"), {Typeflag: tar.TypeDir, Name: "over2"}, reg("again/g"), reg(".wh.again"), reg(".wh.gone")},
	} {
		data, err := io.ReadAll(archive(t, headers...))
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.PutBytes(t.Context(), layer.None.MediaType(), data)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, d)
	}
	want := map[string]bool{"implied": true, "opaque/.new": true, "opaque/old": false, "over": true, "over/f": false, "over2/f": true,
		"gone": false, "gone/f": false, "again": true, "again/f": false, "none": false}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	has, err := inTree(t.Context(), s, layers, names)
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range want {
		if has[name] != is {
			t.Errorf("%s is there: %t, want %t", name, has[name], is)
		}
	}
}
