package layer

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// owners returns the owner of everything below top.
func owners(t *testing.T, top string) map[string][2]int {
	t.Helper()
	got := map[string][2]int{}
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == top {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(top, path)
		stat := info.Sys().(*syscall.Stat_t)
		got[name] = [2]int{int(stat.Uid), int(stat.Gid)}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func capability(t *testing.T, path string) string {
	t.Helper()
	value := make([]byte, 100)
	n, err := unix.Getxattr(path, "security.capability", value)
	if err != nil {
		t.Fatal(err)
	}
	return string(value[:n])
}

func whiteoutDevice(t *testing.T, path string) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFCHR, 0); err != nil {
		t.Skipf("this machine lets nobody make whiteouts: %v", err)
	}
}

func setAttribute(t *testing.T, path, name, value string) {
	t.Helper()
	if err := unix.Setxattr(path, name, []byte(value), 0); err != nil {
		t.Skipf("this file system has no attributes: %v", err)
	}
}

func names(t *testing.T, dir string, read func(string) func(func(Entry, error) bool)) []string {
	t.Helper()
	var got []string
	for e, err := range read(dir) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Mode.String()+" "+e.Name)
	}
	return got
}

func TestFromOverlayReadsWhiteoutsAndOpaqueDirectories(t *testing.T) {
	upper := t.TempDir()
	populate(t, upper, "!first=x", "a/new=x", "b/.hidden=x", "b/deep/new=x", "c/new=x", "d/new=x", "z=-> a")
	for _, name := range []string{"gone", "a/gone", "b/-gone", "b/old"} {
		whiteoutDevice(t, filepath.Join(upper, name))
	}
	setAttribute(t, filepath.Join(upper, "b"), "user.overlay.opaque", "y")
	setAttribute(t, filepath.Join(upper, "d"), "user.overlay.opaque", "x") // no opaque directory
	want := []string{
		"---------- .wh.gone", "-rw-r--r-- !first", "drwxr-xr-x a", "---------- a/.wh.gone", "-rw-r--r-- a/new",
		"drwxr-xr-x b", "---------- b/.wh.-gone", "---------- b/.wh..wh..opq", "---------- b/.wh.old", "-rw-r--r-- b/.hidden",
		"drwxr-xr-x b/deep", "-rw-r--r-- b/deep/new", "drwxr-xr-x c", "-rw-r--r-- c/new", "drwxr-xr-x d", "-rw-r--r-- d/new", "Lrwxrwxrwx z",
	}
	if os.Geteuid() == 0 {
		setAttribute(t, filepath.Join(upper, "c"), "trusted.overlay.opaque", "y")
		want = append(want[:13], append([]string{"---------- c/.wh..wh..opq"}, want[13:]...)...)
	}
	if diff := cmp.Diff(want, names(t, upper, func(d string) func(func(Entry, error) bool) { return FromOverlay(d) })); diff != "" {
		t.Error(diff)
	}

	// And back: applied on what is below, the deleted is gone and the rest is there.
	raw, _ := mustWrite(t, Options{}, FromOverlay(upper))
	merged := t.TempDir()
	populate(t, merged, "gone/x=old", "a/gone=old", "a/kept=old", "b/deep/old=old", "b/other=old", "d/kept=old")
	if err := extract(t, merged, raw); err != nil {
		t.Fatal(err)
	}
	got := snapshot(t, merged)
	for name := range got {
		if strings.Contains(got[name], "old") != strings.HasSuffix(name, "kept") {
			t.Errorf("%s: %s", name, got[name])
		}
	}
	if got["a/kept"] == "" || got["d/kept"] == "" || got["b/deep/new"] == "" {
		t.Errorf("missing files: %v", got)
	}
}

func TestFromOverlayKeepsOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else may change owners")
	}
	upper := t.TempDir()
	populate(t, upper, "a=x")
	if err := os.Chown(filepath.Join(upper, "a"), 12, 34); err != nil {
		t.Fatal(err)
	}
	for e, err := range FromOverlay(upper) {
		if err != nil || e.UID != 12 || e.GID != 34 {
			t.Errorf("%+v, %v", e, err)
		}
	}
	for e, err := range FromDir(upper) {
		if err != nil || e.UID != 0 || e.GID != 0 {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

func TestFromOverlayRefuses(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"a pipe": {func(t *testing.T, path string) { mknod(t, path, unix.S_IFIFO) }, "a/it: a named pipe cannot"},
		"a moved directory": {func(t *testing.T, path string) {
			populate(t, filepath.Dir(path), "it/")
			setAttribute(t, path, "user.overlay.redirect", "/elsewhere")
		}, "redirect_dir=off"},
		"a file without its content": {func(t *testing.T, path string) {
			populate(t, filepath.Dir(path), "it=x")
			setAttribute(t, path, "user.overlay.metacopy", "")
		}, "metacopy=off"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			upper := t.TempDir()
			populate(t, upper, "a/")
			test.make(t, filepath.Join(upper, "a/it"))
			err := lastError(FromOverlay(upper))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestFromOverlayTakesASocketForNothing(t *testing.T) {
	upper := t.TempDir()
	populate(t, upper, "a/f=x")
	mknod(t, filepath.Join(upper, "a/it"), unix.S_IFSOCK)
	var names []string
	for e, err := range FromOverlay(upper) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	if diff := cmp.Diff([]string{"a", "a/.wh.it", "a/f"}, names); diff != "" {
		t.Error(diff)
	}
}

func mknod(t *testing.T, path string, mode uint32) {
	t.Helper()
	if err := unix.Mknod(path, mode|0o600, 0); err != nil {
		t.Fatal(err)
	}
}

func TestFromDirRefusesADevice(t *testing.T) {
	top := t.TempDir()
	whiteoutDevice(t, filepath.Join(top, "null"))
	if err := lastError(FromDir(top)); err == nil || !strings.Contains(err.Error(), "null: a device cannot") {
		t.Errorf("error %v", err)
	}
}

// lowerForm extracts a layer as a lower directory, and lists what FromOverlay makes of it.
func lowerForm(t *testing.T, headers ...tar.Header) ([]string, []OverlayDir) {
	t.Helper()
	whiteoutDevice(t, filepath.Join(t.TempDir(), "probe"))
	top := t.TempDir()
	dirs, err := ExtractOverlay(t.Context(), top, bytes.NewReader(rawTar(t, headers...)), ExtractOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return names(t, top, func(d string) func(func(Entry, error) bool) { return FromOverlay(d) }), dirs
}

func TestExtractOverlayMarksWhatTheLayerDeletes(t *testing.T) {
	gone := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	for name, test := range map[string]struct {
		headers []tar.Header
		want    []string
		dirs    []OverlayDir
	}{
		"a file": {[]tar.Header{dir("d"), gone("d/.wh.x")}, []string{"drwxr-xr-x d", "---------- d/.wh.x"},
			[]OverlayDir{{Name: ".", Used: true}, {Name: "d", Stated: true, Hides: true}}},
		"in the root": {[]tar.Header{dir("."), gone(".wh.x")}, []string{"---------- .wh.x"},
			[]OverlayDir{{Name: ".", Stated: true, Used: true, Hides: true}}},
		"a directory's members": {[]tar.Header{dir("d"), gone("d/.wh..wh..opq"), reg("d/x")}, []string{"drwxr-xr-x d", "---------- d/.wh..wh..opq", "-rw-r--r-- d/x"},
			[]OverlayDir{{Name: ".", Used: true}}},
		"what it replaces by a file": {[]tar.Header{gone(".wh.x"), reg("x")}, []string{"-rw-r--r-- x"}, []OverlayDir{{Name: ".", Used: true}}},
		"what it replaces by a directory": {[]tar.Header{gone(".wh.d"), dir("d"), reg("d/x")}, []string{"drwxr-xr-x d", "---------- d/.wh..wh..opq", "-rw-r--r-- d/x"},
			[]OverlayDir{{Name: ".", Used: true}}},
		"the directory after what replaces it": {[]tar.Header{reg("d/x"), gone(".wh.d")}, []string{"drwxr-xr-x d", "---------- d/.wh..wh..opq", "-rw-r--r-- d/x"},
			[]OverlayDir{{Name: ".", Used: true}, {Name: "d", Stated: true, Used: true}}},
		"below directories that it does not have": {[]tar.Header{gone("d/e/.wh.x")}, []string{"drwxr-xr-x d", "drwxr-xr-x d/e", "---------- d/e/.wh.x"},
			[]OverlayDir{{Name: ".", Used: true}, {Name: "d"}, {Name: "d/e", Hides: true}}},
		"below its own file": {[]tar.Header{gone("d/.wh.x"), reg("d")}, []string{"-rw-r--r-- d"}, []OverlayDir{{Name: ".", Used: true}}},
		"nothing, in directories that it does not state": {[]tar.Header{reg("d/e/x"), dir("d/e"), reg("f/x"), reg("f")},
			[]string{"drwxr-xr-x d", "drwxr-xr-x d/e", "-rw-r--r-- d/e/x", "-rw-r--r-- f"},
			[]OverlayDir{{Name: ".", Used: true}, {Name: "d", Used: true}, {Name: "d/e", Stated: true, Used: true}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, dirs := lowerForm(t, test.headers...)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.dirs, dirs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExtractOverlayNeedsTheTargetsOfHardLinks(t *testing.T) {
	_, err := ExtractOverlay(t.Context(), t.TempDir(), bytes.NewReader(rawTar(t, hard("x", "below"))), ExtractOptions{})
	if err == nil || !strings.Contains(err.Error(), `entry "x": hard link "below" leads to nothing`) {
		t.Errorf("error %v", err)
	}
}
