package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestLookUpUser(t *testing.T) {
	etc := writeTree(t, map[string]string{
		"passwd": "# users\nroot:x:0:0:root:/root:/bin/sh\n\napp:x:1000:1001:an app:/srv/app:/bin/sh\n77:x:5:6::/odd:\nshort:x:7\nnan:x:a:0::/:\n",
		"group":  "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\ndocker:x:20:app\n",
	})
	tests := []struct {
		spec string
		want identity
		err  string
	}{
		{"", identity{0, 0, []int{10}, "/root"}, ""},
		{"root", identity{0, 0, []int{10}, "/root"}, ""},
		{"app", identity{1000, 1001, []int{10, 20}, "/srv/app"}, ""},
		{"1000", identity{1000, 1001, []int{10, 20}, "/srv/app"}, ""},
		{"app:docker", identity{1000, 20, nil, "/srv/app"}, ""},
		{"app:999", identity{1000, 999, nil, "/srv/app"}, ""},
		{"4711", identity{4711, 0, nil, "/"}, ""},
		{"4711:wheel", identity{4711, 10, nil, "/"}, ""},
		{"77", identity{5, 6, nil, "/odd"}, ""}, // a name that is a number
		{"nobody", identity{}, `no user "nobody"`},
		{"app:nothing", identity{}, `no group "nothing"`},
		{"-1", identity{}, `no user "-1"`},
		{"4294967295", identity{}, "no user"},
		{"short", identity{}, "7 fields"},
		{"nan", identity{}, "not an id"},
	}
	for _, tt := range tests {
		got, err := lookUpUser(tt.spec, etc)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q: error %v, want %q", tt.spec, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.spec, err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q: %s", tt.spec, diff)
		}
	}
	got, err := lookUpUser("", t.TempDir())
	if diff := cmp.Diff(identity{Home: "/"}, got); diff != "" || err != nil {
		t.Errorf("without passwd: %v %s", err, diff)
	}
}

