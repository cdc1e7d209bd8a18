package host_test

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

func TestMachineIsReachedByIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("this machine has no IPv6, whose addresses TestParseAddresses reads: %v", err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, hosttest.ServerOptions{Listen: "::1"}, nil)
	addresses, err := host.ParseAddresses(fmt.Sprintf("root@[::1]:%d", s.server.Port()))
	if err != nil {
		t.Fatal(err)
	}
	s.o.Address = addresses[0]
	h, err := host.Dial(t.Context(), s.o)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if out, err := host.Output(t.Context(), h, "echo", "here"); err != nil || string(out) != "here\n" {
		t.Errorf("%q, %v", out, err)
	}
	s.o.KnownHosts = []string{}
	if _, err := host.Dial(t.Context(), s.o); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("ssh -p %d ::1", s.server.Port())) {
		t.Errorf("without its key on file: %v", err)
	}
}
