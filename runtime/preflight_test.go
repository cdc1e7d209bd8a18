package runtime_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/distros/kubernetes"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

const sockets = "  sl  local_address rem_address   st tx_queue rx_queue\n" +
	"   0: 00000000:0016 00000000:0000 0A 00000000:00000000\n" + // sshd, 22
	"   1: 0100007F:280A 0100007F:9999 01 00000000:00000000\n" // a connection on 10250, not a listener

func preflight(t *testing.T, change func(c *runtime.Cluster, a, b *hosttest.Host)) (*runtime.Cluster, error) {
	t.Helper()
	ref, err := artifact.ParseReference("kubernetes:v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	c := &runtime.Cluster{
		Name:    "test",
		Images:  []runtime.Image{{Ref: ref, Kind: artifact.Kind{Version: "v1.34.4", Arch: "amd64"}}},
		Members: []runtime.Member{{Address: "10.0.0.1", Role: runtime.Master}, {Address: "ops@10.0.0.2:2222", Role: runtime.Node}},
	}
	a, b := hosttest.New("a"), hosttest.New("b")
	for _, h := range []*hosttest.Host{a, b} {
		h.WriteFile("/etc/machine-id", 0o444, []byte("id of "+h.Name()+"\n"))
		h.WriteFile("/proc/net/tcp", 0o444, []byte(sockets))
	}
	change(c, a, b)
	return c, runtime.Preflight(t.Context(), c, kubernetes.Driver{}, map[string]host.Host{"10.0.0.1": a, "ops@10.0.0.2:2222": b})
}

func TestPreflightLearnsTheHostNamesAndChangesNothing(t *testing.T) {
	var hosts []*hosttest.Host
	c, err := preflight(t, func(_ *runtime.Cluster, a, b *hosttest.Host) { hosts = append(hosts, a, b) })
	if err != nil {
		t.Fatal(err)
	}
	if c.Members[0].Hostname != "a" || c.Members[1].Hostname != "b" || c.Members[1].Name() != "10.0.0.2" {
		t.Errorf("members are %+v", c.Members)
	}
	for _, h := range hosts {
		for _, call := range h.Transcript() {
			if !strings.HasPrefix(call, "cat ") && !strings.HasPrefix(call, "uname ") {
				t.Errorf("host %s: preflight ran %q", h.Name(), call)
			}
		}
	}
}

func TestPreflightReportsEverythingTogether(t *testing.T) {
	_, err := preflight(t, func(c *runtime.Cluster, a, b *hosttest.Host) {
		a.WriteFile("/proc/net/tcp6", 0o444, []byte("h\n 0: 00000000000000000000000000000000:192B 0:0 0A 0\n")) // 6443
		a.WriteFile("/etc/machine-id", 0o444, []byte("same"))
		b.WriteFile("/etc/machine-id", 0o444, []byte("same"))
		b.Respond([]string{"uname", "-n"}, "a\n", 0)
		c.Images[0].Kind.Arch = "arm64"
	})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"port 6443", "same machine id", `both called "a"`, "host 10.0.0.2: it is amd64, the image kubernetes:v1.34.4 is for arm64"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestPreflightRefusesAHostThatIsNotLinux(t *testing.T) {
	_, err := preflight(t, func(_ *runtime.Cluster, a, _ *hosttest.Host) {
		a.Respond([]string{"uname", "-sm"}, "FreeBSD amd64\n", 0)
	})
	if err == nil || !strings.Contains(err.Error(), "FreeBSD") {
		t.Errorf("error is %v", err)
	}
}

func TestKubeconfigNamesTheMastersAddress(t *testing.T) {
	h := hosttest.New("a")
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("apiVersion: v1\nkind: Config\nclusters:\n- name: k\n  cluster: {server: \"https://api.test.sealrt.internal:6443\", certificate-authority-data: Q0E=}\n"))
	got, err := runtime.Kubeconfig(t.Context(), h, "/etc/kubernetes/admin.conf", "2001:db8::1")
	if err != nil || !strings.Contains(string(got), "server: https://[2001:db8::1]:6443") || !strings.Contains(string(got), "Q0E=") {
		t.Errorf("%v\n%s", err, got)
	}
	h.WriteFile("/etc/kubernetes/admin.conf", 0o600, []byte("kind: Config\n"))
	if _, err := runtime.Kubeconfig(t.Context(), h, "/etc/kubernetes/admin.conf", "10.0.0.1"); err == nil {
		t.Error("a kubeconfig without a cluster was taken")
	}
}
