package layer

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestDirOpensWhatLiesBelowIt(t *testing.T) {
	top := t.TempDir()
	populate(t, top, "outside=secret", "in/a/b=content", "in/link=-> a/b", "in/dir=-> a", "in/out=-> ../outside",
		"in/abs=-> "+filepath.Join(top, "in/a/b"), "in/gone=-> nothing", "in/loop=-> loop")
	d, err := OpenDir(filepath.Join(top, "in"))
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]bool{
		"a/b": true, "link": true, "dir/b": true, "dir/../link": true,
		"out": false, "abs": false, "../outside": false, "dir/../../outside": false, "/etc/passwd": false, "gone": false, "loop": false, "": false,
	} {
		f, err := d.Open(name)
		if _, rootErr := os.OpenInRoot(filepath.Join(top, "in"), name); (rootErr == nil) != good {
			t.Fatalf("os.Root says of %q: %v", name, rootErr)
		}
		if (err == nil) != good {
			t.Errorf("Open(%q): %v", name, err)
		}
		if err != nil {
			continue
		}
		if b, err := io.ReadAll(f); string(b) != "content" || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		f.Close()
	}
	f, err := d.Open("a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(f); string(b) != "content" || err != nil {
		t.Errorf("after Close: %q, %v", b, err)
	}
	if _, err := d.Open("a/b"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("opened after Close: %v", err)
	}
	if _, err := OpenDir(filepath.Join(top, "outside")); err == nil {
		t.Error("a file is opened as a directory")
	}
}

func TestDirContent(t *testing.T) {
	top := t.TempDir()
	populate(t, top, "outside=secret", "in/a/b=content", "in/link=-> a/b", "in/out=-> ../outside", "in/empty=")
	if err := syscall.Mkfifo(filepath.Join(top, "in/pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDir(filepath.Join(top, "in"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a/b": "content", "link": "content", "empty": "", "pipe": ""} {
		r, err := d.Content(name)
		if err != nil {
			t.Errorf("Content(%q): %v", name, err)
			continue
		}
		if b, err := io.ReadAll(r); string(b) != want || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("%s closed twice: %v", name, err)
		}
	}
	if r, err := d.Content("a"); err == nil {
		if _, err := r.Read(make([]byte, 1)); err == nil {
			t.Error("a directory has content")
		}
		r.Close()
	}
	if _, err := d.Content("out"); err == nil {
		t.Error("a link leads outside")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Content("a/b"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("opened after Close: %v", err)
	}
}
