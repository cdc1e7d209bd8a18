package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// undo is the plan that cleans a host.
func undo() runtime.Plan { return onA(runtime.Step{ID: "undo", Do: runtime.Undo{}}) }

func TestResetSaysWhenTheLedgerDoesNotTellAll(t *testing.T) {
	for _, tt := range []struct {
		name   string
		ledger func(string) string
		want   string // in the error
	}{
		{"whole", func(s string) string { return s }, ""},
		{"cut off", func(s string) string { return s[:len(s)-30] }, ""},
		{"cut off in the middle of a word", func(s string) string { return s + `{"cluster":"test","step":"x","hash":"12","state":"be` }, ""},
		{"cut off, and gone on", func(s string) string { return s + `{"cluster":"te` + "\n" + s }, ""},
		{"zeros at the end", func(s string) string { return s + "\x00\x00\x00" }, ""},
		{"a line of somebody's", func(s string) string { return s + "# mine\n" }, "ledger.jsonl is damaged in line "},
		{"a line that lost its beginning", func(s string) string { return s[40:] }, "ledger.jsonl is damaged in line 1: "},
		{"rubbish", func(string) string { return "\xff\xfe\x01\x02\n" }, "ledger.jsonl is damaged in line 1: "},
		{"empty", func(string) string { return "" }, "ledger.jsonl is gone"},
		{"none", nil, "ledger.jsonl is gone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newBed(t)
			if err := x.Run(t.Context(), onA(write("/etc/one", "1"), exec("two", "make-two"), write("/etc/three", "3"))); err != nil {
				t.Fatal(err)
			}
			x.a.WriteFile("/var/lib/sealrt/rootfs/0123/bin/x", 0o755, nil)
			raw, _, _ := x.a.File(runtime.LedgerPath)
			if tt.ledger == nil {
				x.a.Remove(runtime.LedgerPath)
			} else {
				x.a.WriteFile(runtime.LedgerPath, 0o600, []byte(tt.ledger(string(raw))))
			}
			err := x.engine().Run(t.Context(), undo())
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Fatalf("error is %v", err)
			}
			_, _, there := x.a.File("/var/lib/sealrt/rootfs/0123/bin/x")
			if gone := there != nil; gone != (tt.want == "") {
				t.Errorf("what says that a cluster was here is gone: %v", gone)
			}
		})
	}
}

func TestHostThatNeverHadAClusterIsCleanedWithoutALedger(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/var/lib/sealrt/bin/sealrt", 0o755, nil) // brought to a master for the state alone
	x.a.WriteFile("/var/lib/sealrt/state/Clusterfile", 0o600, nil)
	if err := x.Run(t.Context(), undo()); err != nil {
		t.Error(err)
	}
}

func TestParameterThatCannotBeSetBackIsALeftover(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/proc/sys/vm/one", 0o644, []byte("0\n"))
	x.a.WriteFile("/proc/sys/net/module/two", 0o644, []byte("0\n"))
	set := runtime.Step{ID: "set", Do: runtime.Sysctl{Settings: []runtime.Setting{{Name: "vm.one", Value: "1"}, {Name: "net.module.two", Value: "1"}}}}
	if err := x.Run(t.Context(), onA(set)); err != nil {
		t.Fatal(err)
	}
	x.a.Remove("/proc/sys/net/module/two") // it went with its module
	x.a.Fail([]string{"dd", "of=/proc/sys/vm/one"}, errors.New("invalid argument"), 1)
	if err := x.engine().Run(t.Context(), undo()); err == nil || !strings.Contains(err.Error(), "set vm.one to 0: invalid argument") {
		t.Fatalf("error is %v", err)
	}
	if err := x.engine().Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	if value, _, _ := x.a.File("/proc/sys/vm/one"); string(value) != "0\n" {
		t.Errorf("it is %q", value)
	}
}

func TestDirectoryWithThingsOfTheUsersStaysAndIsNamed(t *testing.T) {
	x := newBed(t)
	var notes []string
	x.Observe = func(e runtime.Event) {
		if e.State == runtime.Warned {
			notes = append(notes, e.Note)
		}
	}
	if err := x.Run(t.Context(), onA(write("/etc/deep/er/file", "x"), write("/etc/other/file", "x"), write("/var/lib/sealrt/x/file", "x"))); err != nil {
		t.Fatal(err)
	}
	x.a.WriteFile("/etc/deep/mine", 0o644, nil)
	if err := x.Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	if len(notes) != 1 || notes[0] != "/etc/deep stays, with what somebody else put there" {
		t.Errorf("notes %q", notes)
	}
	if _, _, err := x.a.File("/etc/deep/mine"); err != nil {
		t.Error(err)
	}
}

