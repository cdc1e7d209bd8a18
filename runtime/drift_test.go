package runtime_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// driftPlan makes one of each thing that can drift.
func driftPlan(m runtime.Member) runtime.Plan {
	return runtime.Plan{Phases: []runtime.Phase{{Name: "make", Tasks: []runtime.Task{{Member: m, Steps: []runtime.Step{
		{ID: "file", Do: runtime.Write{Path: "/etc/a.conf", Data: "a\n", Mode: 0o644}},
		{ID: "program", Do: runtime.Install{Rootfs: "/rootfs", From: "bin", Names: []string{"tool"}, To: "/usr/local/bin"}},
		{ID: "lines", Do: runtime.Block{Path: "/etc/hosts", Name: "test", Text: "10.0.0.1 api"}},
		{ID: "parameter", Do: runtime.Sysctl{Settings: []runtime.Setting{{Name: "net.ipv4.ip_forward", Value: "1"}}}},
		{ID: runtime.ServiceID("a"), Do: runtime.Service{Unit: "a", Running: true}},
	}}}}}}
}

func TestDriftIsFoundAndHealed(t *testing.T) {
	h := hosttest.New("10.0.0.1")
	h.WriteFile(runtime.HelperPath, 0o755, nil)
	h.WriteFile("/rootfs/bin/tool", 0o755, []byte("tool"))
	h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	h.WriteFile("/proc/sys/net/ipv4/ip_forward", 0o644, []byte("0\n"))
	h.WriteFile("/etc/systemd/system/a.service", 0o644, nil)
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	h.SetUnit("a", false, false)
	m := runtime.Member{Address: "10.0.0.1", Role: runtime.Master}
	engine := func() *runtime.Engine {
		return &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{m.Address: h}}
	}
	drift := func() []string {
		t.Helper()
		found, err := engine().Drift(t.Context(), []runtime.Member{m}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, d := range found {
			out = append(out, fmt.Sprintf("%s: %s", d.Step, d.What))
		}
		if err := engine().Distrust(t.Context(), found); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if err := engine().Run(t.Context(), driftPlan(m)); err != nil {
		t.Fatal(err)
	}
	if found := drift(); found != nil {
		t.Fatalf("just made, and drifted: %q", found)
	}
	h.WriteFile("/etc/a.conf", 0o644, []byte("b\n"))
	h.WriteFile("/usr/local/bin/tool", 0o755, []byte("another"))
	h.WriteFile("/etc/hosts", 0o644, []byte("127.0.0.1 localhost\n"))
	h.WriteFile("/proc/sys/net/ipv4/ip_forward", 0o644, []byte("0\n"))
	h.SetUnit("a", false, true)
	want := []string{
		"file: /etc/a.conf was changed",
		"program: /usr/local/bin/tool was changed",
		`lines: the lines "test" in /etc/hosts are missing`,
		`parameter: kernel parameter net.ipv4.ip_forward is "0", not "1"`,
		"service a: service a does not run",
	}
	if diff := cmp.Diff(want, drift()); diff != "" {
		t.Error(diff)
	}
	if err := engine().Run(t.Context(), driftPlan(m)); err != nil {
		t.Fatal(err)
	}
	if found := drift(); found != nil {
		t.Errorf("healed, and drifted: %q", found)
	}
	if err := engine().Run(t.Context(), runtime.Plan{Phases: []runtime.Phase{{Name: "reset", Tasks: []runtime.Task{{Member: m, Steps: []runtime.Step{{ID: "undo", Do: runtime.Undo{}}}}}}}}); err != nil {
		t.Fatal(err)
	}
	if value, _, _ := h.File("/proc/sys/net/ipv4/ip_forward"); string(value) != "0\n" {
		t.Errorf("the parameter is %q after reset", value)
	}
}
