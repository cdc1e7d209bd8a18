package runtime_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// bed is an engine with hosts in memory.
type bed struct {
	*runtime.Engine
	a, b *hosttest.Host
	mu   sync.Mutex
	told []string
}

var (
	memberA = runtime.Member{Address: "10.0.0.1", Role: runtime.Master, Hostname: "a", NodeIP: "10.0.0.1"}
	memberB = runtime.Member{Address: "10.0.0.2", Role: runtime.Node, Hostname: "b", NodeIP: "10.0.0.2"}
)

func newBed(t *testing.T) *bed {
	t.Helper()
	x := &bed{a: newHost("10.0.0.1"), b: newHost("10.0.0.2")}
	x.Engine = x.engine()
	return x
}

func newHost(name string) *hosttest.Host {
	h := hosttest.New(name)
	h.WriteFile("/proc/self/mounts", 0o444, []byte("proc /proc proc rw 0 0\n"))
	h.WriteFile("/var/lib/sealrt/keep", 0o644, nil)
	return h
}

// engine returns another engine for the same hosts, as a second run of the
// program is.
func (x *bed) engine() *runtime.Engine {
	return &runtime.Engine{
		Cluster: "test",
		Hosts:   map[string]host.Host{memberA.Address: x.a, memberB.Address: x.b},
		Helper:  func(string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("program")), nil },
		Observe: func(e runtime.Event) {
			x.mu.Lock()
			defer x.mu.Unlock()
			x.told = append(x.told, e.Host+" "+e.Step+" "+string(e.State))
		},
	}
}

func onA(steps ...runtime.Step) runtime.Plan {
	return runtime.Plan{Phases: []runtime.Phase{{Name: "phase", Tasks: []runtime.Task{{Member: memberA, Steps: steps}}}}}
}

func write(path, data string) runtime.Step {
	return runtime.Step{ID: "write " + path, Do: runtime.Write{Path: path, Data: data, Mode: 0o640}}
}

func exec(id string, argv ...string) runtime.Step {
	return runtime.Step{ID: id, Do: runtime.Exec{Argv: argv}}
}

func count(h *hosttest.Host, command string) int {
	n := 0
	for _, line := range h.Transcript() {
		if strings.Contains(line, command) {
			n++
		}
	}
	return n
}

func TestRunDoesEachStepOnceHoweverOftenItIsCalled(t *testing.T) {
	x := newBed(t)
	plan := onA(write("/etc/x/y.conf", "text"), exec("make", "make-cluster", "now"))
	for range 3 {
		if err := x.engine().Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(x.a, "make-cluster now"); n != 1 {
		t.Errorf("the command ran %d times, want once", n)
	}
	data, mode, err := x.a.File("/etc/x/y.conf")
	if err != nil || string(data) != "text" || mode.Perm() != 0o640 {
		t.Errorf("file is %q, mode %v, %v", data, mode, err)
	}
	if last := x.told[len(x.told)-1]; last != "10.0.0.1 make holds" {
		t.Errorf("last event is %q", last)
	}
}

func TestChangedStepIsDoneAgain(t *testing.T) {
	x := newBed(t)
	for _, text := range []string{"one", "two"} {
		if err := x.engine().Run(t.Context(), onA(write("/etc/conf", text))); err != nil {
			t.Fatal(err)
		}
		if data, _, _ := x.a.File("/etc/conf"); string(data) != text {
			t.Errorf("file is %q, want %q", data, text)
		}
	}
}

func TestRunGoesOnWhereItStopped(t *testing.T) {
	x := newBed(t)
	first := exec("first", "first")
	second := runtime.Step{ID: "second", Do: runtime.Exec{Argv: []string{"second"}, Recover: []runtime.Action{runtime.Exec{Argv: []string{"clean", "up"}}}}}
	x.a.Fail([]string{"second"}, errors.New("power cut"), 1)
	err := x.Run(t.Context(), onA(first, second))
	var step *runtime.StepError
	if !errors.As(err, &step) || step.Host != "10.0.0.1" || !strings.Contains(err.Error(), "power cut") {
		t.Fatalf("error is %v", err)
	}
	if count(x.a, "clean up") != 0 {
		t.Error("cleaned up before anything had been tried")
	}
	if err := x.engine().Run(t.Context(), onA(first, second)); err != nil {
		t.Fatal(err)
	}
	var ran []string
	for _, c := range x.a.Transcript() {
		if c = strings.TrimPrefix(c, "env SEALRT_WORK=test "); slices.Contains([]string{"first", "second", "clean up"}, c) {
			ran = append(ran, c)
		}
	}
	if diff := cmp.Diff([]string{"first", "second", "clean up", "second"}, ran); diff != "" {
		t.Error(diff)
	}
}

func TestFailureOfOneHostLetsTheOthersEndTheirWork(t *testing.T) {
	x := newBed(t)
	x.a.Fail([]string{"work"}, errors.New("disk full"), 0)
	plan := runtime.Plan{Phases: []runtime.Phase{
		{Name: "one", Tasks: []runtime.Task{{Member: memberA, Steps: []runtime.Step{exec("w", "work")}}, {Member: memberB, Steps: []runtime.Step{exec("w", "work")}}}},
		{Name: "two", Tasks: []runtime.Task{{Member: memberB, Steps: []runtime.Step{exec("later", "later")}}}},
	}}
	err := x.Run(t.Context(), plan)
	if err == nil || !strings.Contains(err.Error(), "10.0.0.1") {
		t.Errorf("error is %v", err)
	}
	if count(x.b, "work") != 1 || count(x.b, "later") != 0 {
		t.Errorf("host b: %q", x.b.Transcript())
	}
}

func TestForeignFilesAreNeverTakenOver(t *testing.T) {
	for name, step := range map[string]runtime.Step{
		"write": write("/etc/theirs/file", "ours"),
		"claim": {ID: "claim", Do: runtime.Claim{Paths: []string{"/etc/theirs"}}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBed(t)
			x.a.WriteFile("/etc/theirs/file", 0o600, []byte("theirs"))
			err := x.Run(t.Context(), onA(step))
			if err == nil || !strings.Contains(err.Error(), "/etc/theirs") || !strings.Contains(err.Error(), "not made by sealrt") {
				t.Fatalf("error is %v", err)
			}
			if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
				t.Fatal(err)
			}
			if data, _, err := x.a.File("/etc/theirs/file"); string(data) != "theirs" {
				t.Errorf("after reset the file is %q, %v", data, err)
			}
		})
	}
}

