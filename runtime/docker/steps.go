package docker

import (
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// IDs of steps that others name.
const (
	claim    = "claim docker"
	programs = "docker programs"
)

// phases that the scripts are told.
const (
	installing = "install"
	resetting  = "reset"
)

// Install brings a prepared host a docker that runs: the image's lib/install_*.sh
// in name order, scripts/docker.sh, daemon.json and the unit. What the scripts
// install is theirs to remove; all else is in the host's ledger.
func Install(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	daemon, err := Daemon(c, m)
	if err != nil {
		return nil, err
	}
	unit, err := file(c, m, imageUnit)
	if err != nil {
		return nil, err
	}
	told, err := settingsOn(c, m)
	if err != nil {
		return nil, err
	}
	steps := []runtime.Step{
		{ID: claim, Do: runtime.Claim{
			Paths: []string{path.Dir(mirrors.DaemonFile), told.DataRoot, "/run/docker", socket, "/run/docker.pid"},
			// the containerd that comes with docker makes these, as others do
			IfAbsent: []string{"/opt/containerd", "/run/containerd"},
		}},
		{ID: "docker configuration", Do: runtime.Write{Path: daemon.Path, Data: daemon.Data, Mode: daemon.Mode}},
		{ID: "docker unit", Do: runtime.Write{Path: UnitFile, Data: unit, Mode: 0o644, From: from(c.Image(), imageUnit)}},
	}
	for _, script := range libraries(c.Image(), "install_") {
		steps = append(steps, c.ScriptStep(script, installing, m, script))
	}
	run := runtime.ServiceStep(Unit, true, daemon.Data, unit)
	run.Reads = []string{daemon.Path, UnitFile}
	run.Disturbs.Pods = !told.LiveRestore
	return append(steps,
		c.ScriptStep(programs, installing, m, install),
		run,
		runtime.Step{ID: "docker answers", Tells: []string{Unit}, Do: runtime.Await{
			Argv: Command("version", "--format", "{{.Server.Version}}"), Timeout: time.Minute,
		}},
	), nil
}

// from is the template that a file is made of, "" where it is none.
func from(i runtime.Image, name string) string {
	if slices.Contains(i.Paths, name+runtime.TemplateSuffix) {
		return name + runtime.TemplateSuffix
	}
	return ""
}

// Import hands the container images inside an image to the docker of a host.
func Import(c *runtime.Cluster, i runtime.Image) []runtime.Step {
	tarballs := i.In("images")
	if len(i.Images)+len(tarballs) == 0 {
		return nil
	}
	return []runtime.Step{{ID: "load the images of " + i.Ref.Familiar(), Do: runtime.Feed{
		Image: i.Digest, Tarballs: tarballs, Docker: true, Argv: Command("load", "--quiet"), Into: Data(c),
	}}}
}

// Present demands that docker has every container image inside the images.
func Present(images []runtime.Image) []runtime.Step {
	var steps []runtime.Step
	for _, i := range images {
		if len(i.Images) > 0 {
			steps = append(steps, runtime.Step{ID: "images of " + i.Ref.Familiar() + " present", Do: runtime.Present{
				Argv: Command("image", "ls", "--format", "{{.Repository}}:{{.Tag}}"), Names: listed(i.Images),
			}})
		}
	}
	return steps
}

// Discard removes from a host the container images that only the old image of a
// cluster brought. One that a container uses still stays, and is told.
func Discard(c, next *runtime.Cluster) []runtime.Step {
	var stay []string
	for _, i := range next.Images {
		stay = append(stay, i.Images...)
	}
	old := slices.DeleteFunc(slices.Clone(c.Image().Images), func(name string) bool { return slices.Contains(stay, name) })
	if len(c.Image().Images) == 0 || c.Image().Digest == next.Image().Digest {
		return nil
	}
	do := func(id string, args ...string) runtime.Step {
		return runtime.Step{ID: id, Operation: next.Image().Digest, Do: runtime.Exec{Argv: Command(args...), Tolerate: true}}
	}
	prune := do("images without a name", "image", "prune", "--force") // what had a name that another has now
	if len(old) == 0 {
		return []runtime.Step{prune}
	}
	return []runtime.Step{
		do("old images", append([]string{"image", "rm", "--force"}, listed(old)...)...),
		prune,
	}
}

// EndPods ends all containers of pods on a host, with the step that it serves:
// they outlive the kubelet.
func EndPods(m runtime.Member, with string) []runtime.Step {
	pods := runtime.Captured("containers of pods on " + m.Address)
	return []runtime.Step{
		{ID: "containers of pods", Do: runtime.Exec{Argv: Command("ps", "--all", "--quiet", "--filter", "label=io.kubernetes.pod.name"), Capture: pods}},
		{ID: "end containers of pods", With: with, Again: true, Do: runtime.Exec{
			Argv: append([]string{"xargs", "-r"}, Command("rm", "--force")...), Stdin: pods.String(),
		}},
	}
}

// Remove takes docker away from a host, with its containers, mounts and network:
// the image's scripts/uninstall-docker.sh, then lib/uninstall_*.sh of what
// lib/install_*.sh put there, the last first. Files are the ledger's.
func Remove(c *runtime.Cluster, m runtime.Member) []runtime.Step {
	steps := []runtime.Step{always(c.ScriptStep("uninstall docker", resetting, m, uninstall), programs)}
	removers := libraries(c.Image(), "uninstall_")
	for _, script := range slices.Backward(libraries(c.Image(), "install_")) {
		remover := strings.Replace(script, "/install_", "/uninstall_", 1)
		if slices.Contains(removers, remover) {
			steps = append(steps, always(c.ScriptStep(remover, resetting, m, remover), script))
		}
	}
	bridges := []string{"docker0", "docker_gwbridge"}
	return append(steps, runtime.Step{ID: "flush docker", Undoes: claim, Do: runtime.Flush{
		Links: bridges, Chains: []string{"DOCKER"}, Devices: bridges,
	}})
}

// always has a script run whenever its plan does, where a step was done that it
// takes back.
func always(s runtime.Step, undoes string) runtime.Step {
	if exec, ok := s.Do.(runtime.Exec); ok {
		exec.Always = true
		s.Do = exec
	}
	s.Undoes = undoes
	return s
}
