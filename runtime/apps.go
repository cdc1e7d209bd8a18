package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sealrt/sealrt/artifact"
)

// LabelUninstall is the label of an app image with the command that takes the
// app away, a JSON array of words; without it scripts/uninstall.sh is run, where
// there is one.
const LabelUninstall = "io.sealrt.uninstall"

// uninstallScript is what an app image has to take itself away.
const uninstallScript = "scripts/uninstall.sh"

// deleteTimeout is how long the cluster may take to delete what an app has in
// one file.
const deleteTimeout = 5 * time.Minute

// Apps are the app images of the cluster.
func (c *Cluster) Apps() []Image {
	var out []Image
	for _, i := range c.Images {
		if !i.Boots() && i.Kind.Type != artifact.TypePatch {
			out = append(out, i)
		}
	}
	return out
}

// living are the members that answer: what is done for an app needs no others.
func (r *Runtime) living() []Member { return r.cluster.up(r.cluster.Members) }

// installApps installs the app images that the cluster is created with, one
// after the other.
func (r *Runtime) installApps() (Plan, error) {
	var plan Plan
	for _, app := range r.cluster.Apps() {
		next, err := r.installApp(app, HookPreInstall, HookPostInstall, false)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(next)
	}
	return plan, nil
}

// installApp runs the hooks of an app, applies its objects on the first master
// and runs its command there. With again, what was done before is done again.
func (r *Runtime) installApp(app Image, before, after HookPhase, again bool) (Plan, error) {
	first, err := r.beforeApp(app, before)
	if err != nil {
		return Plan{}, err
	}
	steps, err := r.appSteps(app, again)
	if err != nil {
		return Plan{}, err
	}
	last, err := r.hookPhase(after, r.living(), app)
	return first.Then(r.onActing("app "+app.Ref.Familiar(), steps)).Then(last), err
}

func (r *Runtime) beforeApp(app Image, phase HookPhase) (Plan, error) {
	steps, err := r.cluster.renderSteps(app, r.cluster.ActingMaster())
	if err != nil {
		return Plan{}, err
	}
	hooks, err := r.hookPhase(phase, r.living(), app)
	return r.onActing("render "+app.Ref.Familiar(), steps).Then(hooks), err
}