func TestRunAsAnotherUser(t *testing.T) {
	tree := shellTree(t)
	for name, content := range map[string]string{"passwd": "app:x:1000:1001::/srv/app:\n", "group": "wheel:x:10:app\n"} {
		if err := os.WriteFile(filepath.Join(tree, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := newConfig(t, `echo $HOME >/dev/stdout; while read name rest; do case $name in Uid:|Gid:|Groups:|CapEff:|CapPrm:|CapInh:|CapAmb:) echo $name $rest;; esac; done </proc/self/status; if (echo x >/mine) 2>/dev/null; then echo "made a file of the root directory"; fi`, tree)
	c.User = "app"
	got, err := tryScript(t, c)
	if os.Geteuid() != 0 && len(ids("/etc/subuid", os.Geteuid())) == 1 {
		if err == nil || !strings.Contains(err.Error(), "build as root, or install uidmap") || errors.Is(err, ErrRefused) {
			t.Errorf("without root: %v", err)
		}
		return
	}
	none := "0000000000000000\n"
	want := "/srv/app\nUid: 1000 1000 1000 1000\nGid: 1001 1001 1001 1001\nGroups: 10 1001\nCapInh: " + none + "CapPrm: " + none + "CapEff: " + none + "CapAmb: " + none
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestRootKeepsOnlyTheGroupsThatThisUserHas(t *testing.T) {
	tree := shellTree(t)
	for name, content := range map[string]string{"passwd": "root:x:0:0::/root:/bin/sh\n", "group": "root:x:0:root\nwheel:x:10:root\n"} {
		if err := os.WriteFile(filepath.Join(tree, "etc", name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := "Groups: 0 10\n"
	if os.Geteuid() != 0 && len(ids("/etc/subgid", os.Getegid())) == 1 {
		want = "" // the caller's, of which the sandbox knows none
	}
	got := runScript(t, newConfig(t, `while read name rest; do case $name in Groups:) echo $name $rest;; esac; done </proc/self/status`, tree))
	if want != "" && got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheBuildSandboxKnowsRootAndNobody(t *testing.T) {
	c := newConfig(t, "id -un; echo $HOME")
	c.User = "root"
	if got := runScript(t, c); got != "root\n/tmp\n" {
		t.Errorf("root: %q", got)
	}
	c = newConfig(t, "true")
	c.User = "app"
	if _, err := tryScript(t, c); err == nil || !strings.Contains(err.Error(), `no user "app" in /etc/passwd`) {
		t.Errorf("app: %v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	c = newConfig(t, "id -un; id -G")
	c.User = "nobody"
	if got := runScript(t, c); got != "nobody\n65534\n" {
		t.Errorf("nobody: %q", got)
	}
}

func TestMountsOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		c := newConfig(t, "true")
		c.Mounts = []Mount{{Target: "/s", Content: []byte("x"), UID: 1000}}
		if len(ids("/etc/subuid", os.Geteuid())) > 1 {
			runScript(t, c)
		} else if _, err := tryScript(t, c); err == nil || !strings.Contains(err.Error(), "mount /s: user 1000") || !strings.Contains(err.Error(), "install uidmap") {
			t.Errorf("without root: %v", err)
		}
		return
	}
	c := newConfig(t, `cat /s; echo x > /cache/x; echo y > /scratch/y; stat -c "%u:%g" /s /cache /scratch`)
	c.User = "1000:1001"
	c.Mounts = []Mount{
		{Target: "/s", Content: []byte("secret\n"), UID: 1000, GID: 1001},
		{Target: "/cache", Source: t.TempDir(), UID: 1000, GID: 1001},
		{Target: "/scratch", Tmpfs: true, Mode: 0o700, UID: 1000, GID: 1001},
	}
	if got := runScript(t, c); got != "secret\n1000:1001\n1000:1001\n1000:1001\n" {
		t.Errorf("output %q", got)
	}
}

func TestSubordinateIDs(t *testing.T) {
	file := "other:1:5\nme:100000:10\n1234:200000:5\nme:x:1\nme:5\n"
	m, err := subordinate(strings.NewReader(file), []string{"1234", "me"})
	if err != nil {
		t.Fatal(err)
	}
	m = append(idMap{{0, 1234, 1}}, m...)
	if diff := cmp.Diff([]string{"0", "1234", "1", "1", "100000", "10", "11", "200000", "5"}, m.arguments()); diff != "" {
		t.Error(diff)
	}
	for outside, inside := range map[int]int{1234: 0, 100000: 1, 100009: 10, 100010: 65534, 200000: 11, 0: 65534} {
		if got := m.in(outside); got != inside {
			t.Errorf("%d: %d, want %d", outside, got, inside)
		}
	}
	for inside, want := range map[int]bool{0: true, 15: true, 16: false} {
		if m.has(inside) != want {
			t.Errorf("has %d: %t", inside, !want)
		}
	}
}

// Names under which the test binary is another program.
const (
	mappedName    = "sandbox-test-mapped" // leaves root for nobody, with subordinate ids, and becomes mappedRunName
	mappedRunName = "sandbox-test-mapped-run"
)

// leaveRoot becomes nobody on a machine whose /etc has the files of directory.
func leaveRoot(directory string) int {
	err := unix.Mount("overlay", "/etc", "overlay", 0, "lowerdir="+directory+":/etc")
	if err == nil {
		err = errors.Join(syscall.Setgroups([]int{}), syscall.Setgid(65534), syscall.Setuid(65534))
	}
	if err == nil {
		err = syscall.Exec("/proc/self/exe", []string{mappedRunName}, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// mappedRun runs the Config on standard input, lists what it made as its command saw it, and removes that.
func mappedRun() int {
	var c Config
	if err := json.NewDecoder(os.Stdin).Decode(&c); err != nil {
		fmt.Println(err)
		return 1
	}
	out := io.MultiWriter(os.Stdout) // no file: the command gets a pipe of this process
	c.Stdout, c.Stderr = out, out
	err := Run(context.Background(), c)
	view := NewView()
	if err == nil {
		err = filepath.WalkDir(c.Upper, func(file string, d fs.DirEntry, err error) error {
			if err != nil || file == c.Upper {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			uid, gid := view.Owner(int(st.Uid), int(st.Gid))
			mode, err := view.Mode(file, info.Mode())
			if err != nil {
				return err
			}
			var content []byte
			if mode.IsRegular() {
				content, err = os.ReadFile(file)
			}
			fmt.Printf("%s %d:%d %v %q\n", d.Name(), uid, gid, mode, content)
			return err
		})
	}
	if err = errors.Join(err, Remove(c.Upper), Remove(c.Work)); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// mapTools returns a PATH with newuidmap and newgidmap: the machine's, or else this program as root's.
func mapTools(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("newuidmap"); err == nil {
		return os.Getenv("PATH")
	}
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	letIn(t, dir)
	for _, name := range []string{"newuidmap", "newgidmap"} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, self, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Chown(file, 0, 65534), os.Chmod(file, 0o750|fs.ModeSetuid)); err != nil { // for nobody alone
			t.Fatal(err)
		}
	}
	return dir + ":" + os.Getenv("PATH")
}

// letIn lets every user enter a temporary directory.
func letIn(t *testing.T, dir string) {
	t.Helper()
	for p := dir; strings.HasPrefix(p, os.TempDir()+"/"); p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// writeIDMap is newuidmap(1) and newgidmap(1), less their checks.
func writeIDMap(tool string, args []string) int {
	var m strings.Builder
	for i := 1; i+2 < len(args); i += 3 {
		fmt.Fprintln(&m, args[i], args[i+1], args[i+2])
	}
	name := map[string]string{"newuidmap": "uid_map", "newgidmap": "gid_map"}[tool]
	if err := os.WriteFile("/proc/"+args[0]+"/"+name, []byte(m.String()), 0); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

func TestRunWithSubordinateIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("takes root to become a user that has subordinate ids; see TestSubordinateIDs")
	}
	etc := writeTree(t, map[string]string{"subuid": "nobody:300000:65536\n", "subgid": "nobody:400000:65536\n"})
	tests := map[string]struct {
		user, script string
		want         string
	}{
		"an installer that changes owners": {
			script: "id -u; umask 077; mkdir d; echo deep > d/f; chown -R 1000:1001 d; echo mine > plain; echo none > n; chmod 0 n; cat /proc/self/status | grep -E 'CapEff|CapAmb|CapInh'",
			want: "0\nCapInh:\t0000000000000000\nCapEff:\t00000000800404fb\nCapAmb:\t0000000000000000\n" +
				"d 1000:1001 drwx------ \"\"\nf 1000:1001 -rw------- \"deep\\n\"\nn 0:0 ---------- \"none\\n\"\nplain 0:0 -rw------- \"mine\\n\"\n",
		},
		"another user": {
			user: "1000:1001", script: "id -u; id -g; id -G; grep CapEff /proc/self/status; cat /s; echo out >/dev/stdout",
			want: "1000\n1001\n1001\nCapEff:\t0000000000000000\nsecret\nout\n",
		},
	}
	for name, tt := range tests {
		c := newConfig(t, tt.script)
		c.User = tt.user
		c.Mounts = []Mount{{Target: "/s", Content: []byte("secret\n"), UID: 1000}}
		for _, dir := range []string{c.Upper, c.Work} {
			if err := os.Chown(dir, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(filepath.Dir(c.Upper), 65534, 65534); err != nil {
			t.Fatal(err)
		}
		tools := mapTools(t)
		letIn(t, c.Upper)
		letIn(t, etc)
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", etc)
		cmd.Args[0] = mappedName
		cmd.Env = []string{"PATH=" + tools}
		cmd.Stdin = bytes.NewReader(data)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), ErrRefused.Error()) {
			t.Skipf("THIS KERNEL FORBIDS THE SANDBOX WITHOUT ROOT, NOTHING WAS TESTED: %s", out)
		}
		if diff := cmp.Diff(tt.want, string(out)); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		for _, dir := range []string{c.Upper, c.Work} {
			if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: not removed: %v", name, err)
			}
		}
	}
}
