package kubefile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a Kubefile.
type Error struct {
	File string
	Pos  Position
	// Text is the offending text as it is written, possibly shortened.
	Text string
	// Message says what is wrong, Hint what to write instead; a hint may be
	// missing.
	Message, Hint string
}

// Error returns one line, such as
//
//	Kubefile:3:1: unknown instruction "COPPY": did you mean COPY?
func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Pos.Line, e.Pos.Column, e.Message)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Errors are all mistakes of a Kubefile, in the order of their positions.
type Errors []*Error

// Sort puts the mistakes in the order of their positions, for those who add to
// them. Mistakes at one position keep their order.
func (e Errors) Sort() {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// Error returns the mistakes, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes, so that errors.As finds the first.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}
