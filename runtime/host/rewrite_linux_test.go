package host_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
)

func TestRewriteLeavesAFileWhatElseItIs(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "there", "hosts"), filepath.Join(dir, "hosts")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	owner := 0
	if os.Geteuid() == 0 {
		owner = 12345
		if err := os.Chown(file, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(file, 0o641); err != nil {
		t.Fatal(err)
	}
	marked := syscall.Setxattr(file, "user.sealrt", []byte("mark"), 0) == nil // not all file systems have them
	if err := host.Rewrite(t.Context(), &host.Local{}, link, strings.NewReader("new and longer")); err != nil {
		t.Fatal(err)
	}
	if to, err := os.Readlink(link); err != nil || to != file {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode() != 0o641 || owner != 0 && int(stat.Uid) != owner {
		t.Errorf("it is %v, of %d", info.Mode(), stat.Uid)
	}
	var value [8]byte
	if n, err := syscall.Getxattr(file, "user.sealrt", value[:]); marked && string(value[:max(n, 0)]) != "mark" {
		t.Errorf("the attribute is %q, %v", value, err)
	}
	if raw, err := os.ReadFile(file); err != nil || string(raw) != "new and longer" {
		t.Errorf("%q, %v", raw, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", ".sealrt-*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestRewriteNeedsAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hosts")
	if err := host.Rewrite(t.Context(), &host.Local{}, name, strings.NewReader("new")); err == nil || !strings.Contains(err.Error(), "write "+name+": ") {
		t.Errorf("error is %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}
