package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMountsOfEveryKind(t *testing.T) {
	host := writeTree(t, map[string]string{"f": "file", "sub/g": "g"})
	cache := t.TempDir()
	lower := writeTree(t, map[string]string{"pkg/a": "lower", "pkg/b": "b"})
	top := writeTree(t, map[string]string{"pkg/a": "top"})
	c := newConfig(t, `
		no() { if "$@" 2>/dev/null; then echo "allowed: $*"; fi; }
		cat /in/f; cat one
		no touch /in/x; no sh -c 'echo > one'
		echo kept > cached/x
		cat throw/a throw/b; rm throw/a; echo y > throw/y
		cat fixed/a; no touch fixed/x
		test "$(stat -c %a /scratch)" = 1777; echo z > /scratch/z; no sh -c 'head -c 100000 /dev/zero > /scratch/big'
		test "$(stat -c %a /run/secrets/token)" = 440; cat /run/secrets/token; no sh -c 'echo x > /run/secrets/token'
		test -e empty -a ! -s empty
	`, writeTree(t, map[string]string{"one": "old"}))
	c.Mounts = []Mount{
		{Target: "/in", Source: host, ReadOnly: true},
		{Target: "/rootfs/one", Source: filepath.Join(host, "f"), ReadOnly: true},
		{Target: "/rootfs/cached", Source: cache},
		{Target: "/rootfs/throw", Lowers: []string{top, lower}, Source: "/pkg"},
		{Target: "/rootfs/fixed", Lowers: []string{top, lower}, Source: "pkg", ReadOnly: true},
		{Target: "/scratch", Tmpfs: true, Size: 65536},
		{Target: "/run/secrets/token", Content: []byte("secret"), Mode: 0o440},
		{Target: "/rootfs/empty", Content: []byte{}},
	}
	if got, want := runScript(t, c), "filefiletopbtopsecret"; got != want {
		t.Errorf("output %q, want %q", got, want)
	}
	for name, dir := range map[string]string{"host": host, "lower": lower, "top": top} {
		for file := range changes(t, dir) {
			if strings.Contains("x y z", file) {
				t.Errorf("%s was changed: %s", name, file)
			}
		}
	}
	if diff := cmp.Diff(map[string]string{"x": "kept\n"}, changes(t, cache)); diff != "" {
		t.Error("cache", diff)
	}
	if diff := cmp.Diff(map[string]string{}, changes(t, c.Upper)); diff != "" {
		t.Error("the tree keeps traces of mounts", diff)
	}
	if out := grep(t, filepath.Dir(c.Work), "secret"); out != "" {
		t.Errorf("the secret is on the disk: %s", out)
	}
}

// grep returns the first file below dir that has text in it.
func grep(t *testing.T, dir, text string) (found string) {
	t.Helper()
	filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if data, _ := os.ReadFile(file); strings.Contains(string(data), text) {
				found = file
			}
		}
		return nil
	})
	return found
}

func TestMountPointsLeaveNoTraceUnderHiddenDirectories(t *testing.T) {
	lower := writeTree(t, map[string]string{"var/cache/apt/old": "x", "etc/gone": "x"})
	first := newConfig(t, "rm -r var/cache etc/gone; mkdir -m 2750 var/cache", lower)
	runScript(t, first) // var/cache hides all below it, and etc/gone is deleted
	c := newConfig(t, `
		test "$(stat -c %a var/cache)" = 2750; ls -A var/cache | tr '\n' ' '
		echo c > var/cache/apt/archives/deb; echo s > etc/gone/x; echo in > var/lib/new/in; ls -A a/b var/lib | tr '\n' ' '
	`, first.Upper, lower)
	c.Mounts = []Mount{
		{Target: "/rootfs/var/cache/apt/archives", Tmpfs: true},
		{Target: "/rootfs/etc/gone", Tmpfs: true},
		{Target: "/rootfs/a/b/c", Content: []byte("x")},
		{Target: "/rootfs/a/b/d", Content: []byte("x")},
		{Target: "/rootfs/var/lib", Tmpfs: true},
		{Target: "/rootfs/var/lib/new", Tmpfs: true}, // in a mount
	}
	if got := runScript(t, c); got != "apt a/b:\nc d \nvar/lib:\nnew " && got != "apt a/b: c d  var/lib: new " {
		t.Errorf("output %q", got)
	}
	if diff := cmp.Diff(map[string]string{}, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
}

func TestACopiedUpParentOfAMountPointIsTheTrees(t *testing.T) {
	lower := writeTree(t, map[string]string{"var/keep": "x"})
	if err := os.Chmod(filepath.Join(lower, "var"), 0o711); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, "echo x > var/new", lower)
	c.Mounts = []Mount{{Target: "/rootfs/var/cache", Tmpfs: true}}
	runScript(t, c)
	if diff := cmp.Diff(map[string]string{"var": "d---------", "var/new": "x\n"}, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Stat(filepath.Join(c.Upper, "var")); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("var: %v %v", info.Mode(), err)
	}
}

