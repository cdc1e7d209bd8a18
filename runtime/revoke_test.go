package runtime_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// lender is a distribution whose grants are taken back.
type lender struct{ fakeDriver }

const loan runtime.Captured = "loan"

func (lender) Grant(*runtime.Cluster) []runtime.Step {
	return []runtime.Step{{ID: "lend", Do: runtime.Exec{Argv: []string{"fake", "lend"}, Capture: loan}}}
}

func (lender) Revoke(*runtime.Cluster) []runtime.Step {
	return []runtime.Step{
		{ID: "take back", Do: runtime.Exec{Argv: []string{"fake", "takeback"}, Always: true}},
		{ID: "take back what is left", With: "left", Do: runtime.Exec{Argv: []string{"fake", "late"}}},
		{ID: "left", Do: runtime.Remove{Paths: []string{"/lent"}, IfAny: true}},
	}
}

func (lender) JoinedBy(bool) string { return "fake join" }

func (lender) JoinNode(*runtime.Cluster, runtime.Member) ([]runtime.Step, error) {
	return fakeStep("fake join", "join", loan.String()), nil
}

// TestWhatWasGrantedIsTakenBackOnceMembersHaveJoined runs what a plan does about
// grants again and again. After the first time nobody joins: nothing is granted, and
// only what is left is taken back.
func TestWhatWasGrantedIsTakenBackOnceMembersHaveJoined(t *testing.T) {
	c := plainCluster(1, 2)
	life, err := runtime.New(c, lender{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := life.JoinNodes(c.Nodes())
	if err != nil {
		t.Fatal(err)
	}
	var plan runtime.Plan
	for _, p := range whole.Phases {
		if slices.Contains([]string{"grant", "join nodes", "revoke"}, p.Name) {
			plan.Phases = append(plan.Phases, p)
		}
	}
	hosts := map[string]host.Host{}
	for _, m := range c.Members {
		hosts[m.Address] = newHost(m.Address)
	}
	master, _ := hosts["m1"].(*hosttest.Host)
	for i := range 4 {
		if i == 2 { // as when a client ended before it took anything back
			master.WriteFile("/lent", 0o600, nil)
		}
		if err := (&runtime.Engine{Cluster: "test", Hosts: hosts}).Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, line := range master.Transcript() {
		if _, command, ok := strings.Cut(line, " fake "); ok {
			got = append(got, command)
		}
	}
	if want := []string{"lend", "takeback", "takeback", "late"}; !slices.Equal(got, want) {
		t.Errorf("the master ran %q, want %q", got, want)
	}
}
