package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// How long the cluster may take to accept an object, and a host to be Ready.
const (
	applyTimeout = 2 * time.Minute
	readyTimeout = 5 * time.Minute
)

// deliver brings sealrt and all images of the cluster to the members, and
// prepares them.
func (r *Runtime) deliver(members []Member) (Plan, error) {
	send, err := each(members, func(Member) ([]Step, error) {
		steps := []Step{{ID: "sealrt", Do: Helper{}}}
		for _, i := range r.cluster.Images {
			steps = append(steps, Step{ID: "load " + i.Ref.Familiar(), Do: Load{Ref: i.Ref.String(), Digest: i.Digest, Rootfs: i.Rootfs()}})
		}
		return steps, nil
	})
	if err != nil {
		return Plan{}, err
	}
	prepare, err := each(members, func(m Member) ([]Step, error) {
		steps, err := r.cluster.hostFiles(m)
		if err != nil {
			return nil, err
		}
		own, err := r.driver.Prepare(r.cluster, m)
		if err != nil {
			return nil, err
		}
		steps = append(steps, own...)
		for _, i := range r.cluster.Images {
			steps = append(steps, r.driver.Import(r.cluster, i)...)
		}
		return steps, nil
	})
	if err != nil {
		return Plan{}, err
	}
	return Plan{Phases: []Phase{{Name: "deliver", Tasks: send}, {Name: "prepare", Tasks: prepare}}}, nil
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
	return plan.Then(begin).Then(r.ready(first)), nil
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
	image := r.cluster.Image()
	var steps []Step
	for _, dir := range []string{"manifests", "."} {
		found, err := fs.ReadDir(image.Files, dir)
		if err != nil && dir != "." && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read %s of %s: %w", dir, image.Ref.Familiar(), err)
		}
		for _, f := range found {
			if ext := path.Ext(f.Name()); f.IsDir() || ext != ".yaml" && ext != ".yml" {
				continue
			}
			file := path.Join(image.Rootfs(), dir, f.Name())
			// server-side: repeating it changes nothing, and fields that
			// others own stay theirs
			argv := r.driver.Kubectl("apply", "--server-side", "--field-manager=sealrt", "-f", file)
			steps = append(steps, Step{ID: "apply " + path.Join(dir, f.Name()), Do: Exec{Argv: argv, Timeout: applyTimeout}})
		}
	}
	return steps, nil
}

// onFirst is a phase of one task, on the first master.
func (r *Runtime) onFirst(name string, steps []Step) Plan {
	if len(steps) == 0 {
		return Plan{}
	}
	return Plan{Phases: []Phase{{Name: name, Tasks: []Task{{Member: r.cluster.Masters()[0], Steps: steps}}}}}
}

// ready waits, on the first master, until every one of the members serves.
func (r *Runtime) ready(members []Member) Plan {
	var steps []Step
	for _, m := range members {
		argv := r.driver.Kubectl("wait", "--for=condition=Ready", "node/"+m.Hostname, "--timeout=10s")
		steps = append(steps, Step{ID: "ready " + m.Hostname, Do: Await{Argv: argv, Timeout: readyTimeout}})
	}
	return r.onFirst("ready", steps)
}

// JoinMasters plans adding masters one after another, each serving before the
// next begins.
func (r *Runtime) JoinMasters(masters []Member) (Plan, error) {
	return r.join(masters, r.admitMasters)
}

// JoinNodes plans adding nodes, all at once.
func (r *Runtime) JoinNodes(nodes []Member) (Plan, error) {
	return r.join(nodes, r.admitNodes)
}

func (r *Runtime) join(members []Member, admit func([]Member) (Plan, error)) (Plan, error) {
	plan, err := r.deliver(members)
	if err != nil {
		return Plan{}, err
	}
	joined, err := admit(members)
	return plan.Then(joined), err
}

// admitMasters makes masters, one after another, of what was delivered.
func (r *Runtime) admitMasters(masters []Member) (Plan, error) {
	if len(masters) == 0 {
		return Plan{}, nil
	}
	joiner, ok := r.driver.(MasterJoiner)
	if !ok {
		return Plan{}, r.unsupported("more than one master")
	}
	plan := r.onFirst("grant", r.driver.Grant(r.cluster))
	for _, m := range masters {
		tasks, err := each([]Member{m}, func(m Member) ([]Step, error) { return joiner.JoinMaster(r.cluster, m) })
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(Plan{Phases: []Phase{{Name: "join master", Tasks: tasks}}}).Then(r.ready([]Member{m}))
	}
	return plan, nil
}

