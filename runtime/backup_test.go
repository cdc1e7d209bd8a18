package runtime_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

// restorer is a fake driver that can put data back.
type restorer struct{ fakeDriver }

func (restorer) Halt(*runtime.Cluster, runtime.Member) []runtime.Step {
	return fakeStep("halt", "halt")
}

func (restorer) Restore(_ *runtime.Cluster, _ runtime.Member, from runtime.Kept) ([]runtime.Step, error) {
	return fakeStep("restore", "restore", from.Dir), nil
}

func (restorer) Readmit(_ *runtime.Cluster, members []runtime.Member) []runtime.Step {
	return fakeStep("readmit", "readmit", members[0].Hostname)
}

func (restorer) Rejoin(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("rejoin", "rejoin"), nil
}

func lifeUnder(t *testing.T, d runtime.Driver, change func(*runtime.Cluster)) *runtime.Runtime {
	t.Helper()
	c := &runtime.Cluster{Name: "test", Images: []runtime.Image{plainImage("a")}, Members: []runtime.Member{memberA, memberB}}
	if change != nil {
		change(c)
	}
	life, err := runtime.New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	return life
}

func TestDriversWithoutBackupsSaySo(t *testing.T) {
	life := lifeUnder(t, fakeDriver{}, nil)
	_, _, backup := life.Backup("/kept", "one")
	_, restore := life.Restore(runtime.Restoration{})
	_, rollback := lifeUnder(t, restorer{}, nil).Rollback(runtime.Restoration{}, plainImage("b"))
	for what, err := range map[string]error{"backup": backup, "restoring a backup": restore, "the version before": rollback} {
		if !errors.Is(err, runtime.ErrUnsupported) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRestoreNeedsAllHostsAndANameOfItsOwn(t *testing.T) {
	kept := runtime.Kept{Dir: "/kept"}
	life := lifeUnder(t, restorer{}, func(c *runtime.Cluster) { c.Down = map[string]bool{memberB.Address: true} })
	if _, err := life.Restore(runtime.Restoration{Kept: kept, On: memberA, Operation: "one"}); err == nil || !strings.Contains(err.Error(), "1 host does not answer") {
		t.Errorf("a host is down: %v", err)
	}
	if _, err := lifeUnder(t, restorer{}, nil).Restore(runtime.Restoration{Kept: kept, On: memberA}); err == nil {
		t.Error("a restore without a name would be done once for ever")
	}
}

func TestRestoreStopsAllBeforeItPutsAnythingBack(t *testing.T) {
	plan, err := lifeUnder(t, restorer{}, nil).Restore(runtime.Restoration{Kept: runtime.Kept{Dir: "/kept"}, On: memberA, Operation: "one", Gone: []string{"old"}, Discard: true})
	if err != nil {
		t.Fatal(err)
	}
	var phases []string
	for _, p := range plan.Phases {
		phases = append(phases, p.Name)
		if p.Policy != runtime.Gate {
			t.Errorf("after a failure in %s it would go on", p.Name)
		}
	}
	var last int
	for _, want := range []string{"deliver", "halt", "prepare", "restore", "answer", "readmit", "rejoin nodes", "publish", "discard"} {
		at := slices.Index(phases, want)
		if at < last {
			t.Errorf("%s is not where it belongs: %q", want, phases)
		}
		last = max(last, at)
	}
}

func TestLostAreHostsThatAreNoMembersAnyMore(t *testing.T) {
	c := &runtime.Cluster{Members: []runtime.Member{{Hostname: "a"}, {Hostname: "b"}}}
	if got := runtime.Lost([]string{"A", "c", "b"}, c); !slices.Equal(got, []string{"c"}) {
		t.Errorf("got %q", got)
	}
}