func TestLinksLeadNoMountOutside(t *testing.T) {
	outside := t.TempDir()
	lower := t.TempDir()
	for name, to := range map[string]string{"abs": outside, "up": "../../../../../../../.." + outside, "proc": "/proc", "self": "self"} {
		if err := os.Symlink(to, filepath.Join(lower, name)); err != nil {
			t.Fatal(err)
		}
	}
	c := newConfig(t, "cat "+outside+"/a "+outside+"/b", lower)
	c.Mounts = []Mount{{Target: "/rootfs/abs/a", Content: []byte("1")}, {Target: "/rootfs/up/b", Content: []byte("2")}}
	if got := runScript(t, c); got != "12" {
		t.Errorf("output %q", got)
	}
	if diff := cmp.Diff(map[string]string{}, changes(t, outside)); diff != "" {
		t.Error(diff)
	}
	for target, want := range map[string]string{"/rootfs/proc/sys": "needs itself", "/rootfs/self/x": "symbolic links"} {
		c := newConfig(t, "true", lower)
		c.Mounts = []Mount{{Target: target, Tmpfs: true}}
		if _, err := tryScript(t, c); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), target) {
			t.Errorf("%s: %v, want %q", target, err, want)
		}
	}
}

func TestALinkInACacheLeadsNoMountOutside(t *testing.T) {
	outside, cache := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(cache, "link")); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, "test -d "+outside+"/sub")
	c.Mounts = []Mount{{Target: "/cache", Source: cache}, {Target: "/cache/link/sub", Tmpfs: true}}
	runScript(t, c)
	if diff := cmp.Diff(map[string]string{}, changes(t, outside)); diff != "" {
		t.Error(diff)
	}
	lower := t.TempDir()
	if err := os.Symlink("/rootfs/later", filepath.Join(cache, "tree")); err != nil {
		t.Fatal(err)
	}
	c = newConfig(t, "true", lower)
	c.Mounts = []Mount{{Target: "/cache", Source: cache}, {Target: "/cache/tree/sub", Tmpfs: true}}
	if _, err := tryScript(t, c); err == nil || !strings.Contains(err.Error(), "create it first") {
		t.Errorf("error %v", err)
	}
}

func TestMountsThatCannotBe(t *testing.T) {
	dir := writeTree(t, map[string]string{"f": "x"})
	tests := []struct {
		mount Mount
		want  string
	}{
		{Mount{Target: "x", Tmpfs: true}, "not absolute"},
		{Mount{Target: "/", Tmpfs: true}, "mount elsewhere"},
		{Mount{Target: "/rootfs/../proc/sys", Tmpfs: true}, "mount elsewhere"},
		{Mount{Target: "/rootfs/", Tmpfs: true}, "mount elsewhere"},
		{Mount{Target: "/x"}, "need one of"},
		{Mount{Target: "/x", Tmpfs: true, Content: []byte{}}, "need one of"},
		{Mount{Target: "/x", Source: "rel"}, "not absolute"},
		{Mount{Target: "/x", Upper: "/u"}, "work"},
		{Mount{Target: "/x", Source: "/sealrt/nothing"}, "no such file"},
		{Mount{Target: "/x", Source: "nothing", Lowers: []string{dir}}, "no such file"},
		{Mount{Target: "/rootfs/f", Source: dir}, "directory cannot be mounted on a file"},
		{Mount{Target: "/rootfs/f/deep", Source: dir}, "not a directory"},
		{Mount{Target: "/rootfs", Source: dir}, "mount elsewhere"},
		{Mount{Target: "/tmp", Content: []byte("x")}, "name the file in the target"},
	}
	for _, tt := range tests {
		c := newConfig(t, "true", dir)
		c.Mounts = []Mount{tt.mount}
		_, err := tryScript(t, c)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrRefused) {
			t.Errorf("%+v: error %v, want %q", tt.mount, err, tt.want)
		}
	}
}

func TestMountsInATreeWithAShell(t *testing.T) {
	tree := shellTree(t)
	if err := os.Symlink("/run/names", filepath.Join(tree, "etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	layer := writeTree(t, map[string]string{"f": "layer", "real/g": " linked "})
	if err := os.Symlink("real", filepath.Join(layer, "link")); err != nil {
		t.Fatal(err)
	}
	c := newConfig(t, "cat /in/f /new/g /run/secrets/s; test -e /run/names; test ! -e /in/nothing", tree)
	c.Mounts = []Mount{
		{Target: "/in", Lowers: []string{layer}},
		{Target: "/new/g", Lowers: []string{layer}, Source: "link/g"},
		{Target: "/run/secrets/s", Content: []byte("secret")},
	}
	if got := runScript(t, c); got != "layer linked secret" {
		t.Errorf("output %q", got)
	}
	if diff := cmp.Diff(map[string]string{}, changes(t, c.Upper)); diff != "" {
		t.Error(diff)
	}
}

func TestDeviceFilesOfALayerAreNoDevices(t *testing.T) {
	lower := t.TempDir()
	if err := unix.Mknod(filepath.Join(lower, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("device files take root: %v", err)
	}
	for _, name := range []string{"/rootfs/null", "/m/null", "/layers/null"} {
		c := newConfig(t, "cat "+name, lower)
		c.Mounts = []Mount{{Target: "/m", Source: lower}, {Target: "/layers", Lowers: []string{lower}}}
		if out, err := tryScript(t, c); err == nil || !strings.Contains(out, "Permission denied") {
			t.Errorf("%s: %v %q", name, err, out)
		}
	}
}

func TestATreeWhoseProcIsALinkIsRefused(t *testing.T) {
	for _, name := range []string{"proc", "dev"} {
		tree := shellTree(t)
		if err := os.Symlink("/etc", filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
		if _, err := tryScript(t, newConfig(t, "true", tree)); err == nil || !strings.Contains(err.Error(), "/"+name+" of the tree is not a directory") {
			t.Errorf("/%s a link: %v", name, err)
		}
	}
}