func TestUnitWhoseFileIsGoneIsStoppedAndDisabled(t *testing.T) {
	x := newBed(t)
	if err := x.Run(t.Context(), onA(write("/etc/systemd/system/daemon.service", "[Service]"), runtime.ServiceStep("daemon", true, "config"))); err != nil {
		t.Fatal(err)
	}
	x.a.Remove("/etc/systemd/system/daemon.service") // it runs still
	x.a.Respond([]string{"systemctl", "disable", "--now"}, "Unit daemon.service not loaded.", 5)
	if err := x.engine().Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	if active, enabled := x.a.Unit("daemon"); active || enabled {
		t.Errorf("running: %v, enabled: %v", active, enabled)
	}
}

func TestLinkOfTheUsersInThePlaceOfHomeStays(t *testing.T) {
	x := newBed(t)
	linked(x.a)
	if err := x.Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	for _, c := range x.a.Calls() {
		if line := strings.Join(c.Argv, " "); strings.HasSuffix(line, " "+runtime.Home) && (c.Argv[0] == "rm" || c.Argv[0] == "rmdir") {
			t.Errorf("ran %s", line)
		}
	}
}

// linked makes Home of a host a link to /data.
func linked(h *hosttest.Host) {
	h.Respond([]string{"test", "-L", runtime.Home}, "", 0)
	h.Respond([]string{"readlink", "-f", runtime.Home}, "/data\n", 0)
}

func TestParametersThatTheSoftwareSetsAreSetBack(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/proc/sys/kernel/panic", 0o644, []byte("0\n"))
	x.a.WriteFile("/proc/sys/net/ipv4/ip_forward", 0o644, []byte("0\n"))
	x.a.WriteFile("/proc/sys/net/ipv4/ports", 0o644, []byte("\n"))
	x.a.WriteFile("/proc/sys/net/ipv4/range", 0o644, []byte("32768\t60999\n"))
	plan := onA(
		runtime.Step{ID: "set", Do: runtime.Sysctl{Settings: []runtime.Setting{{Name: "net.ipv4.ip_forward", Value: "1"}}}}, // the image's
		runtime.Step{ID: "claim", Do: runtime.Claim{Paths: []string{"/var/lib/software"}, Parameters: []string{"kernel.panic", "net.ipv4.ip_forward", "net.ipv4.ports", "net.ipv4.range", "net.bridge.none"}}},
		exec("start", "start-software"))
	x.a.Fail([]string{"start-software"}, errors.New("link down"), 1)
	for i := range 2 { // the second attempt finds what the first has set
		if err := x.engine().Run(t.Context(), plan); (err != nil) != (i == 0) {
			t.Fatal(err)
		}
		for file, value := range map[string]string{"kernel/panic": "10\n", "net/ipv4/ports": "1-9\n", "net/ipv4/range": "1\t2\n", "net/bridge/none": "1\n"} {
			x.a.WriteFile("/proc/sys/"+file, 0o644, []byte(value))
		}
	}
	if err := x.engine().Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{"kernel/panic": "0", "net/ipv4/ip_forward": "0", "net/ipv4/ports": "", "net/ipv4/range": "32768\t60999", "net/bridge/none": "1"} {
		if raw, _, _ := x.a.File("/proc/sys/" + file); strings.TrimSpace(string(raw)) != want {
			t.Errorf("%s is %q, want %q", file, raw, want)
		}
	}
}

func TestWhatTheSoftwareMakesBesideItsOwnPathsGoesWhereItWasNotBefore(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/run/before", 0o644, []byte("theirs"))
	claim := runtime.Step{ID: "claim", Do: runtime.Claim{
		Paths: []string{"/var/lib/soft"}, IfAbsent: []string{"/run/before", "/run/lock"}, IfEmpty: []string{"/run/shared", "/run/empty"},
	}}
	if err := x.Run(t.Context(), onA(claim)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/var/lib/soft/data", "/run/lock", "/run/shared/mine", "/run/empty/gone"} {
		x.a.WriteFile(name, 0o644, nil)
	}
	x.a.Remove("/run/empty/gone")
	if err := x.Run(t.Context(), undo()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(slices.DeleteFunc(x.a.Files(), func(f string) bool { return !strings.HasPrefix(f, "/run/") && !strings.HasPrefix(f, "/var/lib/soft") }), " "); got != "/run/before /run/shared/mine" {
		t.Errorf("left: %s", got)
	}
	if dirs := x.a.Dirs(); slices.Contains(dirs, "/run/empty") || !slices.Contains(dirs, "/run/shared") {
		t.Errorf("left: %s", dirs)
	}
}
