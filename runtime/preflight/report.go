package preflight

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/runtime"
)

// Level says what a finding means.
type Level string

// The levels of findings.
const (
	Error   Level = "error"   // the cluster cannot be made so
	Warning Level = "warning" // it can, though something may not go well
	Skipped Level = "skipped" // an error that the user asked to pass over
	Mended  Level = "mended"  // an error that the plan's first steps take away
)

// Finding is one thing on one host.
type Finding struct {
	Host  string `json:"host"`
	Check string `json:"check"` // by which it can be skipped
	Level Level  `json:"level"`
	Cause string `json:"cause"`
	Do    string `json:"do,omitempty"` // what takes the cause away

	fix []runtime.Step
}

// String is the line that people read.
func (f Finding) String() string {
	line := fmt.Sprintf("%s: [%s] %s", f.Host, f.Check, f.Cause)
	switch {
	case f.Level == Skipped:
		return fmt.Sprintf("%s: [%s] skipped as asked: %s", f.Host, f.Check, f.Cause)
	case f.Level == Mended:
		return line + ": --fix mends it"
	case f.Do != "":
		return line + ": " + f.Do
	}
	return line
}

// Report is everything that was found on all hosts, sorted by host.
type Report struct {
	Findings []Finding `json:"findings"`
	// Fixes are the steps that take away what is mended: they go before all
	// others.
	Fixes runtime.Plan `json:"-"`
}

// At returns the findings of a level.
func (r Report) At(level Level) []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return f.Level != level })
}

// Err returns an error, a *RefusedError, that holds all errors of the report,
// or nil where there are none.
func (r Report) Err() error {
	if errs := r.At(Error); len(errs) > 0 {
		return &RefusedError{Findings: errs}
	}
	return nil
}

// RefusedError says why a cluster cannot be made on its hosts.
type RefusedError struct{ Findings []Finding }

// Answered reports whether all hosts answered and may become members: what else
// is in the way of a plan can then be looked for.
func (e *RefusedError) Answered() bool {
	return !slices.ContainsFunc(e.Findings, func(f Finding) bool { return !slices.Contains(Names(), f.Check) })
}

// Error is one block of text with a line for each finding.
func (e *RefusedError) Error() string {
	var lines, hints []string
	skippable, fixable := false, false
	for _, f := range e.Findings {
		lines = append(lines, f.String())
		skippable = skippable || slices.Contains(Names(), f.Check)
		fixable = fixable || len(f.fix) > 0
	}
	if fixable {
		hints = append(hints, "--fix mends what says so")
	}
	if skippable {
		hints = append(hints, "a check is passed over with --skip-check NAME, the word in brackets")
	}
	if len(hints) > 0 {
		lines = append(lines, strings.Join(hints, "; "))
	}
	return strings.Join(lines, "\n")
}

// sorted puts findings in the order of hosts: addresses by number, then names.
func sorted(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int {
		x, err := netip.ParseAddr(a.Host)
		y, err2 := netip.ParseAddr(b.Host)
		switch {
		case err == nil && err2 == nil:
			return x.Compare(y)
		case err == nil:
			return -1
		case err2 == nil:
			return 1
		}
		return cmp.Compare(a.Host, b.Host)
	})
}
