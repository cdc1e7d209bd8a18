package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
)

func TestWhatIsSomebodyElsesIsFoundBeforeAnythingIsDone(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/usr/local/bin/kubeadm", 0o755, []byte("theirs"))
	x.a.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("theirs"))
	x.b.WriteFile("/etc/conf", 0o644, []byte("theirs"))
	steps := []runtime.Step{
		write("/etc/first", "x"), write("/etc/conf", "x"),
		{ID: "claim", Do: runtime.Claim{Paths: []string{"/etc/kubernetes"}, IfAbsent: []string{"/opt"}}},
		{ID: "bin", Do: runtime.Install{Rootfs: "/var/lib/sealrt/rootfs/x", From: "bin", Names: []string{"kubeadm", "kubelet"}, To: "/usr/local/bin"}},
	}
	plan := runtime.Plan{Phases: []runtime.Phase{{Name: "prepare", Tasks: []runtime.Task{{Member: memberA, Steps: steps}, {Member: memberB, Steps: steps}}}}}
	before := slices.Concat(x.a.Files(), x.b.Files())
	err := x.Check(t.Context(), plan)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"host 10.0.0.1: /etc/kubernetes, /usr/local/bin/kubeadm: already there", "host 10.0.0.2: /etc/conf: already there"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	if diff := cmp.Diff(before, slices.Concat(x.a.Files(), x.b.Files())); diff != "" {
		t.Errorf("the check changed files: %s", diff)
	}
}

func TestWhatLiesWhereTheLinkIsToBeIsFoundBeforeAnythingIsDone(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"test", "-L", runtime.Home}, "", 1)
	err := x.Check(t.Context(), onA(runtime.Step{ID: "data directory", Do: runtime.Relocate{To: "/data"}}))
	if err == nil || !strings.Contains(err.Error(), "host 10.0.0.1: /var/lib/sealrt is a directory already: move what is in it to /data") {
		t.Errorf("error is %v", err)
	}
}

func TestTreeBehindALinkIsOursWhenThePlanIsMadeAgain(t *testing.T) {
	x := newBed(t)
	linked(x.a)
	const tree = "/var/lib/sealrt/rootfs/0123"
	x.a.WriteFile(runtime.LedgerPath, 0o600, nil)
	load := onA(runtime.Step{ID: "load", Do: runtime.Load{Ref: "x:1", Digest: "sha256:0123", Rootfs: tree}})
	if err := x.engine().Run(t.Context(), load); err == nil {
		t.Fatal("an image that nobody has was loaded: this test cannot tell")
	}
	x.a.WriteFile(tree+"/bin/x", 0o755, nil)
	if err := x.engine().Check(t.Context(), load); err != nil {
		t.Error(err)
	}
}

func TestWhatIsOursDoesNotStandInTheWay(t *testing.T) {
	x := newBed(t)
	plan := onA(write("/etc/conf", "x"), runtime.Step{ID: "claim", Do: runtime.Claim{Paths: []string{"/etc/kubernetes"}}})
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	x.a.WriteFile("/etc/kubernetes/made", 0o600, nil)
	if err := x.engine().Check(t.Context(), plan); err != nil {
		t.Error(err)
	}
}

func TestResetLeavesAloneWhatNoStepOfOursBegan(t *testing.T) {
	reset := onA(
		runtime.Step{ID: "stop", Undoes: "install", Do: runtime.Exec{Argv: []string{"destroy-cluster"}, Always: true, Tolerate: true}},
		runtime.Step{ID: "undo", Do: runtime.Undo{}})
	x := newBed(t)
	if err := x.Run(t.Context(), onA(exec("other", "other"))); err != nil {
		t.Fatal(err)
	}
	if err := x.engine().Run(t.Context(), reset); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, "destroy-cluster"); n != 0 {
		t.Error("what somebody else had installed was destroyed")
	}
	x.a.Fail([]string{"install-cluster"}, errors.New("link down"), 1)
	if err := x.engine().Run(t.Context(), onA(exec("install", "install-cluster"))); err == nil {
		t.Fatal("no error")
	}
	if err := x.engine().Run(t.Context(), reset); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, "destroy-cluster"); n != 1 {
		t.Errorf("what we had begun was taken back %d times, want once", n)
	}
}

func TestResetKeepsTheStoreOfTheHostsUser(t *testing.T) {
	x := newBed(t)
	for _, name := range []string{"index.json", "oci-layout", "blobs/sha256/0123"} {
		x.a.WriteFile("/var/lib/sealrt/"+name, 0o644, []byte("theirs"))
	}
	for _, name := range []string{"store/index.json", "rootfs/0123/bin/x", "scratch/kubectl/cache", "bin/sealrt"} {
		x.a.WriteFile("/var/lib/sealrt/"+name, 0o644, []byte("ours"))
	}
	if err := x.Run(t.Context(), onA(exec("make", "make-cluster"), runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	got := slices.DeleteFunc(x.a.Files(), func(p string) bool { return !strings.HasPrefix(p, "/var/lib/sealrt/") })
	want := []string{"/var/lib/sealrt/blobs/sha256/0123", "/var/lib/sealrt/index.json", "/var/lib/sealrt/keep", "/var/lib/sealrt/oci-layout"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestResetSweepsFilesThatWereCutOff(t *testing.T) {
	x := newBed(t)
	install := runtime.Install{Rootfs: "/tree", From: "bin", Names: []string{"tool"}, To: "/usr/local/bin"}
	x.a.Fail([]string{"mv"}, errors.New("power"), 0)
	x.a.WriteFile("/tree/bin/tool", 0o755, []byte("x"))
	for _, s := range []runtime.Step{write("/etc/conf", "x"), {ID: "bin", Do: install}} {
		if err := x.engine().Run(t.Context(), onA(s)); err == nil {
			t.Fatal("no error")
		}
	}
	x.a.WriteFile("/etc/.sealrt-a1b2c3", 0o600, nil) // what Put leaves when nobody is there to tidy up
	x.a.WriteFile("/etc/.sealrt-other-file", 0o600, nil)
	if _, _, err := x.a.File("/usr/local/bin/.tool.sealrt"); err != nil {
		t.Fatal("the copy was not cut off: this test cannot tell")
	}
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	for _, name := range x.a.Files() {
		if strings.HasPrefix(name, "/usr/local/bin/") || name == "/etc/.sealrt-a1b2c3" {
			t.Errorf("reset left %s", name)
		}
	}
	if _, _, err := x.a.File("/etc/.sealrt-other-file"); err != nil {
		t.Error("a file that is not ours is gone")
	}
}

func TestResetLeavesTheFileSystemThatIsMountedWhereSealrtLives(t *testing.T) {
	x := newBed(t)
	if err := x.engine().Run(t.Context(), onA(write("/var/lib/sealrt/x/conf", "x"))); err != nil {
		t.Fatal(err)
	}
	x.a.Respond([]string{"rmdir", "--ignore-fail-on-non-empty", "/var/lib/sealrt"}, "", 1) // Device or resource busy
	undo := onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})
	if err := x.engine().Run(t.Context(), undo); err == nil {
		t.Error("the directory resists, and nobody is told")
	}
	x.a.WriteFile("/proc/self/mounts", 0o444, []byte("proc /proc proc rw 0 0\n/dev/sdb /var/lib/sealrt ext4 rw 0 0\n"))
	if err := x.engine().Run(t.Context(), undo); err != nil {
		t.Error(err)
	}
}
