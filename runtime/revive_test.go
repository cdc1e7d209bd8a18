package runtime_test

import (
	"testing"

	"github.com/sealrt/sealrt/runtime"
)

func TestServiceThatABrokenOffPlanStoppedIsStarted(t *testing.T) {
	service := runtime.ServiceStep("daemon", true, "config")
	for name, c := range map[string]struct {
		stopped, broken bool
		starts          int
	}{
		"stopped half way":       {true, true, 1},
		"it runs":                {false, true, 0},
		"somebody else's affair": {true, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBed(t)
			if err := x.Run(t.Context(), onA(write("/etc/systemd/system/daemon.service", "[Install]\nWantedBy=multi-user.target\n"), service)); err != nil {
				t.Fatal(err)
			}
			if c.broken {
				x.a.Respond([]string{"copy"}, "", 1)
				if err := x.engine().Run(t.Context(), onA(exec("copy", "copy"))); err == nil {
					t.Fatal("the copy was made")
				}
			}
			if c.stopped {
				x.a.Respond([]string{"systemctl", "is-active"}, "", 3)
			}
			before := count(x.a, "systemctl start daemon")
			started, err := x.engine().Revive(t.Context(), memberA)
			if err != nil || started != (c.starts > 0) || count(x.a, "systemctl start daemon")-before != c.starts {
				t.Errorf("started %v, %v: %q", started, err, x.a.Transcript())
			}
		})
	}
	x := newBed(t)
	if started, err := x.Revive(t.Context(), runtime.Member{Address: memberB.Address}); started || err != nil {
		t.Errorf("a host without a ledger: %v, %v", started, err)
	}
}
