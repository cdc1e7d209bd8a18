package host_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestPutReplacesAFileInOneStep(t *testing.T) {
	h := hosttest.New("a")
	h.WriteFile("/etc/x/config", 0o644, []byte("old"))
	if err := host.Put(t.Context(), h, "/etc/x/config", 0o600, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"mktemp /etc/x/.sealrt-XXXXXX",
		"dd of=/etc/x/.sealrt-000001 bs=1M conv=fsync status=none",
		"chmod 0600 /etc/x/.sealrt-000001",
		"mv -f -T /etc/x/.sealrt-000001 /etc/x/config",
	}
	if diff := cmp.Diff(want, h.Transcript()); diff != "" {
		t.Errorf("commands (-want +got):\n%s", diff)
	}
	content, mode, err := h.File("/etc/x/config")
	if string(content) != "new" || mode != 0o600 || err != nil {
		t.Errorf("got %q %v %v", content, mode, err)
	}
}

func TestPutThatFailsLeavesTheOldFileAndNoOther(t *testing.T) {
	broken := errors.New("broken")
	full := "dd: error writing '/etc/x/.sealrt-000001': No space left on device\n"
	tests := []struct {
		name    string
		prepare func(*hosttest.Host)
		content io.Reader
		want    string
	}{
		{"no space", func(h *hosttest.Host) { h.Respond([]string{"dd"}, full, 1) }, strings.NewReader("new"), "free space on the file system of /etc/x on a"},
		{"dd fails", func(h *hosttest.Host) { h.Fail([]string{"dd"}, broken, 1) }, strings.NewReader("new"), "broken"},
		{"chmod fails", func(h *hosttest.Host) { h.Fail([]string{"chmod"}, broken, 1) }, strings.NewReader("new"), "broken"},
		{"mv fails", func(h *hosttest.Host) { h.Fail([]string{"mv"}, broken, 1) }, strings.NewReader("new"), "broken"},
		{"read fails", func(*hosttest.Host) {}, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(broken)), "broken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.New("a")
			h.WriteFile("/etc/x/config", 0o644, []byte("old"))
			tt.prepare(h)
			err := host.Put(t.Context(), h, "/etc/x/config", 0o600, tt.content)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if diff := cmp.Diff([]string{"/etc/x/config"}, h.Files()); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if content, _, _ := h.File("/etc/x/config"); string(content) != "old" {
				t.Errorf("got %q", content)
			}
		})
	}
}

func TestPutOverADirectoryIsRefused(t *testing.T) {
	for _, busybox := range []bool{false, true} {
		h := hosttest.New("a")
		h.WriteFile("/etc/x/config/inside", 0o644, nil)
		if busybox {
			h.Respond([]string{"mv", "-f", "-T"}, "mv: unrecognized option: T\n", 1)
		}
		if err := host.Put(t.Context(), h, "/etc/x/config", 0o600, strings.NewReader("new")); err == nil {
			t.Errorf("busybox %t: no error", busybox)
		}
		if diff := cmp.Diff([]string{"/etc/x/config/inside"}, h.Files()); diff != "" {
			t.Errorf("busybox %t: files (-want +got):\n%s", busybox, diff)
		}
	}
}

func TestPutWorksWhereMvHasNoT(t *testing.T) {
	h := hosttest.New("a")
	h.Respond([]string{"mv", "-f", "-T"}, "mv: unrecognized option: T\n", 1)
	if err := host.Put(t.Context(), h, "/etc/config", 0o755, strings.NewReader("new")); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"/etc/config"}, h.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestPutSaysThatTheDirectoryIsMissing(t *testing.T) {
	err := host.Put(t.Context(), hosttest.New("a"), "/nowhere/config", 0o600, strings.NewReader("new"))
	if err == nil || !strings.Contains(err.Error(), "/nowhere is not a directory on a: create it first") {
		t.Errorf("got %v", err)
	}
	if err := host.Put(t.Context(), hosttest.New("a"), "etc/config", 0o600, strings.NewReader("new")); err == nil {
		t.Error("a relative path was taken")
	}
}

func TestFilesOnThisMachine(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a file's name")
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17) // two blocks of dd
	l := &host.Local{}
	if err := host.Put(t.Context(), l, name, 0o4750, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	if err := host.Put(t.Context(), l, name, fs.ModeSetuid|0o750, iotest.HalfReader(bytes.NewReader(content))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if err != nil || info.Mode() != fs.ModeSetuid|0o750 {
		t.Errorf("got %v %v", info, err)
	}
	got, err := host.ReadFile(t.Context(), l, name)
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("read back %d of %d bytes, %v", len(got), len(content), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(name)); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := host.Put(t.Context(), l, filepath.Dir(name), 0o600, strings.NewReader("")); err == nil {
		t.Error("a directory was written over")
	}
}

func TestReadFileThatIsAbsent(t *testing.T) {
	for _, h := range []host.Host{hosttest.New("a"), &host.Local{}} {
		_, err := host.ReadFile(t.Context(), h, "/no/such/file")
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: got %v", h.Name(), err)
		}
		_, err = host.ReadFile(t.Context(), h, "/etc")
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a directory: got %v", h.Name(), err)
		}
	}
}

func TestMissingProgramIsNotAMissingFile(t *testing.T) {
	h := hosttest.New("a")
	h.Respond([]string{"cat"}, "env: 'cat': No such file or directory\n", 127)
	if _, err := host.ReadFile(t.Context(), h, "/etc/x"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// shortWriter takes so many bytes.
type shortWriter struct{ left int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return 0, errors.New("the disk is full")
	}
	w.left -= len(p)
	return len(p), nil
}

func TestGetEndsWhenItsOutputCannotBeWritten(t *testing.T) {
	name := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(name, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h := range []host.Host{&host.Local{}, connected(t, hosttest.ServerOptions{}, nil).ssh} {
		err := host.Get(t.Context(), h, name, &shortWriter{left: 100000})
		if err == nil || !strings.Contains(err.Error(), "the disk is full") || errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v", h.Name(), err)
		}
	}
}
