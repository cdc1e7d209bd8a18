package k0s

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// Settings of the cluster with arguments of the user's for controllers and
// workers, with spaces between them (docs.k0sproject.io, "k0s controller", "k0s
// worker").
const (
	controllerArgs = "K0S_CONTROLLER_ARGS"
	workerArgs     = "K0S_WORKER_ARGS"
)

// known are the arguments that only sealrt can know, and those that it gives
// itself.
var known = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"config", "c", "data-dir", "token-file", "single", "enable-worker", "no-taints", "kubelet-root-dir", "kubelet-extra-args", "labels", "taints",
	"cri-socket", "status-socket", "force", "start", "env", "e", "init-only",
}

// theirArgs are the user's arguments for a role. A controller runs pods, and
// takes those of workers too.
func theirArgs(c *runtime.Cluster, r runtime.Role) []string {
	args := strings.Fields(c.Getenv(workerArgs))
	if r == runtime.Master {
		args = append(strings.Fields(c.Getenv(controllerArgs)), args...)
	}
	return args
}

// checkArgs refuses arguments that would make another cluster than the
// Clusterfile says.
func checkArgs(c *runtime.Cluster) error {
	for _, name := range []string{controllerArgs, workerArgs} {
		for _, arg := range strings.Fields(c.Getenv(name)) {
			flag, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			switch {
			case !strings.HasPrefix(arg, "-"):
				return fmt.Errorf("%s: %q is no argument of its own: write --NAME=VALUE, without spaces in it", name, arg)
			case slices.Contains(known[:], flag):
				return fmt.Errorf("%s says %s, which sealrt gives itself: leave it away", name, arg)
			}
		}
	}
	return nil
}

// disables reports whether a component of k0s is left out.
func disables(c *runtime.Cluster, component string) bool {
	for _, arg := range theirArgs(c, runtime.Master) {
		if list, ok := strings.CutPrefix(strings.TrimLeft(arg, "-"), "disable-components="); ok && slices.Contains(strings.Split(list, ","), component) {
			return true
		}
	}
	return false
}

// arguments are those of the service that matter whenever it starts. Labels and
// taints are not among them: a kubelet gives them to its node when that is new.
func arguments(c *runtime.Cluster, m runtime.Member) []string {
	args := []string{"worker"}
	if m.Role == runtime.Master {
		args = []string{"controller", "--config=" + configFile, "--enable-worker", "--no-taints"}
		if single(c) {
			args = []string{"controller", "--config=" + configFile, "--single"}
		}
	}
	if dir := c.DataDir.Kubelet; dir != "" {
		args = append(args, "--kubelet-root-dir="+dir)
	}
	args = append(args, "--kubelet-extra-args=--node-ip="+addresses(m))
	return append(args, theirArgs(c, m.Role)...)
}

// addresses are those of a host: the node's, and in a dual stack the one of the
// other family behind it.
func addresses(m runtime.Member) string {
	if m.OtherIP == "" {
		return m.NodeIP
	}
	return m.NodeIP + "," + m.OtherIP
}

// installStep makes the unit of a host, once: `k0s install` takes the unit away to
// make it anew, upon which systemd takes pods from the k0s that runs. What the
// service is told is in a file beside the unit, which may change.
func installStep(m runtime.Member, with string) runtime.Step {
	argv := runtime.ByRole(m.Role,
		[]string{program, "install", "controller", "--force", "--config=" + configFile}, []string{program, "install", "worker", "--force"})
	return runtime.Step{ID: "install", With: with, Again: true, Do: runtime.Exec{Argv: argv}}
}

// unitWrite is that file: the command of the service, with its labels and taints,
// and its variables (systemd.service(5), ExecStart=).
func unitWrite(c *runtime.Cluster, m runtime.Member, more ...string) runtime.Write {
	args := arguments(c, m)
	if len(m.Labels) > 0 {
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(m.Labels)) {
			labels = append(labels, k+"="+m.Labels[k])
		}
		args = append(args, "--labels="+strings.Join(labels, ","))
	}
	if len(m.Taints) > 0 {
		args = append(args, "--taints="+strings.Join(m.Taints, ","))
	}
	command := program
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `%`, `%%`, `$`, `$$`)
	for _, arg := range append(args, more...) {
		command += ` "` + quote.Replace(arg) + `"`
	}
	const starts = "ExecStart=" // the first, which is empty, takes the unit's own away
	text := "# Written by sealrt.\n[Service]\n" + starts + "\n" + starts + command + "\n" + environment(c)
	return runtime.Write{Path: settingsPath(m.Role), Data: text, Mode: 0o600, Secret: true}
}

// service runs k0s, behind other steps, with what it reads when it starts, the new
// program included; also whenever the step is done that it serves.
func (d Driver) service(c *runtime.Cluster, m runtime.Member, serves string, before ...runtime.Step) ([]runtime.Step, error) {
	reads := append(arguments(c, m), environment(c), c.Image().Digest)
	files := []string{settingsPath(m.Role), program}
	if m.Role == runtime.Master {
		config, err := configuration(c, m)
		if err != nil {
			return nil, err
		}
		reads, files = append(reads, config), append(files, configFile)
	}
	step := runtime.ServiceStep(unit(m.Role), true, reads...)
	step.With, step.Reads, step.Disturbs.API = serves, files, m.Role == runtime.Master
	return append(before, step), nil
}
