// Package preflight asks all hosts of a cluster at once what they are, and says
// before anything is changed what on them stands in the way.
//
// A fact that a host does not tell is no finding: the questions are answered by
// the kernel's files and by the small tools that every Linux has, BusyBox's
// too, and the step that needs the missing thing says so where they are silent.
package preflight
