package preflight

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/host"
)

// patience is how long one host may take to tell its facts. A file system whose
// server is gone keeps df waiting for ever.
const patience = time.Minute

// Options say what is asked beside the cluster. The zero value works.
type Options struct {
	Fix  bool     // what can be mended is mended by steps of the plan
	Skip []string // checks whose errors are passed over
	// Unreached says why members have no connection, by Member.Address. A
	// member that is neither here nor among the hosts is not looked at.
	Unreached map[string]error
	// Lacks is how many bytes of blobs a member's host lacks, by
	// Member.Address. A host that is not named lacks all where the cluster is
	// not installed on it, and nothing where it is.
	Lacks map[string]int64
	Now   func() time.Time // nil: time.Now
}

// NameError says that a check does not exist, or cannot be skipped.
type NameError struct{ Name string }

// Error lists the names that there are.
func (e *NameError) Error() string {
	return fmt.Sprintf("%q is not a check that can be skipped: there are %s", e.Name, strings.Join(Names(), ", "))
}

// Skippable returns a *NameError unless there is a check of that name, and it
// can be skipped.
func Skippable(name string) error {
	if !slices.Contains(Names(), name) {
		return &NameError{Name: name}
	}
	return nil
}

// Run asks all hosts at once, fills in the members' host names and
// architectures, and reports everything that stands in the way of the cluster.
// It changes nothing. hosts are the connections by Member.Address. The error is
// a *NameError or that of a context that ended; what was found is in the
// report.
func Run(ctx context.Context, c *runtime.Cluster, d runtime.Driver, hosts map[string]host.Host, o Options) (Report, error) {
	for _, name := range o.Skip {
		if err := Skippable(name); err != nil {
			return Report{}, err
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	all, lost := gather(ctx, c, d, hosts, o)
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	r := Report{Findings: lost}
	for i, s := range all {
		s.all, s.index = all, i
		for _, found := range s.examine(o) {
			r.Findings = append(r.Findings, found)
			if found.Level == Mended {
				r.mend(c, s.m, found.fix)
			}
		}
	}
	sorted(r.Findings)
	return r, nil
}

// mend adds the steps of a finding to the fixes.
func (r *Report) mend(c *runtime.Cluster, m runtime.Member, steps []runtime.Step) {
	if len(r.Fixes.Phases) == 0 {
		r.Fixes.Phases = []runtime.Phase{{Name: "fix"}}
	}
	tasks := &r.Fixes.Phases[0].Tasks
	i := slices.IndexFunc(*tasks, func(t runtime.Task) bool { return t.Member.Address == m.Address })
	if i < 0 {
		i = len(*tasks)
		// the ledger lies there, and the steps are recorded in it
		var home runtime.Action = runtime.Exec{Argv: []string{"mkdir", "-p", "-m", "0755", runtime.Home}, Always: true}
		if to := path.Clean(c.DataDir.Sealrt); c.DataDir.Sealrt != "" && to != runtime.Home {
			home = runtime.Relocate{To: to}
		}
		*tasks = append(*tasks, runtime.Task{Member: m, Steps: []runtime.Step{{ID: "fix home", Do: home}}})
	}
	(*tasks)[i].Steps = append((*tasks)[i].Steps, steps...)
}

// gather asks the hosts. What is lost is a finding of its own.
func gather(ctx context.Context, c *runtime.Cluster, d runtime.Driver, hosts map[string]host.Host, o Options) ([]*subject, []Finding) {
	answers := make([]*subject, len(c.Members))
	lost := make([]error, len(c.Members))
	var wg sync.WaitGroup
	for i := range c.Members {
		m := &c.Members[i]
		h, connected := hosts[m.Address]
		if !connected {
			lost[i] = o.Unreached[m.Address]
			continue
		}
		wg.Go(func() {
			s := about(c, d, *m, o)
			s.facts, lost[i] = within(ctx, patience, func(ctx context.Context) (Facts, error) { return ask(ctx, h, s.questions(o.Now)) })
			if lost[i] == nil {
				answers[i] = s
			}
		})
	}
	wg.Wait()
	var found []Finding
	for i, err := range lost {
		if err != nil {
			found = append(found, Finding{Host: c.Members[i].Name(), Check: "reachable", Level: Error, Cause: err.Error()})
		}
	}
	for i, s := range answers {
		if s != nil {
			s.learn(&c.Members[i])
		}
	}
	return slices.DeleteFunc(answers, func(s *subject) bool { return s == nil }), found
}

// within is f with a limit of time that its error names.
func within(ctx context.Context, limit time.Duration, f func(context.Context) (Facts, error)) (Facts, error) {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	facts, err := f(limited)
	if err != nil && errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return facts, fmt.Errorf("it did not tell about itself within %s (%w): see whether it hangs, on a file system whose server is gone for instance", limit, err)
	}
	return facts, err
}
