package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestParametersOfTheKernelAreSetBackToWhatTheyWereFirst(t *testing.T) {
	h := hosttest.New("10.0.0.1")
	h.WriteFile(runtime.Home+"/bin/x", 0o755, nil)
	h.WriteFile("/proc/self/mounts", 0o444, nil)
	h.WriteFile("/proc/sys/net/ipv4/ip_forward", 0o644, []byte("0\n"))
	h.WriteFile("/proc/modules", 0o444, []byte("overlay 1 0 - Live 0x0\n"))
	h.Respond([]string{"modprobe"}, "", 0)
	m := runtime.Member{Address: "10.0.0.1", Role: runtime.Master}
	run := func(steps ...runtime.Step) {
		t.Helper()
		e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{m.Address: h}}
		if err := e.Run(t.Context(), runtime.Plan{Phases: []runtime.Phase{{Name: "test", Tasks: []runtime.Task{{Member: m, Steps: steps}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	set := func(value string) runtime.Step {
		return runtime.Step{ID: "kernel parameters", Do: runtime.Sysctl{Settings: []runtime.Setting{
			{Name: "net.ipv4.ip_forward", Value: value}, {Name: "net.bridge.bridge-nf-call-iptables", Value: "1", Optional: true},
		}}}
	}
	run(runtime.Step{ID: "kernel modules", Do: runtime.Modules{Names: []string{"overlay", "br-netfilter"}}}, set("1"))
	run(set("2")) // an upgrade
	if value, _, _ := h.File("/proc/sys/net/ipv4/ip_forward"); string(value) != "2\n" {
		t.Errorf("set to %q", value)
	}
	h.WriteFile("/proc/modules", 0o444, []byte("br_netfilter 1 0 - Live 0x0\noverlay 1 0 - Live 0x0\n"))
	run(runtime.Step{ID: "undo", Do: runtime.Undo{}})
	if value, _, _ := h.File("/proc/sys/net/ipv4/ip_forward"); string(value) != "0\n" {
		t.Errorf("after reset %q", value)
	}
	var unloaded []string
	for _, c := range h.Calls() {
		if c.Argv[0] == "modprobe" && c.Argv[1] == "-r" {
			unloaded = append(unloaded, strings.Join(c.Argv[2:], " "))
		}
	}
	if diff := cmp.Diff([]string{"br_netfilter"}, unloaded); diff != "" {
		t.Error(diff)
	}
}

func TestParameterThatTheKernelLacks(t *testing.T) {
	h := hosttest.New("10.0.0.1")
	h.WriteFile(runtime.Home+"/bin/x", 0o755, nil)
	m := runtime.Member{Address: "10.0.0.1"}
	e := &runtime.Engine{Cluster: "test", Hosts: map[string]host.Host{m.Address: h}}
	err := e.Run(t.Context(), runtime.Plan{Phases: []runtime.Phase{{Name: "test", Tasks: []runtime.Task{{Member: m, Steps: []runtime.Step{
		{ID: "set", Do: runtime.Sysctl{Settings: []runtime.Setting{{Name: "net.no_such", Value: "1"}}}},
	}}}}}})
	if err == nil || !strings.Contains(err.Error(), "net.no_such") {
		t.Errorf("got %v", err)
	}
}
