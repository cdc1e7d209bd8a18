package runtime_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// distant is a host far away: each answer takes its time, and there are eight
// at once, as over SSH. What it does not know, serving others too, takes all of
// its input and says nothing.
type distant struct {
	*hosttest.Host
	slots chan struct{}
}

const answerTime = 200 * time.Millisecond

func (d distant) Run(ctx context.Context, c host.Command) error {
	d.slots <- struct{}{}
	defer func() { <-d.slots }()
	time.Sleep(answerTime)
	return d.Host.Run(ctx, c)
}

// slowKeeper is a journal on hosts far away.
type slowKeeper struct{}

func (slowKeeper) Record(context.Context, []byte) error {
	time.Sleep(answerTime)
	return nil
}

// manyPlan is a cluster of a master and so many nodes.
func manyPlan(nodes int) (runtime.Plan, map[string]host.Host) {
	whole := wholePlan() // of memberA, memberB and memberC
	hosts := map[string]host.Host{}
	plan := runtime.Plan{}
	members := []runtime.Member{memberA}
	for i := range nodes {
		address := fmt.Sprintf("10.0.1.%d", i+1)
		members = append(members, runtime.Member{Address: address, Role: runtime.Node, NodeIP: address})
	}
	for _, m := range members {
		hosts[m.Address] = distant{newHost(m.Address), make(chan struct{}, 8)}
	}
	for _, phase := range whole.Phases {
		many := runtime.Phase{Name: phase.Name}
		for _, task := range phase.Tasks {
			step := task.Steps[0]
			switch {
			case task.Member.Address == memberA.Address && step.About == "":
				many.Tasks = append(many.Tasks, task)
			case task.Member.Address == memberB.Address:
				for _, m := range members[1:] {
					many.Tasks = append(many.Tasks, runtime.Task{Member: m, Steps: task.Steps})
				}
			case step.About == memberB.Address:
				for _, m := range members[1:] {
					step.ID, step.About = "ready "+m.Address, m.Address
					many.Tasks = append(many.Tasks, runtime.Task{Member: memberA, Steps: []runtime.Step{step}})
				}
			}
		}
		plan.Phases = append(plan.Phases, many)
	}
	return plan, hosts
}

// runMany returns how long, on the clock of the test, a first run takes and a
// second one that has nothing to do, and how many commands the last host ran.
func runMany(t *testing.T, nodes int) (first, second time.Duration, commands int) {
	t.Helper()
	plan, hosts := manyPlan(nodes)
	engine := func() *runtime.Engine {
		return &runtime.Engine{Cluster: "test", Hosts: hosts, Journal: slowKeeper{},
			Helper: func(string, string) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("program")), nil }}
	}
	run := func() time.Duration {
		start := time.Now()
		e := engine()
		if err := e.Check(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
		f, err := e.Forecast(t.Context(), plan)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Execute(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		return time.Since(start)
	}
	first, second = run(), run()
	last := hosts[fmt.Sprintf("10.0.1.%d", nodes)]
	if nodes == 0 {
		last = hosts[memberA.Address]
	}
	for _, c := range last.(distant).Calls() {
		if !slices.Contains(c.Argv, "serve") { // who happens to be asked to
			commands++
		}
	}
	return first, second, commands
}

func TestFiftyHostsTakeHardlyLongerThanOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alone, again, _ := runMany(t, 0)
		_, _, pair := runMany(t, 1)
		many, manyAgain, each := runMany(t, 49)
		t.Logf("one host %s and then %s, fifty %s and then %s", alone, again, many, manyAgain)
		if many > alone*5/2 || manyAgain > again*5/2 {
			t.Errorf("fifty hosts take %s and then %s, one takes %s and then %s", many, manyAgain, alone, again)
		}
		if each != pair {
			t.Errorf("a node among fifty runs %d commands, one alone %d", each, pair)
		}
	})
}

func TestStepsThatTheLedgerAnswersCostNoQuestion(t *testing.T) {
	x := newBed(t)
	var steps []runtime.Step
	for i := range 100 {
		steps = append(steps, write(fmt.Sprintf("/etc/many/%d", i), "x"), exec(fmt.Sprint("command ", i), "do", fmt.Sprint(i)))
	}
	if err := x.Run(t.Context(), onA(steps...)); err != nil {
		t.Fatal(err)
	}
	before := len(x.a.Calls())
	if err := x.engine().Run(t.Context(), onA(steps...)); err != nil {
		t.Fatal(err)
	}
	if n := len(x.a.Calls()) - before; n != 1 {
		t.Errorf("a run that has nothing to do asks %d times, want once, for the ledger", n)
	}
}

func TestFilesInARowShareTheirLinesOfTheLedger(t *testing.T) {
	x := newBed(t)
	var steps []runtime.Step
	for i := range 20 {
		steps = append(steps, write(fmt.Sprintf("/etc/many/deep/%d", i), "x"))
	}
	if err := x.Run(t.Context(), onA(steps...)); err != nil {
		t.Fatal(err)
	}
	if lines, asked := count(x.a, "ledger.jsonl oflag=append"), count(x.a, "-maxdepth 0"); lines != 2 || asked != 1 {
		t.Errorf("the ledger was written to %d times, want 2, and %d questions asked for what is there, want 1", lines, asked)
	}
	if err := x.engine().Run(t.Context(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	if left := files(x.a); len(left) != 1 {
		t.Errorf("after undo there is %q", left)
	}
}
