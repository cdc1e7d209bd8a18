package k0s

import (
	"github.com/sealrt/sealrt/runtime"
)

var _ runtime.Revoker = Driver{}

// What the acting master grants to hosts that join. A token of one role is good
// for nothing else.
const (
	controllerToken runtime.Captured = "k0s controller token"
	workerToken     runtime.Captured = "k0s worker token"
)

const (
	// expiry is how long a token lives where nobody takes it back: as long as
	// the joining of many hosts may take.
	expiry = "2h"
	// granted has the IDs of the tokens that are not taken back yet.
	granted = kept + "/granted"
)

func tokenFor(r runtime.Role) runtime.Captured {
	return runtime.ByRole(r, controllerToken, workerToken)
}

// tokens is the helper's command about tokens: k0s itself cannot say which ID a
// token has that it made.
func tokens(args ...string) []string {
	return append([]string{runtime.HelperPath, "host", "k0stoken", "--k0s", program, "--granted", granted}, args...)
}

// Grant makes a token for each role. A plan in which nobody uses one makes none.
func (Driver) Grant(c *runtime.Cluster) []runtime.Step {
	if single(c) {
		return nil
	}
	token := func(role string, as runtime.Captured) runtime.Step {
		return runtime.Step{ID: string(as), Do: runtime.Exec{Argv: tokens("create", "--role", role, "--expiry", expiry), Capture: as}}
	}
	return []runtime.Step{token("controller", controllerToken), token("worker", workerToken)}
}

// Revoke invalidates all tokens that were granted; those of a client that ended
// before it did so, too.
func (Driver) Revoke(*runtime.Cluster) []runtime.Step {
	const left = "tokens of before"
	invalidate := runtime.Exec{Argv: tokens("invalidate"), Retry: true}
	now := invalidate
	now.Always = true
	return []runtime.Step{
		{ID: "invalidate tokens", Do: now},
		{ID: "invalidate " + left, With: left, Again: true, Do: invalidate},
		{ID: left, Do: runtime.Remove{Paths: []string{granted}, IfAny: true}},
	}
}

// JoinedBy is the step behind which a host needs no token any more.
func (Driver) JoinedBy(again bool) string {
	if again {
		return rejoined
	}
	return joined
}

// join makes a prepared host a member, once.
func (d Driver) join(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	service, err := d.service(c, m, "")
	return joining(c, m, joined, installStep(m, ""), service), err
}

// joining has a host join with a token, which is wiped from it as soon as k0s
// runs: that it answers says that it has a certificate and, as a controller, its
// part of etcd. Afterwards the unit names no token. Where k0s tried before, with
// a token that is none any more, it starts again.
func joining(c *runtime.Cluster, m runtime.Member, id string, install runtime.Step, service []runtime.Step) []runtime.Step {
	u := unit(m.Role)
	serve := func(what string, do runtime.Action) runtime.Step {
		return runtime.Step{ID: id + ": " + what, With: id, Again: true, Tells: []string{u}, Do: do}
	}
	run := func(what string, argv ...string) runtime.Step {
		return serve(what, runtime.Exec{Argv: argv, Timeout: readyTimeout, Tolerate: argv[0] == "shred"})
	}
	steps := []runtime.Step{
		serve("token", runtime.Write{Path: tokenFile, Data: tokenFor(m.Role).String(), Mode: 0o600, Secret: true}),
		serve("unit with the token", unitWrite(c, m, "--token-file="+tokenFile)),
		install,
		run("tell systemd", "systemctl", "daemon-reload"),
		run("start with the token", "systemctl", "try-restart", u),
	}
	steps = append(steps, service...)
	return append(steps,
		runtime.Step{ID: id + ": answers", Tells: []string{u}, Do: runtime.Await{Argv: []string{program, "status"}, Timeout: readyTimeout}},
		serve("unit without the token", unitWrite(c, m)),
		run("tell systemd again", "systemctl", "daemon-reload"),
		run("overwrite the token", "shred", "--remove", tokenFile),
		serve("remove the token", runtime.Remove{Paths: []string{tokenFile}}),
		runtime.Step{ID: id, Do: runtime.Mark{Text: "joined, and the token is wiped"}},
	)
}