func TestUndoLeavesTheHostAsItWas(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	before := files(x.a)
	steps := []runtime.Step{
		{ID: "claim", Do: runtime.Claim{Paths: []string{"/var/lib/software"}}},
		write("/etc/deep/er/file", "x"),
		{ID: "block", Do: runtime.Block{Path: "/etc/hosts", Name: "test", Text: "10.0.0.1 api"}},
		write("/etc/systemd/system/software.service", "[Service]"),
		runtime.ServiceStep("software", true, "config"),
	}
	if err := x.Run(t.Context(), onA(steps...)); err != nil {
		t.Fatal(err)
	}
	x.a.WriteFile("/var/lib/software/data", 0o600, []byte("made by the software"))
	hosts, _, _ := x.a.File("/etc/hosts")
	if want := "127.0.0.1 localhost\n# begin sealrt test\n10.0.0.1 api\n# end sealrt test\n"; string(hosts) != want {
		t.Errorf("/etc/hosts is %q, want %q", hosts, want)
	}
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, files(x.a)); diff != "" {
		t.Error(diff)
	}
	if hosts, _, _ := x.a.File("/etc/hosts"); string(hosts) != "127.0.0.1 localhost\n" {
		t.Errorf("/etc/hosts is %q", hosts)
	}
}

// files lists what is on a host beside sealrt's own.
func files(h *hosttest.Host) []string {
	return slices.DeleteFunc(h.Files(), func(p string) bool { return strings.HasPrefix(p, runtime.Home) })
}

const secret runtime.Captured = "secret"

func TestCapturedValuesReachOtherHostsAndStayOutOfPlans(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"token", "create"}, "s3cr3t\n", 0)
	plan := runtime.Plan{Phases: []runtime.Phase{
		{Name: "grant", Tasks: []runtime.Task{{Member: memberA, Steps: []runtime.Step{
			{ID: "token", Do: runtime.Exec{Argv: []string{"token", "create"}, Capture: secret}}}}}},
		{Name: "join", Tasks: []runtime.Task{{Member: memberB, Steps: []runtime.Step{
			{ID: "config", With: "join", Do: runtime.Write{Path: "/etc/join", Data: "token: " + secret.String(), Mode: 0o600, Secret: true}},
			exec("join", "join"),
			{ID: "forget", With: "join", Do: runtime.Remove{Paths: []string{"/etc/join"}}},
		}}}},
	}}
	x.b.Fail([]string{"join"}, errors.New("link down"), 1)
	if err := x.Run(t.Context(), plan); err == nil {
		t.Fatal("no error")
	}
	if data, _, _ := x.b.File("/etc/join"); string(data) != "token: s3cr3t" {
		t.Errorf("file is %q", data)
	}
	x.a.Respond([]string{"token", "create"}, "fr3sh\n", 0)
	if err := x.engine().Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, "token create"); n != 2 {
		t.Errorf("%d tokens made, want one for each attempt", n)
	}
	if err := x.engine().Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, "token create"); n != 2 {
		t.Errorf("%d tokens after a run that had nothing to join", n)
	}
	var printed strings.Builder
	if _, err := plan.WriteTo(&printed); err != nil || strings.Contains(printed.String(), "s3cr3t") {
		t.Errorf("plan: %v\n%s", err, &printed)
	}
	for _, h := range []*hosttest.Host{x.a, x.b} {
		if ledger, _, _ := h.File("/var/lib/sealrt/ledger.jsonl"); strings.Contains(string(ledger), "s3cr3t") {
			t.Errorf("the secret is in the ledger: %s", ledger)
		}
	}
}

