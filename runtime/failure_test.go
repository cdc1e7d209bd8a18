package runtime_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestNodeThatFailsIsLeftOutAndTheOthersGoOn(t *testing.T) {
	x := newTrio()
	x.hosts[memberB.Address].Respond([]string{"join"}, "no such token", 3)
	err := x.engine().Run(t.Context(), wholePlan())
	var report *runtime.RunError
	if !errors.As(err, &report) {
		t.Fatalf("error is %v", err)
	}
	if diff := cmp.Diff([]string{"10.0.0.1", "10.0.0.3"}, report.Done); diff != "" || len(report.Behind) > 0 {
		t.Errorf("done: %s, behind: %q", diff, report.Behind)
	}
	want := "1 of 3 hosts failed\njoin nodes: host 10.0.0.2: join: join cluster: exit status 3: no such token\ndone: 10.0.0.1, 10.0.0.3"
	if err.Error() != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
	a := x.hosts[memberA.Address]
	if count(a, "ready b") != 0 || count(a, "ready c") != 1 || count(a, "install app") != 1 {
		t.Errorf("the master ran %q", a.Transcript())
	}
}

func TestMasterThatFailsEndsThePlanAfterThePhase(t *testing.T) {
	x := newTrio()
	x.hosts[memberA.Address].Respond([]string{"load-modules"}, "no", 1)
	err := x.engine().Run(t.Context(), wholePlan())
	var report *runtime.RunError
	if !errors.As(err, &report) || cmp.Diff([]string{"10.0.0.2", "10.0.0.3"}, report.Behind) != "" {
		t.Fatalf("error is %v", err)
	}
	if b := x.hosts[memberB.Address]; count(b, "load-modules") != 1 || count(b, "join") != 0 {
		t.Errorf("the node ran %q", b.Transcript())
	}
}

func TestNodeThatFailsBeforeAGateEndsThePlan(t *testing.T) {
	x := newTrio()
	x.hosts[memberB.Address].Respond([]string{"join"}, "no", 3)
	plan := wholePlan()
	for i, phase := range plan.Phases {
		if phase.Name == "join nodes" {
			plan.Phases[i].Policy = runtime.Gate
		}
	}
	if err := x.engine().Run(t.Context(), plan); err == nil || count(x.hosts[memberA.Address], "install app") != 0 || count(x.hosts[memberC.Address], "join cluster") != 1 {
		t.Errorf("%v, %q", err, x.hosts[memberA.Address].Transcript())
	}
}

func TestNodeThatDoesNotBecomeReadyIsTheOneThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newTrio()
		x.hosts[memberA.Address].Respond([]string{"ready", "b"}, "timed out", 1)
		x.hosts[memberB.Address].Respond([]string{"journalctl", "-u", "daemon", "-n", "20", "--no-pager"}, "daemon: no route to s3cr3t\n", 0)
		err := x.engine().Run(t.Context(), wholePlan())
		for _, want := range []string{"ready: host 10.0.0.2: ready b", "timeouts.ready", "the journal of daemon on 10.0.0.2 ends:\n      daemon: no route to ⟨secret⟩", "done: 10.0.0.1, 10.0.0.3"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error is %v\nwant %q", err, want)
			}
		}
		if count(x.hosts[memberA.Address], "install app") != 1 {
			t.Error("the app was not installed")
		}
	})
}

// hung is a host on which one program never ends.
type hung struct {
	*hosttest.Host
	program string
}

func (h hung) Run(ctx context.Context, c host.Command) error {
	if c.Argv[0] == h.program {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Host.Run(ctx, c)
}

func TestHungCommandIsEndedAndTheLimitNamed(t *testing.T) {
	for name, c := range map[string]struct {
		step   runtime.Step
		limits runtime.Limits
		want   string
	}{
		"the default":           {exec("x", "hang"), runtime.Limits{}, "hang: not done after 30m0s, and ended (timeouts.command of the Clusterfile raises the limit)"},
		"the step's own":        {runtime.Step{ID: "x", Do: runtime.Exec{Argv: []string{"hang"}, Timeout: time.Hour}}, runtime.Limits{}, "not done after 1h0m0s"},
		"the user's":            {runtime.Step{ID: "x", Do: runtime.Exec{Argv: []string{"hang"}, Timeout: time.Hour}}, runtime.Limits{Command: time.Minute}, "not done after 1m0s"},
		"of a condition":        {runtime.Step{ID: "x", Do: runtime.Await{Argv: []string{"hang"}}}, runtime.Limits{}, "not done after 10m0s, and ended (timeouts.ready"},
		"of what a file needs":  {write("/etc/x", "x"), runtime.Limits{}, "not done after 30m0s"},
		"the user's of a state": {runtime.Step{ID: "x", Do: runtime.Await{Argv: []string{"hang"}, Timeout: time.Hour}}, runtime.Limits{Ready: time.Minute}, "not done after 1m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				program := "hang"
				if _, ok := c.step.Do.(runtime.Write); ok {
					program = "mktemp"
				}
				e := &runtime.Engine{Cluster: "test", Limits: c.limits, Hosts: map[string]host.Host{memberA.Address: hung{newHost("10.0.0.1"), program}}}
				err := e.Run(t.Context(), onA(c.step))
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error is %v, want %q", err, c.want)
				}
			})
		})
	}
}