func (r *Runtime) appSteps(app Image, again bool) ([]Step, error) {
	var steps []Step
	for _, name := range app.Objects() {
		step, err := r.applyStep(app, name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	// before the command, which may bring one of them in its own way
	old, err := r.retire(app)
	if err != nil {
		return nil, err
	}
	steps = append(steps, old...)
	if len(app.Cmd) > 0 {
		steps = append(steps, Step{ID: appID(app), Do: r.appExec(app, app.Cmd)})
	}
	for n, s := range steps {
		if exec, ok := s.Do.(Exec); ok && again {
			exec.Always = true
			steps[n].Do = exec
		}
	}
	return steps, nil
}

// appExec runs a command of an app image on the first master: in the image's
// tree, with its programs first in PATH and the cluster's kubeconfig.
func (r *Runtime) appExec(app Image, argv []string) Exec {
	env, secret := r.cluster.parted(r.cluster.environmentOf(app, r.cluster.ActingMaster()))
	env = append(env,
		"KUBECACHEDIR="+Scratch+"/kubectl",
		"PATH="+path.Join(app.Rootfs(), "bin")+":"+systemPath,
		"SEALRT_CLUSTER="+r.cluster.Name,
		"SEALRT_REGISTRY="+r.cluster.registryView().Endpoint,
		"SEALRT_RENDERED="+app.Rendered(),
		"SEALRT_ROOTFS="+app.Rootfs(),
	)
	log := path.Join(path.Dir(hookLogs), "apps", strings.NewReplacer("/", "-", ":", "-").Replace(app.Ref.Familiar())+".log")
	return Exec{Argv: hookArgv(log, app.Rootfs(), r.driver.Kubeconfig(), secret != "", argv...), Env: env, Stdin: secret, Tell: true}
}

// systemPath is where a host has its programs (Filesystem Hierarchy Standard
// 3.0), with the place that drivers install to first.
const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// applyStep applies one file of Kubernetes objects.
func (r *Runtime) applyStep(i Image, name string) (Step, error) {
	file := r.cluster.place(i, name)
	// server-side: repeating it changes nothing, and fields that others own
	// stay theirs
	do := Exec{Argv: r.driver.Kubectl("apply", "--server-side", "--field-manager=sealrt", "-f", file), Timeout: applyTimeout, Retry: true}
	if strings.HasPrefix(file, i.Rendered()) {
		// the name of the file does not tell when its content is another
		text, err := r.cluster.text(i, name, r.cluster.ActingMaster())
		if err != nil {
			return Step{}, err
		}
		do.Env = []string{"SEALRT_CONTENT=" + digestOf(text)}
	}
	return Step{ID: applyID(i, name), Again: true, Do: do}, nil
}

// Replacement is an app image and the one of the same name that it takes the
// place of; a zero Before is none.
type Replacement struct{ App, Before Image }

// Install plans putting app images on a cluster that stands, in order. An app
// that is there already is installed once more: its objects are applied and its
// command is run again, which it has to bear. Where another version is there,
// the hooks are those of an upgrade, and what was kept of that version goes.
func (r *Runtime) Install(apps ...Replacement) (Plan, error) {
	if err := r.cluster.check(); err != nil {
		return Plan{}, err
	}
	var plan Plan
	for _, a := range apps {
		if a.App.Boots() || a.App.Kind.Type == artifact.TypePatch {
			return Plan{}, fmt.Errorf("%s is a %s image: only app images are put on a cluster that stands", a.App.Ref.Familiar(), a.App.Kind.Type)
		}
		a.App = r.cluster.own(a.App)
		send, err := r.deliverImages(r.living(), a.App)
		if err != nil {
			return Plan{}, err
		}
		checks, err := r.hookPhase(HookPreflight, r.living(), a.App)
		if err != nil {
			return Plan{}, err
		}
		before, after := HookPreInstall, HookPostInstall
		other := a.Before.Digest != "" && a.Before.Digest != a.App.Digest
		if other {
			before, after = HookPreUpgrade, HookPostUpgrade
		}
		put, err := r.installApp(a.App, before, after, true)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(send).Then(checks.strict()).Then(r.imports(a.App)).Then(put)
		if !other {
			continue
		}
		old, err := r.drop(a.Before)
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(old)
	}
	return plan, nil
}

// imports gives every host the container images of an app.
func (r *Runtime) imports(app Image) Plan {
	var tasks []Task
	for _, m := range r.living() {
		if steps := r.driver.Import(r.cluster, app); len(steps) > 0 {
			tasks = append(tasks, Task{Member: m, Steps: steps})
		}
	}
	if len(tasks) == 0 {
		return Plan{}
	}
	return Plan{Phases: []Phase{{Name: "import", Tasks: tasks}}}
}

// Uninstall plans taking an app image away: its hooks, its own command for
// that, the objects that it brought, the last first, and what the hosts keep of
// it.
func (r *Runtime) Uninstall(app Image) (Plan, error) {
	if app.Boots() {
		return Plan{}, fmt.Errorf("%s is what the cluster was made of: `sealrt reset` removes the cluster", app.Ref.Familiar())
	}
	app = r.cluster.own(app)
	before, err := r.hookPhase(HookPreDelete, r.living(), app)
	if err != nil {
		return Plan{}, err
	}
	var steps []Step
	argv, err := app.Uninstaller()
	if err != nil {
		return Plan{}, err
	}
	if len(argv) > 0 {
		do := r.appExec(app, argv)
		do.Always = true
		steps = append(steps, Step{ID: "uninstall " + app.Ref.Familiar(), Do: do})
	}
	steps = append(steps, r.deleteSteps("delete what "+app.Ref.Familiar()+" brought", r.Leaving(app))...)
	after, err := r.hookPhase(HookPostDelete, r.living(), app)
	if err != nil {
		return Plan{}, err
	}
	gone, err := r.drop(app)
	return before.Then(r.onActing("uninstall "+app.Ref.Familiar(), steps)).Then(after).Then(gone), err
}

// own returns an image as the cluster has it: with the values that its settings
// name, and with the config documents in its files.
func (c *Cluster) own(i Image) Image {
	for _, known := range c.Images {
		if known.Digest == i.Digest && known.Ref == i.Ref {
			return known
		}
	}
	return i
}

// Leaving lists the objects that go with an app: what it brought, and no other
// image of the cluster did.
func (r *Runtime) Leaving(app Image) []Object {
	others := r.cluster.broughtByOthers(app)
	return slices.DeleteFunc(slices.Clone(app.Brought), func(o Object) bool { return slices.ContainsFunc(others, o.is) })
}

// Uninstaller returns the command that takes the app away, relative to its
// tree; none where the image has none.
func (i Image) Uninstaller() ([]string, error) {
	if label := i.Labels[LabelUninstall]; label != "" {
		var argv []string
		if err := json.Unmarshal([]byte(label), &argv); err != nil || len(argv) == 0 {
			return nil, fmt.Errorf("%s: label %s=%s: write a JSON array of words, like [\"helm\",\"uninstall\",\"shop\"]", i.Ref.Familiar(), LabelUninstall, label)
		}
		return argv, nil
	}
	if !slices.Contains(i.Paths, uninstallScript) {
		return nil, nil
	}
	if !slices.Contains(i.Programs, uninstallScript) {
		return nil, errors.New(i.Ref.Familiar() + ": " + uninstallScript + " is not executable: chmod +x it and build the image again")
	}
	return []string{"./" + uninstallScript}, nil
}

// drop takes away what hosts keep of an image.
func (r *Runtime) drop(i Image) (Plan, error) {
	var stay []string
	for _, other := range r.cluster.Images {
		if other.Digest != i.Digest {
			stay = append(stay, other.Digest)
		}
	}
	tasks, err := each(r.living(), func(m Member) ([]Step, error) {
		done, err := r.doneFor(i, m)
		do := Withdraw{Ref: i.Ref.String(), Digest: i.Digest, Rootfs: i.Rootfs(), Rendered: i.Rendered(), Stay: stay, Forget: done}
		for _, s := range r.driver.Import(r.cluster, i) {
			if f, ok := s.Do.(Feed); ok && len(stay) == len(r.cluster.Images)-1 { // no other name of it stays
				do.Files = append(do.Files, f.Files()...)
			}
		}
		return []Step{{ID: "drop " + i.Ref.Familiar(), Do: do}}, err
	})
	return Plan{Phases: []Phase{{Name: "drop", Tasks: tasks}}}, err
}

// doneFor lists the steps that a host may have done for an app, and is not to
// take for done when the app comes again.
func (r *Runtime) doneFor(i Image, m Member) ([]string, error) {
	ids := []string{loadID(i)}
	for _, phase := range hookPhases {
		steps, err := r.cluster.HookSteps(phase, m, "", i)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			ids = append(ids, s.ID)
		}
	}
	for _, s := range r.driver.Import(r.cluster, i) {
		ids = append(ids, s.ID)
	}
	for _, name := range i.Objects() {
		ids = append(ids, applyID(i, name))
	}
	for _, name := range r.cluster.renderedFiles(i, "manifests", "charts", "etc") {
		ids = append(ids, renderID(i, name))
	}
	return append(ids, appID(i)), nil
}

// IDs of steps that are done for an image.
func loadID(i Image) string { return "load " + i.Ref.Familiar() }
func appID(i Image) string  { return "app " + i.Ref.Familiar() }
func renderID(i Image, name string) string {
	return "render " + strings.TrimSuffix(name, TemplateSuffix) + " of " + i.Ref.Familiar()
}
func applyID(i Image, name string) string {
	id := "apply " + strings.TrimSuffix(name, TemplateSuffix)
	if !i.Boots() {
		id += " of " + i.Ref.Familiar()
	}
	return id
}

// digestOf identifies a text in a step that does not hold it.
func digestOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}
