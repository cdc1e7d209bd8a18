package preflight_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"
)

// fixable is a cluster of one host on which everything is wrong that can be
// mended.
func fixable(t *testing.T) *two {
	t.Helper()
	x := newTwo(t)
	x.c.Members = x.c.Members[:1]
	x.c.Images[0].Files = fstest.MapFS{}
	x.o.Fix = true
	for name, text := range map[string]string{
		"/proc/swaps":                   "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n",
		"/proc/sys/net/ipv4/ip_forward": "0\n",
		"/run/systemd/generator/dev-disk-by\\x2duuid-1.swap": "",
		"/etc/systemd/system/swapfile.swap":                  "[Swap]\n",
		"/etc/ufw/ufw.conf":                                  "ENABLED=yes\n",
		"/proc/modules":                                      "overlay 1 0 - Live 0x0\nnf_conntrack 1 0 - Live 0x0\n",
		"/proc/self/mounts":                                  "",
	} {
		x.a.WriteFile(name, 0o644, []byte(text))
	}
	x.a.SetUnit(`dev-disk-by\x2duuid-1.swap`, true, true) // as its generator made it
	x.a.Respond([]string{"grep", "-s", "-H"}, "/lib/modules/6.1.0/modules.dep:kernel/net/bridge/br_netfilter.ko:\n", 0)
	return x
}

func (x *two) engine() *runtime.Engine {
	return &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{"10.0.0.1": x.a}}
}

// changes are the commands of a host but those that only look or keep files.
func changes(h *hosttest.Host) []string {
	var all []string
	for _, c := range h.Calls() {
		line := strings.Join(c.Argv, " ")
		if slices.Contains([]string{"modprobe", "sysctl", "swapoff", "swapon", "ufw", "firewall-cmd"}, c.Argv[0]) ||
			c.Argv[0] == "systemctl" && !strings.HasPrefix(c.Argv[1], "is-") && c.Argv[1] != "daemon-reload" {
			all = append(all, line)
		}
	}
	return all
}

func TestFixesAreRecordedAndTakenBackInReverse(t *testing.T) {
	x := fixable(t)
	before := x.a.Files()
	r := x.run(t)
	if r.Err() != nil || len(r.At(preflight.Mended)) != 4 {
		t.Fatalf("error %v, mended %q", r.Err(), lines(r.Findings))
	}
	if err := x.engine().Run(t.Context(), r.Fixes); err != nil {
		t.Fatal(err)
	}
	did := changes(x.a)
	undo := runtime.Plan{Phases: []runtime.Phase{{Name: "reset", Tasks: []runtime.Task{{Member: x.c.Members[0], Steps: []runtime.Step{{ID: "undo", Do: runtime.Undo{}}}}}}}}
	if err := x.engine().Run(t.Context(), undo); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"modprobe -q br_netfilter",
		`systemctl mask dev-disk-by\x2duuid-1.swap`,
		"systemctl disable swapfile.swap",
		"swapoff -a",
		"ufw allow 10250/tcp", "ufw allow 6443/tcp", "ufw allow 2379/tcp", "ufw allow 2380/tcp", "ufw allow from 10.244.0.0/16", "ufw allow from 10.96.0.0/16",
		// reset
		"ufw delete allow from 10.96.0.0/16", "ufw delete allow from 10.244.0.0/16", "ufw delete allow 2380/tcp", "ufw delete allow 2379/tcp", "ufw delete allow 6443/tcp", "ufw delete allow 10250/tcp",
		"systemctl enable swapfile.swap",
		`systemctl unmask dev-disk-by\x2duuid-1.swap`,
		`systemctl start swapfile.swap dev-disk-by\x2duuid-1.swap`,
	}
	if diff := cmp.Diff(want, changes(x.a)); diff != "" {
		t.Errorf("after %d commands of the fixes: %s", len(did), diff)
	}
	if now, _, err := x.a.File("/proc/sys/net/ipv4/ip_forward"); err != nil || string(now) != "0\n" {
		t.Errorf("ip_forward is %q after the reset, %v", now, err)
	}
	if diff := cmp.Diff(before, x.a.Files()); diff != "" {
		t.Errorf("files before and after: %s", diff)
	}
}

func TestSwapThatWasTurnedOnByHandGetsItsPriorityBack(t *testing.T) {
	x := newTwo(t)
	x.c.Members = x.c.Members[:1]
	x.o.Fix = true
	x.a.WriteFile("/proc/swaps", 0o444, []byte("Filename Type Size Used Priority\n/swapfile file 1 0 -2\n/dev/zram0 partition 1 0 100\n"))
	x.a.WriteFile("/proc/self/mounts", 0o444, nil)
	r := x.run(t)
	if err := x.engine().Run(t.Context(), r.Fixes); err != nil {
		t.Fatal(err)
	}
	undo := runtime.Plan{Phases: []runtime.Phase{{Name: "reset", Tasks: []runtime.Task{{Member: x.c.Members[0], Steps: []runtime.Step{{ID: "undo", Do: runtime.Undo{}}}}}}}}
	if err := x.engine().Run(t.Context(), undo); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"swapoff -a", "swapon -p 100 /dev/zram0", "swapon /swapfile"}, changes(x.a)); diff != "" {
		t.Error(diff)
	}
}

func TestFixThatWasBrokenOffIsMadeAgain(t *testing.T) {
	x := fixable(t)
	x.a.Fail([]string{"swapoff"}, host.ErrLost, 1)
	if err := x.engine().Run(t.Context(), x.run(t).Fixes); !errors.Is(err, host.ErrLost) {
		t.Fatalf("error is %v", err)
	}
	r := x.run(t)
	if err := x.engine().Run(t.Context(), r.Fixes); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, c := range changes(x.a) {
		count[c]++
	}
	if count["swapoff -a"] != 2 || count["modprobe -q br_netfilter"] != 1 || count["ufw allow 6443/tcp"] != 1 {
		t.Errorf("ran %v", count)
	}
}

func TestFixesAreRecordedWhereTheUserWantsSealrtToBe(t *testing.T) {
	x := fixable(t)
	x.c.DataDir.Sealrt = "/data/sealrt/"
	steps := x.run(t).Fixes.Phases[0].Tasks[0].Steps
	if want := (runtime.Relocate{To: "/data/sealrt"}); steps[0].Do != want {
		t.Errorf("the first step is %v", steps[0].Do)
	}
}

func TestWithoutFixNothingIsPlanned(t *testing.T) {
	x := fixable(t)
	x.o.Fix = false
	r := x.run(t)
	if len(r.Fixes.Phases) != 0 || len(r.At(preflight.Error)) != 4 {
		t.Errorf("plan %+v, found %q", r.Fixes, lines(r.Findings))
	}
	if err := r.Err(); err == nil || !strings.Contains(err.Error(), "swapoff -a; or pass --fix") || !strings.Contains(err.Error(), "\n--fix mends what says so; ") {
		t.Errorf("error is %v", err)
	}
	x.o.Fix, x.o.Skip = true, []string{"swap"}
	if got := x.run(t); len(got.At(preflight.Skipped)) != 1 || len(got.At(preflight.Mended)) != 3 {
		t.Errorf("what is skipped is mended all the same: %q", lines(got.Findings))
	}
}
