package runtime_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// reasons lists why steps are to be done.
func reasons(f *runtime.Forecast) map[string]string {
	out := map[string]string{}
	for _, p := range f.Phases {
		for _, s := range p.Steps {
			out[s.ID] = s.Why
		}
	}
	return out
}

func forecast(t *testing.T, e *runtime.Engine, p runtime.Plan) *runtime.Forecast {
	t.Helper()
	f, err := e.Forecast(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestForecastSaysWhy(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/etc/systemd/system/daemon.service", 0o644, []byte("[Service]"))
	service := func(config string) runtime.Step {
		s := runtime.ServiceStep("daemon", true, config)
		s.Reads = []string{"/etc/conf", "/etc/other"}
		return s
	}
	x.a.Fail([]string{"broken"}, errors.New("power cut"), 1)
	if err := x.Run(t.Context(), onA(write("/etc/conf", "one"), exec("same", "same"), service("one"), exec("broken", "broken"))); err == nil {
		t.Fatal("no error")
	}
	f := forecast(t, x.engine(), onA(write("/etc/conf", "two"), write("/etc/fresh", "x"), exec("same", "same"), exec("new", "new"), service("two"), exec("broken", "broken")))
	want := map[string]string{
		"write /etc/conf": "differs from what was done", "write /etc/fresh": "not there", "new": "not done yet",
		"service daemon": "restarts because /etc/conf changes", "broken": "stopped half way",
	}
	if diff := cmp.Diff(want, reasons(f)); diff != "" {
		t.Error(diff)
	}
	h := f.Hosts[0]
	if f.Restarts != 1 || !slices.Equal(h.Restarts, []string{"daemon"}) || !slices.Equal(h.Disturbs.Services, []string{"daemon"}) || !f.Disturbs() {
		t.Errorf("restarts: %d, %+v", f.Restarts, h)
	}
	if h.Bytes != int64(len("two")+len("x")) || f.FromClient != h.Bytes || f.FromPeers != 0 {
		t.Errorf("%d bytes, %d from the client", h.Bytes, f.FromClient)
	}
}

func TestNobodyIsDisturbedOnAFreshHost(t *testing.T) {
	x := newBed(t)
	step := exec("install", "install")
	step.Disturbs = runtime.Disturbance{Pods: true, API: true}
	if f := forecast(t, x.Engine, onA(step)); f.Disturbs() {
		t.Errorf("%+v", f.Hosts)
	}
	if err := x.Run(t.Context(), onA(exec("first", "first"))); err != nil {
		t.Fatal(err)
	}
	if f := forecast(t, x.engine(), onA(step)); !f.Disturbs() {
		t.Errorf("%+v", f.Hosts)
	}
	f := forecast(t, x.engine(), onA(runtime.Step{ID: "undo", Do: runtime.Undo{}}))
	if d := f.Hosts[0].Disturbs; !d.Pods || !d.API {
		t.Errorf("%+v", d)
	}
}

func TestRunDoesExactlyWhatWasForecast(t *testing.T) {
	x := newTrio()
	e := x.engine()
	f := forecast(t, e, wholePlan())
	// while the user reads the plan, what it was made of changes: the printed
	// plan is the one that runs
	x.hosts[memberB.Address].SetUnit("daemon", true, true)
	if err := e.Execute(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for _, p := range f.Phases {
		for _, s := range p.Steps {
			want[s.Host+" "+s.ID]++
		}
	}
	if diff := cmp.Diff(want, x.started); diff != "" {
		t.Error(diff)
	}
	if f := forecast(t, x.engine(), wholePlan()); f.Steps != 0 || len(f.Phases) != 0 {
		t.Errorf("afterwards: %+v", f.Phases)
	}
}

func TestForecastTellsWhatIsSentFromWhere(t *testing.T) {
	x := newBed(t)
	helper := runtime.Step{ID: "sealrt", Do: runtime.Helper{}}
	plan := runtime.Plan{Phases: []runtime.Phase{{Name: "deliver", Tasks: []runtime.Task{{Member: memberA, Steps: []runtime.Step{helper}}, {Member: memberB, Steps: []runtime.Step{helper}}}}}}
	f := forecast(t, x.Engine, plan)
	if f.FromClient != int64(2*len("program")) || f.Hosts[1].Bytes != int64(len("program")) {
		t.Errorf("%+v", f)
	}
}

func saved(t *testing.T, f *runtime.Forecast, base runtime.Base) runtime.SavedPlan {
	t.Helper()
	var b bytes.Buffer
	plan := runtime.SavedPlan{Version: "v1", Asked: &clusterfile.Document{}, Base: base, Forecast: *f}
	if err := plan.Write(&b); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "s3cr3t") {
		t.Errorf("the plan holds a secret: %s", &b)
	}
	read, err := runtime.ReadPlan(&b)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestSavedPlanHoldsAsLongAsNothingMoved(t *testing.T) {
	base := runtime.Base{Revision: 3, Known: "abc", Images: map[string]string{"image": "sha256:1"}}
	plan := func(data string) runtime.Plan {
		secret := runtime.Step{ID: "key", Do: runtime.Write{Path: "/etc/key", Data: "s3cr3t" + data, Mode: 0o600, Secret: true}}
		return onA(secret, exec("make", "make-cluster"))
	}
	for name, c := range map[string]struct {
		version string
		base    runtime.Base
		data    string
		change  func(*testing.T, *bed)
		want    string
	}{
		"nothing":              {"v1", base, "", nil, ""},
		"the program":          {"v2", base, "", nil, "made by sealrt v1, this is v2"},
		"the revision":         {"v1", runtime.Base{Revision: 4, Known: "abc", Images: base.Images}, "", nil, "revision 3 then, 4 now"},
		"the image":            {"v1", runtime.Base{Revision: 3, Known: "abc", Images: map[string]string{"image": "sha256:2"}}, "", nil, "the image image was sha256:1, and is sha256:2"},
		"a secret":             {"v1", base, "!", nil, "key: it would do something else"},
		"the machine":          {"v1", base, "", func(_ *testing.T, x *bed) { x.a.WriteFile("/etc/machine-id", 0o444, []byte("other\n")) }, "another machine answers"},
		"a step that was done": {"v1", base, "", func(t *testing.T, x *bed) { do(t, x, exec("make", "make-cluster")) }, "make: no longer to be done"},
		"something else":       {"v1", base, "", func(t *testing.T, x *bed) { do(t, x, exec("other", "other")) }, "something was done there meanwhile"},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBed(t)
			x.a.WriteFile("/etc/machine-id", 0o444, []byte("one\n"))
			s := saved(t, forecast(t, x.Engine, plan("")), base)
			if c.change != nil {
				c.change(t, x)
			}
			moved := strings.Join(s.Moved(c.version, c.base, forecast(t, x.engine(), plan(c.data))), "\n")
			if c.want == "" && moved != "" || !strings.Contains(moved, c.want) {
				t.Errorf("moved: %q, want %q", moved, c.want)
			}
		})
	}
}

func do(t *testing.T, x *bed, step runtime.Step) {
	t.Helper()
	if err := x.engine().Run(t.Context(), onA(step)); err != nil {
		t.Fatal(err)
	}
}

func TestStepThatHeldAndNoLongerDoesMovesAPlan(t *testing.T) {
	x := newBed(t)
	x.a.WriteFile("/etc/systemd/system/daemon.service", 0o644, []byte("[Service]"))
	service := runtime.ServiceStep("daemon", true, "config")
	do(t, x, service)
	plan := onA(service, exec("make", "make-cluster"))
	s := saved(t, forecast(t, x.engine(), plan), runtime.Base{})
	x.a.SetUnit("daemon", false, true)
	moved := strings.Join(s.Moved("v1", runtime.Base{}, forecast(t, x.engine(), plan)), "\n")
	if !strings.Contains(moved, "service daemon: to be done now (no longer so on the host)") {
		t.Errorf("moved: %q", moved)
	}
}

func TestWhatIsNoPlanIsRefused(t *testing.T) {
	for _, text := range []string{"", "{}", `{"kind":"Cluster"}`, `{"kind":"Plan","apiVersion":"sealrt.io/v9","clusterfile":{}}`} {
		if _, err := runtime.ReadPlan(strings.NewReader(text)); err == nil {
			t.Errorf("%q is a plan", text)
		}
	}
}

func TestSettingThatOnlyANewHostGetsIsNamed(t *testing.T) {
	x := newBed(t)
	plan := func(config string) runtime.Plan {
		return onA(runtime.Step{ID: "configuration", With: "init", Do: runtime.Write{Path: "/etc/init", Data: config, Mode: 0o600}}, exec("init", "init"))
	}
	if err := x.Run(t.Context(), plan("one")); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]int{"one": 0, "two": 1} {
		if f := forecast(t, x.engine(), plan(config)); len(f.Hosts[0].Unapplied) != want || f.Steps != 0 {
			t.Errorf("%s: %+v", config, f.Hosts[0])
		}
	}
}
