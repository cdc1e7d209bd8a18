//go:build e2e

package e2e

import (
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// fails runs a command that must fail and say each of the words.
func (s *siege) fails(store string, words []string, args ...string) {
	s.t.Helper()
	cmd, story := s.command(s.t.Context(), store, args...)
	out, err := cmd.Output()
	for _, word := range words {
		if err == nil || !strings.Contains(story.String(), word) {
			s.t.Errorf("sealrt %s: %v, want %q in: %s%s", strings.Join(args, " "), err, word, story, out)
		}
	}
}

// speakFor has what goes wrong told of another test, until the function that it returns is called.
func (s *siege) speakFor(t *testing.T) (back func()) {
	before := s.t
	s.t = t
	return func() { s.t = before }
}

// disk mounts a file system of a size and returns its directory.
func (s *siege) disk(name, size string) string {
	s.t.Helper()
	dir := s.path(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		s.t.Fatalf("the end-to-end tests need root: %v", err)
	}
	s.t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fill leaves not a byte on a disk.
func (s *siege) fill(dir string) {
	s.t.Helper()
	f, err := os.Create(filepath.Join(dir, "fill"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.LimitReader(rand.Reader, 1<<30)); err == nil {
		s.t.Fatal("the disk has more room than that")
	}
}

// TestStoreOnBadDisks asks a store for everything on a disk that is full, and on one that cannot be written to.
func TestStoreOnBadDisks(t *testing.T) {
	s := newSiege(t)
	t.Run("full", func(t *testing.T) {
		defer s.speakFor(t)()
		dir := s.disk("full", "36m")
		store := "full/store"
		s.must(store, "load", "-q", s.path("v1.tar"))
		s.must(store, "tag", s.ref("v1"), "other:1")
		s.fill(dir)
		room := []string{"free on " + dir, "--root"}
		s.fails(store, append(room, "needed"), "pull", "-q", s.ref("v2"))
		s.fails(store, append(room, "Kubefile:"), "build", "-q", s.path("context-built"))
		s.fails(store, append(room, "no space left", "sealrt rmi"), "tag", s.ref("v1"), "third:1")
		s.fails("full/new", append(room, "no space left"), "images")
		s.must(store, "verify-store", "-q")
		if got := s.must(store, "prune", "-q", "--dry-run"); got != "0 B would be freed\n" {
			t.Errorf("prune --dry-run: %s", got)
		}
		s.must(store, "prune", "-q")
		s.must(store, "save", "-q", "other:1", "-o", s.path("full.tar"))
		s.must(store, "rmi", "-q", "other:1")
		s.fill(dir) // what that freed
		s.must(store, "rmi", "-q", s.ref("v1"))
		if out := s.must(store, "inventory"); out != "" {
			t.Errorf("blobs are left: %s", out)
		}
		if err := os.Remove(filepath.Join(dir, "fill")); err != nil {
			t.Fatal(err)
		}
		s.must(store, "load", "-q", s.path("v1.tar"))
		s.must(store, "verify-store", "-q")
		s.must(store, "prune", "-q", "--all", "--yes")
	})
	t.Run("read-only", func(t *testing.T) {
		defer s.speakFor(t)()
		dir := s.disk("medium", "64m")
		store := "medium/store"
		s.must(store, "load", "-q", s.path("v1.tar"))
		if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{
			{"pull", "-q", s.ref("v2")}, {"build", "-q", s.path("context-built")}, {"tag", s.ref("v1"), "other:1"},
			{"rmi", s.ref("v1")}, {"prune"}, {"load", "-q", s.path("v1.tar")}, {"verify-store", "--repair"},
		} {
			if args[0] == "verify-store" { // there is nothing to repair
				s.must(store, args...)
				continue
			}
			s.fails(store, []string{dir, "read-only file system", "choose another place with --root"}, args...)
		}
		if out := s.must(store, "images"); !strings.Contains(out, s.ref("v1")) {
			t.Errorf("images: %s", out)
		}
		s.must(store, "save", "-q", s.ref("v1"), "-o", s.path("medium.tar"))
		s.must(store, "push", "-q", s.ref("v1"), s.ref("again"))
		s.must(store, "unpack", s.ref("v1"), s.path("tree"))
		s.must(store, "prune", "--dry-run")
		s.fails("medium/new", []string{"read-only file system", "choose another place with --root"}, "images")
	})
}
