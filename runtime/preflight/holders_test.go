package preflight_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
	"github.com/sealrt/sealrt/runtime/preflight"
)

func TestPortsAreToldWithWhoHasThem(t *testing.T) {
	const tables = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
		"   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7001 1 0 100 0 0 10 0\n" + // 6443
		"   1: 0100007F:2808 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7002 1 0 100 0 0 10 0\n" + // 10248
		"   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 7003 1 0 100 0 0 10 0\n" // sshd's
	for _, tt := range []struct{ name, found, want string }{
		{"told", "/proc/812/fd/3 socket:[7001]\x00/proc/813/fd/3 socket:[7001]\x00", "nginx (process 812) listens on port 6443/tcp, which needy needs"},
		{"of the kernel", "", "something listens on port 6443/tcp, which needy needs"}, // or of a host whose find cannot tell
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.New("a")
			h.WriteFile("/proc/net/tcp", 0o444, []byte(tables))
			h.WriteFile("/proc/812/comm", 0o444, []byte("nginx\n"))
			h.Respond([]string{"find", "/proc", "-mindepth"}, tt.found, 0)
			c := newTwo(t).c
			c.Members = c.Members[:1]
			r, err := preflight.Run(t.Context(), c, needy{needs: runtime.Needs{Ports: []int{6443}, Loopback: []int{10248}}}, map[string]host.Host{"10.0.0.1": h}, preflight.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.Findings {
				got = append(got, f.Cause)
			}
			if diff := cmp.Diff([]string{tt.want, "something listens on port 10248/tcp, which needy needs"}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
