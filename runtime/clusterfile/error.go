package clusterfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Error is one mistake in a document.
type Error struct {
	File    string // as it was given to Parse
	Line    int    // from 1
	Message string
}

func (e *Error) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// Errors are all mistakes of a file, in the order of their lines.
type Errors []*Error

func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// mistakes collects what is wrong with a file.
type mistakes struct {
	file string
	list Errors
}

func (m *mistakes) add(line int, format string, args ...any) {
	m.list = append(m.list, &Error{File: m.file, Line: max(line, 1), Message: fmt.Sprintf(format, args...)})
}

// bad tells that the value of a field is wrong. A value that may be secret is
// not repeated.
func (m *mistakes) bad(line int, at, value string, err error) {
	var secret quiet
	if errors.As(err, &secret) || privatePE.MatchString(value) || urlWithIn.MatchString(value) {
		m.add(line, "%s: %v", at, err)
		return
	}
	m.add(line, "%s is %q: %v", at, shorten(value), err)
}

// shorten keeps an error readable, whatever the file holds.
func shorten(s string) string {
	const most = 120
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// err returns the mistakes in the order of their lines, each once, or nil.
func (m *mistakes) err() error {
	if len(m.list) == 0 {
		return nil
	}
	slices.SortStableFunc(m.list, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return slices.CompactFunc(m.list, func(a, b *Error) bool { return *a == *b })
}
