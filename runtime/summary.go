package runtime

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime/host"
)

// StepError says which step failed on which host.
type StepError struct {
	Phase, Host, Step string
	Err               error
	Log               []UnitLog // what the services say that the step is about
	text              string    // of Err, without what a plan captured
}

// UnitLog is the end of the journal of a systemd unit.
type UnitLog struct {
	Unit, Host string
	Lines      []string
}

// Error names the host, the step and the cause.
func (e *StepError) Error() string {
	where := e.Phase + ": host " + e.Host + ": "
	if e.Step != "" {
		where += e.Step + ": "
	}
	return where + e.cause()
}

func (e *StepError) cause() string {
	if e.text != "" {
		return e.text
	}
	return e.Err.Error()
}

// Unwrap returns the cause.
func (e *StepError) Unwrap() error { return e.Err }

// Advice is what to do about the failure, beyond what the cause says; "" where
// nothing more is known.
func (e *StepError) Advice() string {
	var limit *LimitError
	switch {
	case errors.Is(e.Err, host.ErrUnreached), errors.Is(e.Err, host.ErrLost):
		return "see that the machine " + e.Host + " runs and can be reached"
	case errors.As(e.Err, &limit):
		return fmt.Sprintf("look what keeps it waiting, or set timeouts.%s to more than %s", limit.Setting, limit.After)
	}
	return ""
}

// RunError is the error of a plan that was not carried out to its end: what
// became of each host.
type RunError struct {
	Failed []*StepError // the first failure of each host that failed
	Behind []string     // hosts that have steps left which were never begun, and did not fail
	Done   []string     // hosts that have done all that was asked of them
}

// Error is the summary, several lines where there are several hosts.
func (r *RunError) Error() string {
	var out strings.Builder
	hosts := len(r.Failed) + len(r.Behind) + len(r.Done)
	if hosts > 1 {
		fmt.Fprintf(&out, "%d of %d hosts failed\n", len(r.Failed), hosts)
	}
	for _, f := range r.Failed {
		out.WriteString(f.Error() + "\n")
		for _, l := range f.Log {
			fmt.Fprintf(&out, "    the journal of %s on %s ends:\n", l.Unit, l.Host)
			for _, line := range l.Lines {
				out.WriteString("      " + line + "\n")
			}
		}
		if advice := f.Advice(); advice != "" {
			out.WriteString("    " + advice + "\n")
		}
	}
	if len(r.Behind) > 0 {
		fmt.Fprintf(&out, "not finished, for that reason: %s\n", strings.Join(r.Behind, ", "))
	}
	if len(r.Done) > 0 {
		fmt.Fprintf(&out, "done: %s\n", strings.Join(r.Done, ", "))
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// Unwrap returns the failures.
func (r *RunError) Unwrap() []error {
	var out []error
	for _, f := range r.Failed {
		out = append(out, f)
	}
	return out
}

// report says what became of the hosts; nil when all did what was asked.
func (x *execution) report() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.failed) == 0 {
		return nil
	}
	r := &RunError{}
	known := map[string]bool{}
	for _, m := range x.order {
		known[m.Address] = true
		switch failure := x.failed[m.Address]; {
		case failure != nil:
			r.Failed = append(r.Failed, failure)
		case x.left[m.Address] > 0:
			r.Behind = append(r.Behind, m.Name())
		default:
			r.Done = append(r.Done, m.Name())
		}
	}
	for address, failure := range x.failed {
		if !known[address] { // a step was about a host that the plan does not change
			r.Failed = append(r.Failed, failure)
		}
	}
	return r
}

// failure is the error of a step, with what the services say that it is about.
func (t *target) failure(ctx context.Context, s Step, err error) *StepError {
	e := &StepError{Phase: t.phase, Host: Member{Address: s.subject(t.member)}.Name(), Step: s.ID, Err: err}
	e.text = t.engine.conceal(err.Error())
	if ctx.Err() != nil || lost(err) {
		return e
	}
	units := t.units(s)
	at := t.engine.Hosts[s.subject(t.member)]
	for _, unit := range units {
		if at == nil {
			break
		}
		if lines := t.engine.unitLog(ctx, at, unit); len(lines) > 0 {
			e.Log = append(e.Log, UnitLog{Unit: unit, Host: e.Host, Lines: lines})
		}
	}
	return e
}

// units are the services that may know why a step failed: those that it names,
// or, where a host does not become what is waited for, all that run there.
func (t *target) units(s Step) []string {
	_, waits := s.Do.(Await)
	service, serves := s.Do.(Service)
	switch {
	case serves:
		return append(slices.Clone(s.Tells), service.Unit)
	case waits && s.About != "" && len(s.Tells) == 0:
		t.engine.mu.Lock()
		l := t.engine.ledgers[s.About]
		t.engine.mu.Unlock()
		if l != nil {
			return l.units()
		}
	}
	return s.Tells
}

// unitLog asks for the end of a unit's journal. That there is no answer is no
// second failure.
func (e *Engine) unitLog(ctx context.Context, h host.Host, unit string) []string {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
	defer cancel()
	out, err := host.Output(ctx, h, "journalctl", "-u", unit, "-n", "20", "--no-pager")
	if err != nil {
		return nil
	}
	return strings.FieldsFunc(e.conceal(string(out)), func(r rune) bool { return r == '\n' })
}
