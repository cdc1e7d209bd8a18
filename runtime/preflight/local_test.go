package preflight_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/preflight"
)

// disks are paths of which one is not there.
func disks() []string { return []string{"/", "/var/lib/sealrt-that-is-not/here"} }

func askThisMachine(t *testing.T) preflight.Facts {
	t.Helper()
	f, err := preflight.Ask(t.Context(), &host.Local{}, disks(), []string{"overlay", "no_such_module"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestThisMachineTellsAboutItself(t *testing.T) {
	f := askThisMachine(t)
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if f.System != "Linux" || f.Hostname != name || f.Memory < 1<<20 || f.CPUs == 0 || len(f.Addresses) == 0 || f.Cgroup.Version == 0 {
		t.Errorf("facts are %+v", f)
	}
	if f.Clock.Least > 0 || f.Clock.Most < 0 {
		t.Errorf("its clock is between %s and %s ahead of itself", f.Clock.Least, f.Clock.Most)
	}
	for _, p := range disks() {
		if f.Disks[p].Free == 0 || f.Disks[p].Mount == "" {
			t.Errorf("%s: %+v", p, f.Disks[p])
		}
	}
	if f.Has["no_such_module"] || f.Can["no_such_module"] {
		t.Error("it has a module that does not exist")
	}
}

func TestThisMachineSaysWhoHasAPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	f, err := preflight.AskPort(t.Context(), &host.Local{}, port)
	if err != nil {
		t.Fatal(err)
	}
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), os.Getpid()); f.Holders[f.TCP[port]] != want {
		t.Errorf("port %d: socket %q of %q, want %q", port, f.TCP[port], f.Holders, want)
	}
}

func TestBusyBoxTellsTheSame(t *testing.T) {
	box, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox here (apt-get install busybox-static); testdata/systems/alpine.txtar holds what it says")
	}
	want := askThisMachine(t)
	dir := t.TempDir()
	for _, tool := range []string{"env", "tail", "find", "df", "date", "uname", "grep", "cat", "ls"} {
		if err := os.Symlink(box, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
	got := askThisMachine(t)
	// what moves between two questions
	for _, f := range []*preflight.Facts{&want, &got} {
		f.Clock, f.TCP, f.UDP = preflight.Offset{}, nil, nil
		for p, fs := range f.Disks {
			fs.Free, fs.Inodes = min(fs.Free, 1), min(fs.Inodes, 1)
			f.Disks[p] = fs
		}
		f.Units = nil // there is no systemctl
		f.Firewall = preflight.Firewall{}
	}
	if diff := cmp.Diff(want.Public(), got.Public(), cmp.Comparer(func(a, b error) bool { return a == b })); diff != "" {
		t.Errorf("GNU -, BusyBox +: %s", diff)
	}
}