// stopping is a host on which the user presses Ctrl-C while a program runs,
// which ends well all the same.
type stopping struct {
	*hosttest.Host
	program string
	stop    func()
}

func (s stopping) Run(ctx context.Context, c host.Command) error {
	err := s.Host.Run(ctx, c)
	if c.Argv[0] == s.program {
		s.stop()
	}
	return err
}

func TestWhatEndedWellAfterTheInterruptIsNotRepeated(t *testing.T) {
	x := newBed(t)
	ctx, cancel := context.WithCancel(t.Context())
	e := x.engine()
	e.Hosts = map[string]host.Host{memberA.Address: stopping{x.a, "make-cluster", cancel}}
	plan := onA(exec("make", "make-cluster"), exec("more", "more"))
	if err := e.Run(ctx, plan); !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	if err := x.engine().Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	if n := count(x.a, "make-cluster"); n != 1 || count(x.a, "more") != 1 {
		t.Errorf("the command ran %d times: %q", n, x.a.Transcript())
	}
}

func TestLimitsAreReadAndWrongOnesNamed(t *testing.T) {
	l, err := runtime.LimitsOf(clusterfile.Timeouts{Command: "1h30m", Drain: "90s", Silence: "1m"})
	if diff := cmp.Diff(runtime.Limits{Command: 90 * time.Minute, Drain: 90 * time.Second, Silence: time.Minute}, l); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	_, err = runtime.LimitsOf(clusterfile.Timeouts{Ready: "soon", Connect: "-1s"})
	for _, want := range []string{`timeouts.ready: "soon"`, `timeouts.connect: "-1s"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want %q", err, want)
		}
	}
}

func TestALongerLimitRepeatsNothing(t *testing.T) {
	x := newBed(t)
	for _, limit := range []time.Duration{time.Minute, time.Hour} {
		step := runtime.Step{ID: "make", Do: runtime.Exec{Argv: []string{"make-cluster"}, Timeout: limit}}
		if err := x.engine().Run(t.Context(), onA(step)); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(x.a, "make-cluster"); n != 1 {
		t.Errorf("the command ran %d times", n)
	}
}

func TestCommandWhoseEndIsUnknownIsRepeatedOnlyWhereThatIsSafe(t *testing.T) {
	for name, c := range map[string]struct {
		do    runtime.Exec
		again bool
		runs  int
	}{
		"safe":           {runtime.Exec{Argv: []string{"work"}}, true, 2},
		"with a remedy":  {runtime.Exec{Argv: []string{"work"}, Recover: []runtime.Action{runtime.Exec{Argv: []string{"mend"}}}}, false, 2},
		"of no such use": {runtime.Exec{Argv: []string{"work"}}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newBed(t)
				x.a.Fail([]string{"work"}, host.ErrLost, 1)
				err := x.Run(t.Context(), onA(runtime.Step{ID: "w", Again: c.again, Do: c.do}))
				if n := count(x.a, "work"); n != c.runs || (err == nil) != (n == 2) {
					t.Errorf("ran %d times, %v", n, err)
				}
				if len(c.do.Recover) > 0 && count(x.a, "mend") != 1 {
					t.Error("the remedy was not used")
				}
				if waited := strings.Contains(strings.Join(x.told, "\n"), "10.0.0.1 w waiting"); waited != (c.runs == 2) {
					t.Errorf("told %q", x.told)
				}
			})
		})
	}
}

// keeper is a journal in memory.
type keeper struct {
	mu   sync.Mutex
	text strings.Builder
	err  error
}

func (k *keeper) Record(_ context.Context, line []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.text.Write(line)
	return k.err
}

func TestJournalTellsWhatHappenedAndNoSecret(t *testing.T) {
	x := newTrio()
	k := &keeper{}
	x.hosts[memberB.Address].Respond([]string{"join"}, "s3cr3t is no token", 3)
	e := x.engine()
	e.Journal, e.Operation = k, runtime.Operation{ID: "op1", Command: "run", Client: "ops@here"}
	if err := e.Run(t.Context(), wholePlan()); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Fatalf("error is %v", err)
	}
	if strings.Contains(k.text.String(), "s3cr3t") {
		t.Error("the secret is in the journal")
	}
	last, ok, err := runtime.ReadLastOperation(strings.NewReader(k.text.String()))
	if err != nil || !ok || last.Command != "run" || last.Client != "ops@here" || last.State != runtime.OutcomeFailed || last.Ended.IsZero() || len(last.Open) > 0 {
		t.Errorf("%+v, %t, %v", last, ok, err)
	}
	if len(last.Failed) != 1 || last.Failed[0].Host != "10.0.0.2" || last.Failed[0].Step != "join" || last.Failed[0].Phase != "join nodes" || !strings.Contains(last.Failed[0].Error, "⟨secret⟩ is no token") {
		t.Errorf("failed: %+v", last.Failed)
	}
}

func TestJournalOfAClientThatWasKilledSaysWhereItStopped(t *testing.T) {
	x := newTrio()
	k := &keeper{}
	e := x.engine()
	e.Journal, e.Operation = k, runtime.Operation{ID: "op1", Command: "run"}
	if err := e.Run(t.Context(), wholePlan()); err != nil {
		t.Fatal(err)
	}
	cut := strings.Index(k.text.String(), `"step":"app"`)
	text := k.text.String()[:cut] + `"step":"app","host":"10.0.0.1","state":"begun"}` + "\n" + `{"oper`
	last, ok, err := runtime.ReadLastOperation(strings.NewReader(text))
	if err != nil || !ok || !last.Ended.IsZero() || last.State != runtime.OutcomeBegun || len(last.Open) != 1 || last.Open[0].Step != "app" {
		t.Errorf("%+v, %t, %v", last, ok, err)
	}
}

func TestNothingBeginsThatTheJournalDoesNotTake(t *testing.T) {
	x := newBed(t)
	x.Journal = &keeper{err: errors.New("disk full")}
	if err := x.Run(t.Context(), onA(exec("x", "work"))); err == nil || !strings.Contains(err.Error(), "disk full") || count(x.a, "work") != 0 {
		t.Errorf("%v, %q", err, x.a.Transcript())
	}
}

// talker is a host on which a program says a lot on its standard output, and
// fails.
type talker struct{ *hosttest.Host }

func (h talker) Run(ctx context.Context, c host.Command) error {
	if c.Argv[0] != "talk" {
		return h.Host.Run(ctx, c)
	}
	for i := range 10_000 {
		if _, err := fmt.Fprintf(c.Stdout, "line %d\n", i); err != nil {
			return err
		}
	}
	return &host.ExitError{Host: h.Name(), Argv: c.Argv, Code: 7}
}

func TestLastLinesOfAFailedCommandAreTold(t *testing.T) {
	e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{memberA.Address: talker{newHost("10.0.0.1")}}}
	err := e.Run(t.Context(), onA(exec("x", "talk")))
	if err == nil || !strings.Contains(err.Error(), "exit status 7; its last output was\n    line 9988\n") || !strings.Contains(err.Error(), "line 9999") {
		t.Errorf("error is %v", err)
	}
}

func TestFailureOfAHookSaysWhatItPrinted(t *testing.T) {
	for name, tell := range map[string]bool{"a hook": true, "a command of ours": false} {
		t.Run(name, func(t *testing.T) {
			h := newHost("10.0.0.1")
			h.Serve([]string{"hook"}, func(_ context.Context, c host.Command) error {
				_, err := io.WriteString(c.Stdout, "no licence\n")
				return errors.Join(err, &host.ExitError{Code: 1, Stderr: "see the log"})
			})
			e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{memberA.Address: h}}
			err := e.Run(t.Context(), onA(runtime.Step{ID: "hook", Do: runtime.Exec{Argv: []string{"hook"}, Tell: tell}}))
			if err == nil || !strings.Contains(err.Error(), "see the log") || strings.Contains(err.Error(), "its last output was\n    no licence") != tell {
				t.Errorf("error is %v", err)
			}
		})
	}
}
