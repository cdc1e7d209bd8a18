package host_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/host"
)

func TestMachineThatDoesNotListenIsUnreached(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = host.Dial(t.Context(), host.SSHOptions{Address: host.Address{Host: "127.0.0.1", Port: port}, KnownHosts: []string{}})
	if !errors.Is(err, host.ErrUnreached) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error is %v", err)
	}
}
