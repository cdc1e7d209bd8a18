package layer

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lastError returns the error that ends an iteration.
func lastError(entries iter.Seq2[Entry, error]) error {
	var last error
	for _, err := range entries {
		last = err
	}
	return last
}

func TestFromDirYieldsATreeInOrder(t *testing.T) {
	top := t.TempDir()
	populate(t, top, "b/deep/er/x=1", "a=22", "b-/x=333", "b.d=", "empty/", "up=-> ../..", "broken=-> nowhere", "b/link=-> /etc/passwd", "ü=ü")
	if err := os.Chmod(filepath.Join(top, "a"), fs.ModeSetuid|fs.ModeSetgid|0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(top, "b/deep/er/x"), filepath.Join(top, "hard")); err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range FromDir(top) {
		if err != nil {
			t.Fatal(err)
		}
		content := ""
		if e.Open != nil {
			f, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(f)
			if err != nil || int64(len(b)) != e.Size {
				t.Errorf("%s: %d bytes, size %d, %v", e.Name, len(b), e.Size, err)
			}
			content = string(b)
			f.Close()
		}
		got = append(got, strings.TrimSpace(strings.Join([]string{e.Mode.String(), e.Name, e.Linkname + content}, " ")))
	}
	want := []string{
		"ugrwx--x--x a 22", "drwxr-xr-x b", "drwxr-xr-x b/deep", "drwxr-xr-x b/deep/er", "-rw-r--r-- b/deep/er/x 1",
		"Lrwxrwxrwx b/link /etc/passwd", "drwxr-xr-x b-", "-rw-r--r-- b-/x 333", "-rw-r--r-- b.d", "Lrwxrwxrwx broken nowhere",
		"drwxr-xr-x empty", "-rw-r--r-- hard 1", "Lrwxrwxrwx up ../..", "-rw-r--r-- ü ü",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if !slices.IsSortedFunc(want, func(a, b string) int { return Compare(strings.Fields(a)[1], strings.Fields(b)[1]) }) {
		t.Error("the test's own order is not Compare's")
	}
}

func TestFromDirEntriesOpenAfterTheIteration(t *testing.T) {
	top := t.TempDir()
	populate(t, top, "a/b=content")
	var entries []Entry
	for e, err := range FromDir(top) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	f, err := entries[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); string(b) != "content" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestFromDirStopsWhenTheCallerDoes(t *testing.T) {
	top := t.TempDir()
	populate(t, top, "a/b/c=x", "a/b/d=x", "e=x")
	for limit := 1; limit <= 5; limit++ {
		n := 0
		for range FromDir(top) { // calling yield again would panic
			if n++; n == limit {
				break
			}
		}
		if n != limit {
			t.Errorf("%d entries, want %d", n, limit)
		}
	}
}

func TestFromDirErrors(t *testing.T) {
	top := t.TempDir()
	if err := lastError(FromDir(filepath.Join(top, "missing"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory: %v", err)
	}
	populate(t, top, "sub/a=x", "z=x")
	l, err := net.Listen("unix", filepath.Join(top, "sub/s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	err = lastError(FromDir(top))
	if err == nil || !strings.Contains(err.Error(), "sub/s: a socket cannot go into a layer: remove or exclude it") {
		t.Errorf("a socket: %v", err)
	}
	reserved := t.TempDir()
	populate(t, reserved, "a/.wh.b=")
	_, err = Write(t.Context(), io.Discard, FromDir(reserved), Options{})
	if err == nil || !strings.Contains(err.Error(), `entry "a/.wh.b": names that start with .wh. are reserved`) {
		t.Errorf("a reserved name: %v", err)
	}
}
