package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

func TestWhatAKilledClientLeftRunningIsEndedFirst(t *testing.T) {
	x := newBed(t)
	plan := onA(exec("make", "make-cluster"))
	x.a.Fail([]string{"make-cluster"}, errors.New("link down"), 1)
	if err := x.Run(t.Context(), plan); err == nil {
		t.Fatal("no error")
	}
	for _, c := range x.a.Calls() {
		if marked := slices.Contains(c.Env, "SEALRT_WORK=test"); marked != (c.Argv[0] == "make-cluster") {
			t.Errorf("%q: has the mark: %v", c.Argv, marked)
		}
	}
	seen := len(x.a.Transcript())
	x.a.Respond([]string{"ls", "/proc"}, "1\n42\nself\n", 0)
	x.a.Respond([]string{"grep"}, "/proc/42/environ\n", 0)
	x.a.Fail([]string{"kill"}, errors.New("link down"), 1)
	if err := x.engine().Run(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "left running") {
		t.Errorf("error is %v", err)
	}
	ran := x.a.Transcript()[seen:]
	if !slices.Contains(ran, "kill -s TERM 42") || slices.ContainsFunc(ran, func(c string) bool { return strings.HasSuffix(c, "make-cluster") }) {
		t.Errorf("the second run did %q", ran)
	}
}

func TestMendingIsDoneOnlyForAStepThatBeganAndDidNotEnd(t *testing.T) {
	x := newBed(t)
	plan := runtime.Plan{Phases: []runtime.Phase{
		{Name: "grant", Tasks: []runtime.Task{{Member: memberA, Steps: []runtime.Step{
			{ID: "forget b", Mends: runtime.StepRef{Address: memberB.Address, ID: "join"}, Do: runtime.Exec{Argv: []string{"delete-node", "b"}}}}}}},
		{Name: "join", Tasks: []runtime.Task{{Member: memberB, Steps: []runtime.Step{exec("join", "join-cluster")}}}},
	}}
	x.b.Fail([]string{"join-cluster"}, errors.New("link down"), 1)
	for i, want := range []int{0, 1, 1} {
		err := x.engine().Run(t.Context(), plan)
		if (err != nil) != (i == 0) {
			t.Fatalf("run %d: %v", i+1, err)
		}
		if n := count(x.a, "delete-node b"); n != want {
			t.Errorf("after run %d the node was forgotten %d times, want %d", i+1, n, want)
		}
	}
}

func TestMendingIsDoneAgainForEachFailure(t *testing.T) {
	x := newBed(t)
	mend := runtime.Step{ID: "forget", Mends: runtime.StepRef{Address: memberA.Address, ID: "join"}, Do: runtime.Exec{Argv: []string{"delete-node"}}}
	plan := onA(mend, exec("join", "join-cluster"))
	x.a.Fail([]string{"join-cluster"}, errors.New("link down"), 0)
	for i := range 3 {
		if err := x.engine().Run(t.Context(), plan); err == nil {
			t.Fatal("no error")
		}
		if n := count(x.a, "delete-node"); n != i {
			t.Errorf("after failure %d mended %d times", i+1, n)
		}
	}
}

func TestLedgerIsOnTheDiskBeforeTheStepBegins(t *testing.T) {
	x := newBed(t)
	if err := x.Run(t.Context(), onA(exec("make", "make-cluster"))); err != nil {
		t.Fatal(err)
	}
	ran := x.a.Transcript()
	at := slices.IndexFunc(ran, func(c string) bool { return strings.HasSuffix(c, "make-cluster") })
	if at < 1 || !strings.Contains(ran[at-1], "ledger.jsonl") || !strings.Contains(ran[at-1], "fsync") {
		t.Errorf("ran %q", ran)
	}
}
