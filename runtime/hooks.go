package runtime

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime/clusterfile"
)

// hooksTree is where an image has its hooks: a directory for each phase, for
// all hosts (pre-install.d) or those of a role (pre-install.master.d).
const hooksTree = "scripts/hooks"

// HookPhase is a moment at which hooks run on a host.
type HookPhase string

// The phases, in the order of a host's life.
const (
	HookPreflight   HookPhase = "preflight"
	HookPreInstall  HookPhase = "pre-install"
	HookPostInstall HookPhase = "post-install"
	HookPreJoin     HookPhase = "pre-join"
	HookPostJoin    HookPhase = "post-join"
	HookPreUpgrade  HookPhase = "pre-upgrade"
	HookPostUpgrade HookPhase = "post-upgrade"
	HookPreDelete   HookPhase = "pre-delete"
	HookPostDelete  HookPhase = "post-delete"
	HookPreReset    HookPhase = "pre-reset"
	HookPostReset   HookPhase = "post-reset"
)

var hookPhases = [...]HookPhase{ //nolint:gochecknoglobals // a table that nothing changes
	HookPreflight, HookPreInstall, HookPostInstall, HookPreJoin, HookPostJoin, HookPreUpgrade, HookPostUpgrade,
	HookPreDelete, HookPostDelete, HookPreReset, HookPostReset,
}

// hooksReady is the step that makes a host ready for hooks. Where it never
// began, no hook of ours has anything to take back.
const hooksReady = "hooks"

// hookTimeout is how long a hook may take unless the specification says
// otherwise.
const hookTimeout = 30 * time.Minute

// hookFile is one hook of an image.
type hookFile struct {
	phase HookPhase
	role  Role // "": all hosts
	path  string
}

// hooks lists the hooks of an image, in name order. What would never run is an
// error: a directory that is no phase, a file that is no program.
func (i Image) hooks() ([]hookFile, error) {
	var out []hookFile
	for _, p := range i.Paths {
		below, inside := strings.CutPrefix(p, hooksTree+"/")
		dir, name, deeper := strings.Cut(below, "/")
		if !inside || !deeper {
			continue
		}
		h := hookFile{path: p}
		phase, isDir := strings.CutSuffix(dir, ".d")
		phase, role, _ := strings.Cut(phase, ".")
		h.phase, h.role = HookPhase(phase), Role(role)
		if !isDir || !slices.Contains(hookPhases[:], h.phase) || role != "" && h.role != Master && h.role != Node {
			return nil, fmt.Errorf("%s: %s/%s is no phase of hooks: a directory there is called PHASE.d, PHASE.master.d or PHASE.node.d, PHASE being %s", i.Ref.Familiar(), hooksTree, dir, phaseList())
		}
		if strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
			continue // what a hook brings along
		}
		if !slices.Contains(i.Programs, p) {
			return nil, fmt.Errorf("%s: the hook %s is not executable: chmod +x it and build the image again", i.Ref.Familiar(), p)
		}
		out = append(out, h)
	}
	slices.SortStableFunc(out, func(a, b hookFile) int { return strings.Compare(path.Base(a.path), path.Base(b.path)) })
	return out, nil
}

func phaseList() string {
	names := make([]string, len(hookPhases))
	for i, p := range hookPhases {
		names[i] = string(p)
	}
	return strings.Join(names, ", ")
}

// userHook returns where a hook of the user's lies on the hosts.
func userHook(n int, h clusterfile.Hook) string {
	return path.Join(hooksDir, fmt.Sprintf("%02d-%s", n+1, path.Base(h.File)))
}

// checkHooks refuses hooks that cannot run.
func (c *Cluster) checkHooks() error {
	for _, i := range c.Images {
		if _, err := i.hooks(); err != nil {
			return err
		}
	}
	for _, h := range c.Hooks {
		if !slices.Contains(hookPhases[:], HookPhase(h.Phase)) {
			return fmt.Errorf("hook %s: there is no phase %q: %s", h.File, h.Phase, phaseList())
		}
		if r := Role(h.Role); h.Role != "" && r != Master && r != Node {
			return fmt.Errorf("hook %s: role %q: write master or node, or leave it away for all hosts", h.File, h.Role)
		}
	}
	_, err := c.hookTime()
	return err
}

func (c *Cluster) hookTime() (time.Duration, error) {
	if c.Timeouts.Command == "" {
		return hookTimeout, nil
	}
	d, err := time.ParseDuration(c.Timeouts.Command)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("timeouts.command %q: write a duration like 10m or 1h30m", c.Timeouts.Command)
	}
	return d, nil
}

// hookSetup makes a host ready for hooks: the place of their output, and the
// user's own.
func (c *Cluster) hookSetup() ([]Step, error) {
	some := len(c.Hooks) > 0
	for _, i := range c.Images {
		hooks, err := i.hooks()
		if err != nil {
			return nil, err
		}
		some = some || len(hooks) > 0
	}
	if !some {
		return nil, nil
	}
	steps := []Step{{ID: hooksReady, Do: Claim{Paths: []string{hookLogs}}}}
	for n, h := range c.Hooks {
		text, ok := c.Scripts[h.File]
		if c.Scripts == nil { // an app is installed: the hosts have them
			break
		}
		if !ok {
			return nil, fmt.Errorf("hook %s of phase %s: its file was not read", h.File, h.Phase)
		}
		to := userHook(n, h)
		steps = append(steps, Step{ID: "hook file " + path.Base(to), Do: Write{Path: to, Data: text, Mode: 0o700}})
	}
	return steps, nil
}

