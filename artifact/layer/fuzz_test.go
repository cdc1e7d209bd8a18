package layer

import (
	"archive/tar"
	"bytes"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// script turns lines such as "h name target" into an archive; @ stands for the directory outside. The letters are
// f(ile), d(irectory), s(ymlink), h(ard link), c(haracter device), b(lock device) and p(ipe).
func script(text, outside string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for line := range strings.Lines(text) {
		fields := strings.SplitN(strings.ReplaceAll(strings.TrimSuffix(line, "\n"), "@", outside), " ", 3)
		if len(fields) < 2 {
			continue
		}
		h := &tar.Header{Name: fields[1], Mode: 0o7777}
		switch fields[0] {
		case "f":
			h.Typeflag, h.Size = tar.TypeReg, 5
		case "d":
			h.Typeflag = tar.TypeDir
		case "s":
			h.Typeflag = tar.TypeSymlink
		case "h":
			h.Typeflag = tar.TypeLink
		case "c":
			h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
		case "b":
			h.Typeflag = tar.TypeBlock
		case "p":
			h.Typeflag = tar.TypeFifo
		default:
			continue
		}
		if len(fields) == 3 {
			h.Linkname = fields[2]
		}
		if w.WriteHeader(h) == nil && h.Size > 0 {
			io.WriteString(w, "owned")
		}
	}
	w.Close()
	return b.Bytes()
}

// FuzzExtract applies two layers, the second on the first, and looks whether anything beside the directory changed
// or got in.
func FuzzExtract(f *testing.F) {
	for _, seed := range []string{
		"f a", "d a\nf a/b\nf a/.wh.b", "s a ..\nf a/canary", "s a @\nf a/canary\nd a/dir", "h a @/canary\nf a", "h a ../outside/canary",
		"s a ../outside\nh b a/canary\nf b", "s a ..\nf a/outside/.wh.canary", "f .wh...", "f ../outside/.wh..wh..opq", "s a ..\nf a/.wh..wh..opq",
		"d a\ns a/b ../..\nd a/b/outside\nf a/b/outside/canary", "s a b\ns b ../outside\nd a\nf b/canary", "f a\nd a/b\ns a ../outside\nd a",
		"d a\nd a/b\ns a ../outside", "s . ../outside\nf canary", "d .\nd ./a/..", "c a", "s a canary\ns canary ../outside/canary\nf a\nh c canary\nf c",
		"s lib usr/lib\nd usr/lib\nf lib/x\nf lib/.wh.x", "h a b\nf b\nh a b\nh b a",
		"p a\nb b\nc .wh.a", "f a/.wh.canary\nf a/.wh..wh..opq\ns a ../outside", "s .wh.a ../outside\nh .wh.b ../outside/canary\nd .wh.c",
		"f .wh.\nf .wh..\nf .wh..wh.\nf .wh..wh..opq/x\nf a/.wh..wh.plnk/x", "s A ../outside\nd a\nf a/canary\nf .WH.a", "s \u00e9 ../outside\nf e\u0301/canary",
		"f ..\\canary\ns a\\b ..", "d a\nd a/b\nf a/b/c\ns a ../outside\nd a\nf a/canary\nf .wh.a", "s a ../outside\nh b a\nf b\nf b/canary\nh a/x b",
		"s a .\ns a/a/a/b ../outside\nf b/canary\nf a/a/a/.wh.b", "d a/../../outside", "f a/./b//c/\nd a//b", "s a/b/c ../../../outside\nf a/b/c/canary", "d .\nd a\ns a/x /\nf a/x/tmp/y",
	} {
		f.Add([]byte(seed), []byte("f a\ns b ../outside\nf b/canary"))
		f.Add([]byte("s a ../outside\ns b @\nd c"), []byte(seed))
		f.Add(script(seed, "/tmp"), []byte{})
	}
	for _, raw := range smallTricks() {
		f.Add(raw, []byte("s a ../outside\nf a/canary"))
		f.Add([]byte("s a ../outside\nd c"), raw)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		top := t.TempDir()
		outside, image := filepath.Join(top, "outside"), filepath.Join(top, "image")
		populate(t, top, "outside/canary=alive", "outside/dir/file=alive", "image/")
		before := outsideOf(t, top)
		spent := &Spent{}
		for _, layer := range [][]byte{first, second} {
			for _, raw := range [][]byte{layer, script(string(layer), outside)} {
				// Whether there is an error is not the question here.
				_ = Extract(t.Context(), image, bytes.NewReader(raw), ExtractOptions{MaxEntries: 1000, MaxBytes: 1 << 20, Spent: spent, DropSetID: true})
				os.Chmod(image, 0o755)
			}
		}
		if diff := cmp.Diff(before, outsideOf(t, top)); diff != "" {
			t.Errorf("changed beside the directory:\n%s", diff)
		}
		canary, err := os.Stat(filepath.Join(outside, "canary"))
		if err != nil {
			t.Fatal(err)
		}
		filepath.WalkDir(image, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				os.Chmod(path, 0o755) // so that the test's directory can be removed
				return nil
			}
			info, err := d.Info()
			switch {
			case err != nil:
			case os.SameFile(info, canary):
				t.Errorf("%s is a file from outside", path)
			case info.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeIrregular) != 0:
				t.Errorf("%s is a %v", path, info.Mode())
			case info.Mode().IsRegular() && (info.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 || info.Size() > 1<<20):
				t.Errorf("%s: %v, %d bytes", path, info.Mode(), info.Size())
			}
			return nil
		})
	})
}

// smallTricks are those that the fuzzer makes smaller in no time.
func smallTricks() map[string][]byte {
	all := tricks()
	maps.DeleteFunc(all, func(_ string, raw []byte) bool { return len(raw) > 64<<10 })
	return all
}

// outsideOf describes all below top but what is in the image.
func outsideOf(t *testing.T, top string) map[string]string {
	got := map[string]string{}
	children, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		got[c.Name()] = c.Type().String()
	}
	for name, value := range snapshot(t, filepath.Join(top, "outside")) {
		got["outside/"+name] = value
	}
	if info, err := os.Stat(filepath.Join(top, "outside")); err == nil {
		got["outside"] = info.Mode().String()
	}
	return got
}