// admitNodes makes nodes, all at once, of what was delivered.
func (r *Runtime) admitNodes(nodes []Member) (Plan, error) {
	if len(nodes) == 0 {
		return Plan{}, nil
	}
	tasks, err := each(nodes, func(m Member) ([]Step, error) { return r.driver.JoinNode(r.cluster, m) })
	if err != nil {
		return Plan{}, err
	}
	grant := r.driver.Grant(r.cluster)
	for _, m := range nodes {
		grant = append(grant, r.driver.Forget(r.cluster, m)...)
	}
	return r.onFirst("grant", grant).
		Then(Plan{Phases: []Phase{{Name: "join nodes", Tasks: tasks}}}).
		Then(r.ready(nodes)), nil
}

// DeleteMasters is not supported by any driver yet.
func (r *Runtime) DeleteMasters([]Member) (Plan, error) {
	return Plan{}, r.unsupported("deleting masters")
}

// DeleteNodes is not supported by any driver yet.
func (r *Runtime) DeleteNodes([]Member) (Plan, error) {
	return Plan{}, r.unsupported("deleting nodes")
}

// Upgrade is not supported by any driver yet.
func (r *Runtime) Upgrade(Image) (Plan, error) { return Plan{}, r.unsupported("upgrading") }

// UpdateCert is not supported by any driver yet.
func (r *Runtime) UpdateCert([]string) (Plan, error) {
	return Plan{}, r.unsupported("renewing certificates")
}

// Reset plans removing the cluster: the nodes at once, then the masters from
// the last to the first.
func (r *Runtime) Reset() (Plan, error) {
	clean := func(m Member) ([]Step, error) {
		return append(r.driver.Reset(r.cluster, m), Step{ID: "undo", Do: Undo{}}), nil
	}
	nodes, err := each(r.cluster.Nodes(), clean)
	if err != nil {
		return Plan{}, err
	}
	masters := slices.Clone(r.cluster.Masters())
	slices.Reverse(masters)
	tasks, err := each(masters, clean)
	if err != nil {
		return Plan{}, err
	}
	return Plan{Phases: []Phase{{Name: "reset nodes", Tasks: nodes}, {Name: "reset masters", Serial: true, Tasks: tasks}}}, nil
}

// Create plans a whole cluster: everything is delivered to all hosts at once,
// then come the first master, the other masters, the nodes, and the commands
// of the app images.
func (r *Runtime) Create() (Plan, error) {
	plan, err := r.deliver(r.cluster.Members)
	if err != nil {
		return Plan{}, err
	}
	masters, nodes := r.cluster.Masters(), r.cluster.Nodes()
	for _, part := range []func() (Plan, error){
		r.begin,
		func() (Plan, error) { return r.ready(masters[:1]), nil },
		func() (Plan, error) { return r.admitMasters(masters[1:]) },
		func() (Plan, error) { return r.admitNodes(nodes) },
	} {
		next, err := part()
		if err != nil {
			return Plan{}, err
		}
		plan = plan.Then(next)
	}
	return plan.Then(r.onFirst("settle", r.driver.Settled(r.cluster))).Then(r.onFirst("apps", r.apps())), nil
}

// apps runs the command of every app image, in the image's own tree on the
// first master, with the cluster's kubeconfig.
func (r *Runtime) apps() []Step {
	var steps []Step
	for _, i := range r.cluster.Images[1:] {
		if len(i.Cmd) == 0 {
			continue
		}
		env := append(slices.Clone(i.Env), "KUBECONFIG="+r.driver.Kubeconfig(), "KUBECACHEDIR="+Scratch+"/kubectl", "SEALRT_ROOTFS="+i.Rootfs())
		argv := append([]string{"env", "-u", workMark, "-C", i.Rootfs()}, i.Cmd...)
		steps = append(steps, Step{ID: "app " + i.Ref.Familiar(), Do: Exec{Argv: argv, Env: env}})
	}
	return steps
}
