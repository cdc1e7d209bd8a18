package distrotest

import (
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
	"github.com/sealrt/sealrt/runtime/host/hosttest"
)

// upgradeStops has the second master that moves to another image fail: the hosts
// behind it stay as they are, and the same plan goes on where it stopped.
func (s Suite) upgradeStops(t *testing.T, members []runtime.Member) {
	life, next := s.life(t, members), s.image(t, s.Next, nextDigest)
	hosts, fakes := map[string]host.Host{}, map[string]*hosttest.Host{}
	for _, m := range members {
		h := s.host(m)
		for _, b := range s.Binaries {
			h.WriteFile(path.Join(next.Rootfs(), b), 0o755, []byte("newer "+b))
		}
		h.Respond([]string{runtime.HelperPath, "host", "adopt", "--check", nextDigest}, nextDigest+"\n", 0)
		if len(s.Copied) > 0 {
			h.Respond(s.Copied, "", 0)
		}
		hosts[m.Address], fakes[m.Address] = h, h
	}
	engine := &runtime.Engine{Cluster: "test", Hosts: hosts, Helper: func(string, string) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(program)), nil
	}}
	create, err := life.Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.Run(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	upgrade, err := life.Upgrade(next)
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("it does not start")
	fakes[members[2].Address].Fail([]string{"systemctl", "enable"}, broken, 1)
	if err := engine.Run(t.Context(), upgrade); !errors.Is(err, broken) {
		t.Fatalf("%v, want %v", err, broken)
	}
	for _, m := range members {
		is := "older"
		for _, b := range s.Binaries {
			if path.Dir(b) != "bin" {
				continue
			}
			raw, _, err := fakes[m.Address].File(path.Join("/usr/local/bin", path.Base(b)))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(raw), "newer ") {
				is = "newer"
			}
		}
		if want := map[string]string{members[1].Address: "newer", members[2].Address: "newer"}[m.Address]; want != "" && is != want || want == "" && is != "older" {
			t.Errorf("%s has the %s programs", m.Address, is)
		}
	}
	left, err := engine.Pending(t.Context(), upgrade)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, s.file("life-upgrade-stopped"), printed(t, left))
	if err := engine.Run(t.Context(), upgrade); err != nil {
		t.Fatalf("it does not go on: %v", err)
	}
}
