package runtime

import (
	"slices"
	"time"
)

// applyTimeout is how long the cluster may take to accept an object.
const applyTimeout = 2 * time.Minute

// Create plans a whole cluster: everything is delivered to all hosts at once,
// then come the first master, the other masters, the nodes, and the commands
// of the app images.
func (r *Runtime) Create() (Plan, error) {
	if err := r.enoughVoters(); err != nil {
		return Plan{}, err
	}
	plan, err := r.deliver(r.cluster.Members)
	if err != nil {
		return Plan{}, err
	}
	masters, nodes := r.cluster.Masters(), r.cluster.Nodes()
	for _, part := range []func() (Plan, error){
		r.begin,
		func() (Plan, error) { return r.ready(masters[:1]) },
		func() (Plan, error) { return r.admitMasters(masters[1:]) },
		func() (Plan, error) { return r.admitNodes(nodes) },
	} {
		next, err := part()
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(next)
	}
	done, err := r.hookPhase(HookPostInstall, r.cluster.Members, r.cluster.Image())
	if err != nil {
		return Plan{}, err
	}
	apps, err := r.installApps()
	if err != nil {
		return Plan{}, err
	}
	shown, err := r.published(r.cluster)
	return plan.Then(r.onActing("settle", r.driver.Settled(r.cluster))).Then(done).Then(apps).Then(shown).Then(r.tidy(r.cluster.Members)), err
}

// deliver brings sealrt and all images of the cluster to the members, lets the
// images' hooks look at them, and prepares them.
func (r *Runtime) deliver(members []Member) (Plan, error) {
	if err := r.cluster.check(); err != nil {
		return Plan{}, err
	}
	send, err := r.deliverImages(members, r.cluster.Images...)
	if err != nil {
		return Plan{}, err
	}
	checks, err := r.hookPhase(HookPreflight, members, r.cluster.Images...)
	if err != nil {
		return Plan{}, err
	}
	checks = checks.strict() // they are there to stop a run before it changes anything
	before, err := r.hookPhase(HookPreInstall, members, r.cluster.Image())
	if err != nil {
		return Plan{}, err
	}
	prepare, err := each(members, r.prepare)
	if err != nil {
		return Plan{}, err
	}
	return send.Then(checks).Then(before).Then(Plan{Phases: []Phase{{Name: preparePhase, Tasks: prepare}}}), nil
}

// deliverImages brings sealrt and images to the members.
func (r *Runtime) deliverImages(members []Member, images ...Image) (Plan, error) {
	tasks, err := each(members, func(Member) ([]Step, error) {
		steps := append(r.cluster.dataDir(), Step{ID: helperStep, Do: Helper{}})
		for _, i := range images {
			steps = append(steps, Step{ID: loadID(i), Do: Load{Ref: i.Ref.String(), Digest: i.Digest, Rootfs: i.Rootfs()}})
		}
		setup, err := r.cluster.hookSetup()
		return append(steps, setup...), err
	})
	return Plan{Phases: []Phase{{Name: "deliver", Tasks: tasks}}}, err
}

// prepare brings a member to where it can begin or join the cluster.
func (r *Runtime) prepare(m Member) ([]Step, error) {
	own, err := r.driver.Prepare(r.cluster, m)
	if err != nil {
		return nil, err
	}
	before, after, err := r.around(m, own)
	steps := slices.Concat(before, own, after)
	for _, i := range r.cluster.Images {
		steps = append(steps, r.driver.Import(r.cluster, i)...)
	}
	return steps, err
}

// around returns what a host gets of an image beside what the driver does there:
// the image's files, kernel settings and templates before, its units and the
// image service after.
func (r *Runtime) around(m Member, own []Step) (before, after []Step, err error) {
	files, err := r.cluster.hostFiles(m)
	if err != nil {
		return nil, nil, err
	}
	rendered, err := r.cluster.renderSteps(r.cluster.Image(), m)
	if err != nil {
		return nil, nil, err
	}
	units, err := r.cluster.hostUnits(m)
	if err != nil {
		return nil, nil, err
	}
	service, err := r.imageService(m)
	return slices.Concat(files, kernel(files), rendered), append(unlike(units, own), service...), err
}

// Init plans the first master, with the Kubernetes objects that the rootfs
// image brings.
func (r *Runtime) Init() (Plan, error) {
	first := r.cluster.Masters()[:1]
	plan, err := r.deliver(first)
	if err != nil {
		return Plan{}, err
	}
	begin, err := r.begin()
	if err != nil {
		return Plan{}, err
	}
	ready, err := r.ready(first)
	if err != nil {
		return Plan{}, err
	}
	done, err := r.hookPhase(HookPostInstall, first, r.cluster.Image())
	return plan.Then(begin).Then(ready).Then(done).Then(r.tidy(first)), err
}

// begin makes the first master of what was delivered.
func (r *Runtime) begin() (Plan, error) {
	tasks, err := each(r.cluster.Masters()[:1], func(m Member) ([]Step, error) {
		steps, err := r.driver.Init(r.cluster, m)
		if err != nil {
			return nil, err
		}
		objects, err := r.objects()
		return append(steps, objects...), err
	})
	return Plan{Phases: []Phase{{Name: "init", Tasks: tasks}}}, err
}

// objects applies what lies in manifests/ of the rootfs image, in name order,
// then the YAML files at its root.
func (r *Runtime) objects() ([]Step, error) {
	var steps []Step
	for _, name := range r.cluster.Image().Objects() {
		step, err := r.applyStep(r.cluster.Image(), name)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	old, err := r.retire(r.cluster.Image())
	return append(steps, old...), err
}
