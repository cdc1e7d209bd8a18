package runtime_test

import (
	"errors"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/clusterfile"
	"github.com/sealrt/sealrt/runtime/host"
)

const hook = "#!/bin/sh\n"

func lifeOf(t *testing.T, c *runtime.Cluster) *runtime.Runtime {
	t.Helper()
	life, err := runtime.New(c, fakeDriver{})
	if err != nil {
		t.Fatal(err)
	}
	return life
}

func created(t *testing.T, c *runtime.Cluster) runtime.Plan {
	t.Helper()
	plan, err := lifeOf(t, c).Create()
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// story lists the programs that a plan runs, as host: program.
func story(p runtime.Plan) []string {
	var out []string
	for _, phase := range p.Phases {
		for _, task := range phase.Tasks {
			for _, s := range task.Steps {
				exec, ok := s.Do.(runtime.Exec)
				if !ok {
					continue
				}
				line := strings.Join(exec.Argv, " ")
				if _, program, is := strings.Cut(line, " -- "); is {
					line = strings.TrimPrefix(program, runtime.Home+"/")
				}
				out = append(out, task.Member.Hostname+": "+line)
			}
		}
	}
	return out
}

func TestHooksRunInTheirPhasesInNameOrder(t *testing.T) {
	files := map[string]string{
		"scripts/hooks/preflight.d/05-look":          hook,
		"scripts/hooks/pre-install.d/20-second":      hook,
		"scripts/hooks/pre-install.node.d/10-first":  hook,
		"scripts/hooks/pre-install.d/lib/functions":  "brought along",
		"scripts/hooks/pre-install.d/.gitkeep":       "",
		"scripts/hooks/README.md":                    "about hooks",
		"scripts/hooks/post-install.master.d/30-end": hook,
		"scripts/hooks/pre-join.d/j":                 hook,
		"scripts/hooks/post-join.d/k":                hook,
		"scripts/hooks/pre-reset.d/r":                hook,
		"scripts/hooks/post-reset.d/s":               hook,
	}
	app := treeImage("shop:v7", artifact.TypeApp, map[string]string{
		"scripts/hooks/preflight.node.d/disk":  hook,
		"scripts/hooks/pre-install.d/prepare":  hook,
		"scripts/hooks/post-install.d/check":   hook,
		"scripts/hooks/post-join.node.d/label": hook,
	})
	app.Cmd = []string{"./install"}
	x := clusterOf(rootfs(files), app)
	x.Hooks = []clusterfile.Hook{{Phase: "pre-install", Role: "master", File: "/home/me/mine.sh"}}
	x.Scripts = map[string]string{"/home/me/mine.sh": hook}
	tree, its := "rootfs/"+path.Base(x.Image().Rootfs())+"/scripts/hooks/", "rootfs/"+path.Base(app.Rootfs())+"/scripts/hooks/"
	want := []string{
		"a: " + tree + "preflight.d/05-look",
		"b: " + tree + "preflight.d/05-look", "b: " + its + "preflight.node.d/disk",
		"a: " + tree + "pre-install.d/20-second", "a: hooks/01-mine.sh",
		"b: " + tree + "pre-install.node.d/10-first", "b: " + tree + "pre-install.d/20-second",
		"a: fake prepare", "b: fake prepare",
		"a: fake init",
		"b: " + tree + "pre-join.d/j",
		"b: fake join",
		"b: " + tree + "post-join.d/k", "b: " + its + "post-join.node.d/label",
		"a: " + tree + "post-install.master.d/30-end",
		"a: " + its + "pre-install.d/prepare", "b: " + its + "pre-install.d/prepare",
		"a: ./install",
		"a: " + its + "post-install.d/check", "b: " + its + "post-install.d/check",
		"a: kubectl apply --server-side --force-conflicts --field-manager=sealrt -f /var/lib/sealrt/scratch/clusterfile.json",
	}
	if diff := cmp.Diff(want, story(created(t, x))); diff != "" {
		t.Error(diff)
	}
	reset, err := lifeOf(t, x).Reset()
	if err != nil {
		t.Fatal(err)
	}
	want = []string{
		"b: " + tree + "pre-reset.d/r", "b: fake reset", "b: " + tree + "post-reset.d/s",
		"a: " + tree + "pre-reset.d/r", "a: fake reset", "a: " + tree + "post-reset.d/s",
	}
	if diff := cmp.Diff(want, story(reset)); diff != "" {
		t.Error(diff)
	}
}

func TestHookThatWouldNeverRunIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path, content, want string
	}{
		"an unknown phase": {"scripts/hooks/pre-instal.d/x", hook, "scripts/hooks/pre-instal.d is no phase of hooks: a directory there is called PHASE.d, PHASE.master.d or PHASE.node.d, PHASE being preflight, pre-install, post-install, pre-join"},
		"an unknown role":  {"scripts/hooks/pre-install.worker.d/x", hook, "pre-install.worker.d is no phase"},
		"no .d":            {"scripts/hooks/pre-install/x", hook, "scripts/hooks/pre-install is no phase"},
		"not a program":    {"scripts/hooks/pre-install.d/x", "text", "the hook scripts/hooks/pre-install.d/x is not executable"},
		"a role and no .d": {"scripts/hooks/pre-install.master/x", hook, "is no phase"},
		"an empty role":    {"scripts/hooks/.d/x", hook, "is no phase"},
		"of an app":        {"scripts/hooks/sometimes.d/x", hook, "shop:v7: scripts/hooks/sometimes.d"},
	} {
		x := clusterOf(rootfs(map[string]string{c.path: c.content}))
		if name == "of an app" {
			x = clusterOf(rootfs(nil), treeImage("shop:v7", artifact.TypeApp, map[string]string{c.path: c.content}))
		}
		if _, err := lifeOf(t, x).Create(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for want, h := range map[string]clusterfile.Hook{
		`there is no phase "later": preflight`: {Phase: "later", File: "f"},
		`role "worker": write master or node`:  {Phase: "preflight", Role: "worker", File: "f"},
		"its file was not read":                {Phase: "preflight", File: "f"},
	} {
		x := clusterOf(rootfs(nil))
		x.Hooks, x.Scripts = []clusterfile.Hook{h}, map[string]string{}
		if _, err := lifeOf(t, x).Create(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", h, err, want)
		}
	}
	x := clusterOf(rootfs(nil))
	x.Timeouts.Command = "soon"
	if _, err := lifeOf(t, x).Create(); err == nil || !strings.Contains(err.Error(), "timeouts.command") {
		t.Errorf("timeout: %v", err)
	}
}

// Preflight hooks run on a host that has nothing but the images.
func TestPreflightHookStopsTheRunBeforeAnythingIsPrepared(t *testing.T) {
	bed := newBed(t)
	x := clusterOf(rootfs(map[string]string{"scripts/hooks/preflight.node.d/look": hook, "etc/sysctl.d/1.conf": "x"}))
	x.Env = map[string]string{"TZ": "UTC"}
	x.Members[1].Env = map[string]string{"DISK": "/dev/vdb"}
	script := x.Image().Rootfs() + "/scripts/hooks/preflight.node.d/look"
	command := []string{runtime.HelperPath, "host", "script", "--log", runtime.Home + "/log/hooks/preflight-look.log", "--dir", x.Image().Rootfs(), "--", script}
	bed.b.Respond(command, "no disk /dev/vdb\n", 3)
	plan := created(t, x)
	delivered(bed, x)
	err := bed.Run(t.Context(), plan)
	var stopped *runtime.StepError
	if !errors.As(err, &stopped) || stopped.Host != "10.0.0.2" || stopped.Step != "hook preflight.node.d/look of k3s:v1" || !strings.Contains(err.Error(), "no disk /dev/vdb") {
		t.Fatalf("error is %v", err)
	}
	if count(bed.a, "fake prepare")+count(bed.b, "fake prepare") > 0 {
		t.Error("hosts were prepared all the same")
	}
	if _, _, err := bed.b.File("/etc/sysctl.d/1.conf"); err == nil {
		t.Error("something was written before")
	}
	calls := bed.b.Calls()
	i := slices.IndexFunc(calls, func(c hostCall) bool { return slices.Contains(c.Argv, script) })
	for _, kv := range []string{
		"SEALRT_CLUSTER=test", "SEALRT_HOST=10.0.0.2", "SEALRT_ROLE=node", "SEALRT_PHASE=preflight", "SEALRT_ROOTFS=" + x.Image().Rootfs(), "TZ=UTC", "DISK=/dev/vdb",
	} {
		if !slices.Contains(calls[i].Env, kv) {
			t.Errorf("the environment lacks %s: %v", kv, calls[i].Env)
		}
	}
}

func TestHooksOfAMasterAreToldTheKubeconfig(t *testing.T) {
	x := clusterOf(rootfs(map[string]string{"scripts/hooks/post-install.d/x": hook}))
	x.Timeouts.Command = "90s"
	for _, m := range x.Members {
		steps, err := x.HookSteps(runtime.HookPostInstall, m, map[runtime.Role]string{runtime.Master: "/etc/fake/admin.conf"}[m.Role], x.Image())
		if err != nil || len(steps) != 1 {
			t.Fatal(steps, err)
		}
		exec, _ := steps[0].Do.(runtime.Exec)
		if told := slices.Contains(exec.Argv, "/etc/fake/admin.conf"); told != (m.Role == runtime.Master) {
			t.Errorf("%s: %v", m.Role, exec.Argv)
		}
		if exec.Timeout.String() != "1m30s" || !exec.Tell || exec.Always || exec.Tolerate {
			t.Errorf("%s: %+v", m.Role, exec)
		}
	}
}

func TestLastLineOfAHookIsInTheStory(t *testing.T) {
	for printed, want := range map[string]string{"one\ntwo\n": "two", "one\ntwo": "two", "one\n\n \n": "one", "": "", "a\rb\n": "b", strings.Repeat("x", 5000) + "\n": strings.Repeat("x", 512)} {
		bed := newBed(t)
		bed.a.Respond([]string{"say"}, printed, 0)
		var says []string
		bed.Observe = func(e runtime.Event) {
			if e.State == runtime.Done {
				says = append(says, e.Says)
			}
		}
		steps := []runtime.Step{{ID: "told", Do: runtime.Exec{Argv: []string{"say"}, Tell: true}}, {ID: "silent", Do: runtime.Exec{Argv: []string{"say"}}}}
		if err := bed.Run(t.Context(), onA(steps...)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{want, ""}, says); diff != "" {
			t.Errorf("%.20q: %s", printed, diff)
		}
	}
}

func TestResetRunsHooksOnlyWhereHooksWereMadeReady(t *testing.T) {
	bed := newBed(t)
	x := clusterOf(rootfs(map[string]string{"scripts/hooks/pre-reset.d/r": hook}))
	x.Hooks, x.Scripts = []clusterfile.Hook{{Phase: "post-reset", File: "mine"}}, map[string]string{"mine": hook}
	reset, err := lifeOf(t, x).Reset()
	if err != nil {
		t.Fatal(err)
	}
	if err := bed.Run(t.Context(), reset); err != nil || count(bed.a, "pre-reset.d/r") > 0 {
		t.Fatalf("a host that has nothing of ours: %v\n%s", err, strings.Join(bed.a.Transcript(), "\n"))
	}
	bed.a.WriteFile("/var/lib/sealrt/keep", 0o644, nil)
	bed.b.WriteFile("/var/lib/sealrt/keep", 0o644, nil)
	delivered(bed, x)
	if err := bed.engine().Run(t.Context(), created(t, x)); err != nil {
		t.Fatal(err)
	}
	if data, mode, err := bed.a.File("/var/lib/sealrt/hooks/01-mine"); string(data) != hook || mode.Perm() != 0o700 || err != nil {
		t.Errorf("the user's hook is %q, %v, %v", data, mode, err)
	}
	bed.a.Fail([]string{runtime.HelperPath, "host", "script"}, &host.ExitError{Code: 1}, 1)
	if err := bed.engine().Run(t.Context(), reset); err != nil {
		t.Fatal("a hook that fails must not keep a cluster for ever:", err)
	}
	for _, h := range []string{"pre-reset.d/r", "hooks/01-mine"} {
		if count(bed.a, h) == 0 || count(bed.b, h) == 0 {
			t.Errorf("%s did not run", h)
		}
	}
	for _, f := range bed.a.Files() {
		if strings.HasPrefix(f, "/var/lib/sealrt/") && f != "/var/lib/sealrt/keep" {
			t.Errorf("%s is left", f)
		}
	}
}
