//go:build e2e && k0s

package e2e

import (
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"
)

// balance passes on what comes to ports of an address of this machine to the same
// ports of the first host that takes it, beginning with another one each time, as
// a load balancer before masters does.
func balance(t *testing.T, at string, hosts []string, ports ...int) {
	t.Helper()
	for _, port := range ports {
		l, err := net.Listen("tcp", net.JoinHostPort(at, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for next := 0; ; next++ {
				in, err := l.Accept()
				if err != nil {
					return
				}
				go pass(in, append(append([]string{}, hosts[next%len(hosts):]...), hosts[:next%len(hosts)]...), port)
			}
		}()
	}
}

// pass has a connection talk to the first host that takes one, until both sides
// have ended.
func pass(in net.Conn, hosts []string, port int) {
	defer in.Close()
	out, err := dial(hosts, port)
	if err != nil {
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			if c, ok := way[0].(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
		})
	}
	both.Wait()
}

// dial asks one host after the other. One that is off answers nothing at all.
func dial(hosts []string, port int) (net.Conn, error) {
	var errs []error
	for _, h := range hosts {
		out, err := net.DialTimeout("tcp", net.JoinHostPort(h, strconv.Itoa(port)), time.Second)
		if err == nil {
			return out, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
