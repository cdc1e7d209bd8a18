package runtime_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
)

// installing is a command that makes a file, and a step that says what is to be
// in it.
func installing(script string) runtime.Plan {
	return onA(
		runtime.Step{ID: "install", Do: runtime.Exec{Argv: []string{"cp", "/script", "/etc/service"}, Env: []string{"SCRIPT=" + script}, Makes: []string{"/etc/service"}}},
		runtime.Step{ID: "variables", After: "install", Do: runtime.Write{Path: "/etc/service", Data: "ours\n", Mode: 0o600}},
	)
}

func TestWhatACommandWritesOverIsMadeAgain(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/script", 0o755, []byte("theirs\n"))
	for _, script := range []string{"one", "one", "two"} {
		if err := x.engine().Run(t.Context(), installing(script)); err != nil {
			t.Fatal(err)
		}
		if got, _, err := x.a.File("/etc/service"); err != nil || string(got) != "ours\n" {
			t.Errorf("script %s: the file says %q, %v", script, got, err)
		}
	}
	if n := count(x.a, "cp /script"); n != 2 {
		t.Errorf("the script ran %d times, want once for each text", n)
	}
}

func TestWhatACommandWroteOverIsNotDoneAnyMore(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/script", 0o755, []byte("theirs\n"))
	own := onA(write("/etc/service", "ours\n"))
	script := runtime.Plan{Phases: installing("one").Phases[:1]}
	script.Phases[0].Tasks[0].Steps = script.Phases[0].Tasks[0].Steps[:1]
	for _, plan := range []runtime.Plan{own, script, own} {
		if err := x.engine().Run(t.Context(), plan); err != nil {
			t.Fatal(err)
		}
	}
	if got, _, err := x.a.File("/etc/service"); err != nil || string(got) != "ours\n" {
		t.Errorf("the file says %q, %v", got, err)
	}
}

func TestCommandThatDoesNotMakeItsFilesFails(t *testing.T) {
	x := newBed(t)
	plan := onA(runtime.Step{ID: "install", Do: runtime.Exec{Argv: []string{"true"}, Makes: []string{"/etc/service"}}})
	if err := x.Run(t.Context(), plan); err == nil || !strings.Contains(err.Error(), "did not make /etc/service") {
		t.Errorf("it says %v", err)
	}
}

func TestCommandTakesNothingOver(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/script", 0o755, nil)
	x.a.WriteFile("/etc/service", 0o644, []byte("the user's\n"))
	if err := x.Run(t.Context(), installing("one")); err == nil || !strings.Contains(err.Error(), "/etc/service: already there and not made by sealrt") {
		t.Errorf("it says %v", err)
	}
	if got, _, _ := x.a.File("/etc/service"); string(got) != "the user's\n" {
		t.Errorf("the file says %q", got)
	}
}

func TestWhatACommandMadeDriftsAndGoes(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile(runtime.HelperPath, 0o755, nil)
	x.a.WriteFile("/script", 0o755, []byte("theirs\n"))
	plan := installing("one")
	plan.Phases[0].Tasks[0].Steps = plan.Phases[0].Tasks[0].Steps[:1]
	if err := x.Run(t.Context(), plan); err != nil {
		t.Fatal(err)
	}
	x.a.WriteFile("/etc/service", 0o644, []byte("changed\n"))
	drifts, err := x.engine().Drift(t.Context(), []runtime.Member{memberA}, nil)
	if err != nil || len(drifts) != 1 || drifts[0].What != "/etc/service was changed" || drifts[0].Step != "install" {
		t.Errorf("found %+v, %v", drifts, err)
	}
	if err := x.engine().Run(t.Context(), undoing()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.a.File("/etc/service"); err == nil {
		t.Error("it is there still")
	}
}

func undoing() runtime.Plan { return onA(runtime.Step{ID: "undo", Do: runtime.Undo{}}) }

func link() runtime.Plan {
	return onA(runtime.Step{ID: "link", Do: runtime.Link{Path: "/usr/local/bin/kubectl", To: "k3s", Unless: []string{"/usr/bin/kubectl"}}})
}

func TestLinkLeavesTheUsersProgramAlone(t *testing.T) {
	const at = "/usr/local/bin/kubectl"
	for name, c := range map[string]struct {
		before, after string // files of the user's, before it is made and after that
		made, left    string // what is there once it is made, and once it is undone
	}{
		"nothing there":        {made: "k3s"},
		"the same name":        {before: at, made: "the user's", left: "the user's"},
		"the name elsewhere":   {before: "/usr/bin/kubectl"},
		"put there afterwards": {after: at, made: "k3s", left: "the user's"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBed(t)
			if c.before != "" {
				x.a.WriteFile(c.before, 0o755, []byte("the user's"))
			}
			if err := x.Run(t.Context(), link()); err != nil {
				t.Fatal(err)
			}
			made, _, _ := x.a.File(at)
			if c.after != "" {
				x.a.WriteFile(c.after, 0o755, []byte("the user's"))
			}
			if err := x.engine().Run(context.Background(), undoing()); err != nil {
				t.Fatal(err)
			}
			left, _, _ := x.a.File(at)
			if diff := cmp.Diff([]string{c.made, c.left}, []string{string(made), string(left)}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanGoesOnWhereAStepMayFail(t *testing.T) {
	x := newBed(t)
	x.a.Respond([]string{"stuck"}, "busy", 1)
	bad := exec("stuck", "stuck")
	bad.Tolerate = true
	if err := x.Run(t.Context(), onA(bad, write("/etc/after", ""))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := x.a.File("/etc/after"); err != nil {
		t.Error(err)
	}
}
