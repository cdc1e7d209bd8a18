package builder

import (
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact/layer"
)

func file(name, text string) layer.Entry {
	e := textEntry(name, text)
	return e
}

func TestTreeIsAFileSystem(t *testing.T) {
	tr := newTree()
	tr.apply([]layer.Entry{file("a/b/c", "c"), file("a/d", ""), {Name: "e", Mode: fs.ModeDir | 0o700}})
	if err := fstest.TestFS(treeFS{tr}, "a/b/c", "a/d", "e"); err != nil {
		t.Error(err)
	}
}

func TestTreeFollowsLinksWithinItself(t *testing.T) {
	tr := newTree()
	link := func(name, to string) layer.Entry {
		return layer.Entry{Name: name, Mode: fs.ModeSymlink | 0o777, Linkname: to}
	}
	tr.apply([]layer.Entry{
		file("usr/lib/x", "x"), link("lib", "/usr/lib"), link("up", "../../../usr"), link("loop", "loop"),
		link("usr/self", "../lib/x"), link("dangling", "none"),
	})
	for _, name := range []string{"lib/x", "up/lib/x", "usr/self"} {
		f, err := treeFS{tr}.Open(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if data, err := io.ReadAll(f); err != nil || string(data) != "x" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, name := range []string{"loop", "dangling", "none"} {
		if _, err := (treeFS{tr}).Open(name); err == nil {
			t.Errorf("%s opens", name)
		}
	}
}

func TestTreeAppliesWhiteouts(t *testing.T) {
	tr := newTree()
	tr.apply([]layer.Entry{file("a/b", ""), file("a/c", ""), file("d/e/f", ""), file("g", ""), file("h/i", "")})
	tr.apply([]layer.Entry{
		layer.Whiteout("a/b"), layer.Opaque("d"), file("d/new", ""), layer.Whiteout("g"), file("g/now/dir", ""), file("h", "file now"),
	})
	var got []string
	err := fs.WalkDir(treeFS{tr}, ".", func(p string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			got = append(got, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("a/c d/new g/now/dir h", strings.Join(got, " ")); diff != "" {
		t.Error(diff)
	}
}