// HookSteps returns the hooks of a phase on a host: those of the given images
// in their order, and after those of the rootfs image's the user's. A hook that
// does not exit 0 stops the phase on that host; while a cluster is reset it is
// told and the reset goes on.
func (c *Cluster) HookSteps(phase HookPhase, m Member, kubeconfig string, images ...Image) ([]Step, error) {
	var steps []Step
	for _, i := range images {
		hooks, err := i.hooks()
		if err != nil {
			return nil, err
		}
		for _, h := range hooks {
			if h.phase != phase || h.role != "" && h.role != m.Role {
				continue
			}
			id := fmt.Sprintf("hook %s of %s", strings.TrimPrefix(h.path, hooksTree+"/"), i.Ref.Familiar())
			steps = append(steps, c.hookStep(id, phase, m, i, path.Join(i.Rootfs(), h.path), kubeconfig))
		}
		if !i.Boots() {
			continue
		}
		for n, h := range c.Hooks {
			if HookPhase(h.Phase) != phase || h.Role != "" && Role(h.Role) != m.Role {
				continue
			}
			id := fmt.Sprintf("hook %s of the Clusterfile, %s", path.Base(userHook(n, h)), phase)
			steps = append(steps, c.hookStep(id, phase, m, i, userHook(n, h), kubeconfig))
		}
	}
	return steps, nil
}

// hookStep runs one hook, in the image's tree. Its output is kept on the host.
func (c *Cluster) hookStep(id string, phase HookPhase, m Member, i Image, program, kubeconfig string) Step {
	env := c.environmentOf(i, m)
	maps.Copy(env, map[string]string{
		"SEALRT_CLUSTER": c.Name, "SEALRT_HOST": m.Name(), "SEALRT_ROLE": string(m.Role), "SEALRT_PHASE": string(phase),
		"SEALRT_ROOTFS": i.Rootfs(), "SEALRT_RENDERED": i.Rendered(), "SEALRT_REGISTRY": c.registryView().Endpoint,
	})
	limit, _ := c.hookTime() // checked when the plan was begun
	public, secret := c.parted(env)
	step := Step{ID: id, Do: Exec{
		Argv:    hookArgv(path.Join(hookLogs, string(phase)+"-"+path.Base(program)+".log"), i.Rootfs(), kubeconfig, secret != "", program),
		Env:     public,
		Stdin:   secret,
		Timeout: limit, Tell: true,
	}}
	switch phase {
	case HookPreflight, HookPreInstall, HookPostInstall, HookPreJoin, HookPostJoin:
		step.Unless = movedTo(i)
	}
	if phase == HookPreReset || phase == HookPostReset || phase == HookPreDelete || phase == HookPostDelete {
		exec, _ := step.Do.(Exec)
		exec.Always = true
		exec.Tolerate = phase == HookPreReset || phase == HookPostReset
		step.Undoes, step.Do = hooksReady, exec
	}
	return step
}

// parted returns variables as K=V, in a fixed order, those that are secret apart,
// each ended by NUL: what a command gets as its environment is in its arguments
// on the way, for everybody on the host to see, and in the log of sudo.
func (c *Cluster) parted(env map[string]string) (public []string, secret string) {
	hidden := c.Hidden()
	for _, kv := range sortedEnv(env) {
		if name, value, _ := strings.Cut(kv, "="); value != "" && (secretName(name) || slices.Contains(hidden, value)) {
			secret += kv + "\x00"
		} else {
			public = append(public, kv)
		}
	}
	return public, secret
}

// hookArgv is the command on a host that runs a program of an image: in a
// directory, with the kubeconfig if there is one, its output kept in log. With
// secret, further variables come by standard input.
func hookArgv(log, dir, kubeconfig string, secret bool, program ...string) []string {
	argv := []string{HelperPath, "host", "script", "--log", log, "--dir", dir}
	if secret {
		argv = append(argv, "--secret-env")
	}
	if kubeconfig != "" {
		argv = append(argv, "--kubeconfig", kubeconfig)
	}
	return slices.Concat(argv, []string{"--"}, program)
}

// sortedEnv writes variables as K=V, in a fixed order. Names that no program
// takes are left out.
func sortedEnv(env map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		if k != "" && !strings.ContainsAny(k, "=\x00") {
			out = append(out, k+"="+env[k])
		}
	}
	return out
}

// hookPhase is a phase of a plan that runs hooks on hosts; nothing where there
// are none.
func (r *Runtime) hookPhase(phase HookPhase, members []Member, images ...Image) (Plan, error) {
	tasks, err := each(members, func(m Member) ([]Step, error) {
		return r.cluster.HookSteps(phase, m, r.kubeconfigOn(m), images...)
	})
	if err != nil || len(tasks) == 0 {
		return Plan{}, err
	}
	return Plan{Phases: []Phase{{Name: string(phase) + " hooks", Tasks: tasks}}}, nil
}

// kubeconfigOn is where a host has a kubeconfig of the cluster's.
func (r *Runtime) kubeconfigOn(m Member) string {
	if m.Role == Master {
		return r.driver.Kubeconfig()
	}
	return ""
}
