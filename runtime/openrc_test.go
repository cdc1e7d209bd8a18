package runtime_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/runtime"
)

// onOpenRC is a plan for a host that OpenRC runs.
func onOpenRC(steps ...runtime.Step) runtime.Plan {
	m := memberA
	m.Init = runtime.OpenRC
	p := onA(steps...)
	p.Phases[0].Tasks[0].Member = m
	return p
}

func TestOpenRCIsAskedWhatIsAskedOfSystemd(t *testing.T) {
	for asked, want := range map[string]string{
		"systemctl daemon-reload":          "",
		"systemctl kill --signal=KILL a":   "rc-service a cgroup_cleanup",
		"systemctl start a.service":        "rc-service a start",
		"systemctl stop a b":               "rc-service a stop; rc-service b stop",
		"systemctl restart a":              "rc-service a restart",
		"systemctl try-restart a":          "rc-service --ifstarted a restart",
		"systemctl enable --now a":         "rc-update add a default; rc-service a start",
		"systemctl disable --now a":        "rc-service a stop; rc-update delete a default",
		"systemctl is-active --quiet a":    "rc-service a status",
		"systemctl is-enabled --quiet a":   "test -e /etc/runlevels/default/a",
		"journalctl -u a -n 20 --no-pager": "tail -n 50 /var/log/a.log",
		"other systemctl":                  "other systemctl",
	} {
		x := newBed(t)
		x.a.Respond([]string{"test", "-e", "/etc/runlevels/default/a"}, "", 0)
		x.a.Respond([]string{"tail"}, "", 0)
		if err := x.Run(t.Context(), onOpenRC(runtime.Step{ID: "asked", Do: runtime.Exec{Argv: strings.Fields(asked)}})); err != nil {
			t.Errorf("%s: %v", asked, err)
		}
		var got []string
		for _, c := range x.a.Calls() {
			line := strings.Join(c.Argv, " ")
			if slices.Contains([]string{"rc-service", "rc-update", "systemctl", "journalctl", "other"}, c.Argv[0]) || strings.HasPrefix(line, "test -e /etc/runlevels") || strings.HasPrefix(line, "tail -n 50") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, "; ")); diff != "" {
			t.Errorf("%s:\n%s", asked, diff)
		}
	}
}

func TestServiceOfOpenRCIsMadeAndGoes(t *testing.T) {
	x := newBed(t)
	text := runtime.OpenRCService("a", "A service", "/usr/local/bin/a serve --to x", []string{"modprobe b"}, "/etc/a.env")
	for _, want := range []string{"#!/sbin/openrc-run\n", "supervisor=supervise-daemon\n", `command="/usr/local/bin/a"`, `command_args="serve --to x"`, "output_log=/var/log/a.log\n", "if [ -f /etc/a.env ]; then . /etc/a.env; fi\n", "start_pre() {\n\tmodprobe b\n}\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	service := runtime.Step{ID: runtime.ServiceID("a"), Do: runtime.Service{Unit: "a", Running: true, Revision: "1"}}
	file := runtime.Step{ID: "unit", Do: runtime.Write{Path: runtime.OpenRCScript("a"), Data: text, Mode: 0o755}}
	if err := x.Run(t.Context(), onOpenRC(file, service)); err != nil {
		t.Fatal(err)
	}
	if err := x.engine().Run(t.Context(), onOpenRC(runtime.Step{ID: "undo", Do: runtime.Undo{}})); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rc-update add a default", "rc-service a restart", "rc-service a stop", "rc-update delete a default"} {
		if count(x.a, want) != 1 {
			t.Errorf("%s: %d times in %v", want, count(x.a, want), x.a.Transcript())
		}
	}
	if n := count(x.a, "systemctl"); n > 0 {
		t.Errorf("systemd is asked %d times", n)
	}
	if _, _, err := x.a.File(runtime.OpenRCScript("a")); err == nil {
		t.Error("the script is there still")
	}
}
