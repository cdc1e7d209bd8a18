package runtime

import (
	"fmt"
	"slices"
	"time"
)

// readyTimeout is how long a host or the cluster may take to be Ready, unless
// the Clusterfile says.
const readyTimeout = 5 * time.Minute

// ActingMaster returns the master on which commands about the whole cluster
// run.
func (c *Cluster) ActingMaster() Member {
	for _, m := range c.Masters() {
		if m.Address == c.Acting {
			return m
		}
	}
	return c.Masters()[0]
}

// Without returns the cluster as it is when the members have left it.
func (c *Cluster) Without(gone []Member) *Cluster {
	rest := *c
	rest.Members = slices.DeleteFunc(slices.Clone(c.Members), func(m Member) bool { return among(gone, m) })
	return &rest
}

// among reports whether a member is one of a list.
func among(list []Member, m Member) bool {
	return slices.ContainsFunc(list, func(l Member) bool { return l.Address == m.Address })
}

// up returns those of the members whose hosts answer.
func (c *Cluster) up(members []Member) []Member {
	return slices.DeleteFunc(slices.Clone(members), func(m Member) bool { return c.Down[m.Address] })
}

// timeout reads a duration of the Clusterfile.
func timeout(text string, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d
	}
	return otherwise
}

// onActing is a phase of one task, on the acting master.
func (r *Runtime) onActing(name string, steps []Step) Plan {
	return r.on(r.cluster.ActingMaster(), name, steps)
}

// on is a phase of one task.
func (r *Runtime) on(m Member, name string, steps []Step) Plan {
	if len(steps) == 0 {
		return Plan{}
	}
	return Plan{Phases: []Phase{{Name: name, Tasks: []Task{{Member: m, Steps: steps}}}}}
}

// ready waits, on the acting master, until every one of the members serves,
// and then has each of them prove that it has what it needs.
func (r *Runtime) ready(members []Member) (Plan, error) {
	plan := r.awaitReady("ready", members)
	v, ok := r.driver.(Verifier)
	if !ok {
		return plan, nil
	}
	tasks, err := each(members, func(m Member) ([]Step, error) { return v.Verify(r.cluster, m), nil })
	if err != nil || len(tasks) == 0 {
		return plan, err
	}
	return plan.Then(Plan{Phases: []Phase{{Name: "verify", Tasks: tasks}}}), nil
}

// awaitReady waits for all at once.
func (r *Runtime) awaitReady(name string, members []Member) Plan {
	phase := Phase{Name: name}
	for _, m := range members {
		argv := r.driver.Kubectl("wait", "--for=condition=Ready", "node/"+m.Hostname, "--timeout=10s")
		step := Step{ID: "ready " + m.Hostname, About: m.Address, Do: Await{Argv: argv, Timeout: r.readyLimit()}}
		phase.Tasks = append(phase.Tasks, Task{Member: r.cluster.ActingMaster(), Steps: []Step{step}})
	}
	return Plan{Phases: []Phase{phase}}
}

// locate tells the members where the masters of the cluster are, as the
// cluster is to be. Hosts that do not answer are told when they do.
func (r *Runtime) locate(as *Cluster, members []Member) (Plan, error) {
	members = r.cluster.up(members)
	told, err := (&Runtime{cluster: as, driver: r.driver}).TellMasters(members)
	if err != nil {
		return Plan{}, err
	}
	l, ok := r.driver.(Locator)
	if !ok {
		return told, nil
	}
	tasks, err := each(members, func(m Member) ([]Step, error) { return l.Locate(as, m), nil })
	if err != nil || len(tasks) == 0 {
		return told, err
	}
	return Plan{Phases: []Phase{{Name: "locate", Tasks: tasks}}}.Then(told), nil
}

// names lists members for a sentence.
func names(members []Member) string {
	var out string
	for i, m := range members {
		if i > 0 {
			out += ", "
		}
		out += m.Name()
	}
	return out
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