func TestPendingSaysWhatIsLeftAndChangesNothing(t *testing.T) {
	x := newBed(t)
	plan := onA(write("/etc/conf", "x"), exec("make", "make-cluster"))
	if err := x.Run(t.Context(), onA(plan.Phases[0].Tasks[0].Steps[0])); err != nil {
		t.Fatal(err)
	}
	before := len(x.a.Transcript())
	left, err := x.engine().Pending(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if _, err := left.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	if want := "phase (hosts at once)\n  10.0.0.1  run make-cluster\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	for _, c := range x.a.Transcript()[before:] {
		if !strings.HasPrefix(c, "cat ") {
			t.Errorf("pending ran %q", c)
		}
	}
}

func TestHostOfAnotherClusterIsRefused(t *testing.T) {
	x := newBed(t)
	if err := x.Run(t.Context(), onA(exec("x", "x"))); err != nil {
		t.Fatal(err)
	}
	other := x.engine()
	other.Cluster = "other"
	err := other.Run(t.Context(), onA(exec("y", "y")))
	if err == nil || !strings.Contains(err.Error(), `belongs to the cluster "test"`) {
		t.Errorf("error is %v", err)
	}
}

func TestLedgerCutByAPowerFailureIsReadUpToThere(t *testing.T) {
	x := newBed(t)
	plan := onA(exec("one", "make-one"), exec("two", "make-two"))
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	raw, _, _ := x.a.File("/var/lib/sealrt/ledger.jsonl")
	x.a.WriteFile("/var/lib/sealrt/ledger.jsonl", 0o644, raw[:len(raw)-20])
	if err := x.engine().Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if count(x.a, "make-one") != 1 {
		t.Error("a step that was done was repeated")
	}
	if n := count(x.a, "make-two"); n != 2 {
		t.Errorf("the step whose end was not recorded ran %d times, want 2", n)
	}
	if err := x.engine().Run(t.Context(), plan); err != nil || count(x.a, "make-two") != 2 {
		t.Errorf("after the repair: %v, %q", err, x.a.Transcript())
	}
}

func TestAwaitGivesTheLastAnswerWhenTimeIsOver(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"ask"}, "node is not ready", 1)
	err := x.Run(t.Context(), onA(runtime.Step{ID: "w", Do: runtime.Await{Argv: []string{"ask"}, Timeout: 10_000_000}}))
	if err == nil || !strings.Contains(err.Error(), "still not done after 10ms") || !strings.Contains(err.Error(), "timeouts.ready") || !strings.Contains(err.Error(), "node is not ready") {
		t.Errorf("error is %v", err)
	}
}

func TestServiceIsRestartedOnlyWhenItsConfigurationChanged(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/etc/systemd/system/daemon.service", 0o644, []byte("[Service]"))
	for _, config := range []string{"one", "one", "two"} {
		if err := x.engine().Run(t.Context(), onA(runtime.ServiceStep("daemon", true, config))); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(x.a, "systemctl restart daemon"); n != 2 {
		t.Errorf("restarted %d times, want once at first and once for the change: %q", n, x.a.Transcript())
	}
}

func TestMissingContainerImagesAreNamed(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"images"}, "docker.io/library/a:v1\n", 0)
	err := x.Run(t.Context(), onA(runtime.Step{ID: "p", Do: runtime.Present{Argv: []string{"images"}, Names: []string{"docker.io/library/a:v1", "docker.io/library/b:v1"}}}))
	if err == nil || !strings.Contains(err.Error(), "docker.io/library/b:v1") || strings.Contains(err.Error(), "a:v1,") {
		t.Errorf("error is %v", err)
	}
}

func TestImagesThatComeOneByOneAreWaitedFor(t *testing.T) {
	x := newBed(t)
	asked := 0
	x.a.Serve([]string{"images"}, func(_ context.Context, c host.Command) error {
		list := "docker.io/library/a:v1\n"
		if asked++; asked > 2 { // once for whether there is anything to do
			list += "docker.io/library/b:v1\n"
		}
		_, err := io.WriteString(c.Stdout, list)
		return err
	})
	names := []string{"docker.io/library/a:v1", "docker.io/library/b:v1"}
	if err := x.Run(t.Context(), onA(runtime.Step{ID: "p", Do: runtime.Present{Argv: []string{"images"}, Names: names, Patience: time.Hour}})); err != nil {
		t.Error(err)
	}
}

func TestContainerRuntimeThatStartsAgainIsWaitedFor(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"images"}, "docker.io/library/a:v1\n", 0)
	for nth := range 2 { // when it is asked whether there is anything to do, and when that is done
		x.a.Fail([]string{"images"}, &host.ExitError{Code: 1}, nth+1)
	}
	present := runtime.Step{ID: "p", Do: runtime.Present{Argv: []string{"images"}, Names: []string{"docker.io/library/a:v1"}}}
	if err := x.Run(t.Context(), onA(present)); err != nil {
		t.Error(err)
	}
}

func TestCancelledRunStops(t *testing.T) {
	x := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := x.Run(ctx, onA(exec("x", "x"))); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
