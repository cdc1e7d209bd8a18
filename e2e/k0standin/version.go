package main

import (
	"fmt"
	"slices"
	"strings"
)

// release is a version as numbers: major, minor, patch, build.
func release(s string) [4]int {
	var v [4]int
	number, build, _ := strings.Cut(s, "+k0s.")
	_, _ = fmt.Sscanf(number, "v%d.%d.%d", &v[0], &v[1], &v[2])
	_, _ = fmt.Sscanf(build, "%d", &v[3])
	return v
}

func newer(a, b string) bool {
	x, y := release(a), release(b)
	return slices.Compare(x[:], y[:]) > 0
}

// moves refuses to go from one version to another that is older, or further
// than the next minor.
func moves(from, to string) error {
	switch {
	case from == "" || from == to:
		return nil
	case newer(from, to):
		return fmt.Errorf("this is %s, and the data is of %s: k0s does not go back (R10)", to, from)
	case release(to)[1] > release(from)[1]+1:
		return fmt.Errorf("this is %s, and the data is of %s: controllers go one minor version at a time (R10)", to, from)
	}
	return nil
}

// fits refuses a worker that is ahead of a controller, or too far behind.
func fits(worker, controller string) error {
	w, c := release(worker), release(controller)
	switch {
	case w[1] > c[1]:
		return fmt.Errorf("a worker of %s is ahead of a controller of %s (R10)", worker, controller)
	case c[1] > w[1]+3:
		return fmt.Errorf("a worker of %s is more than three versions behind a controller of %s (R10)", worker, controller)
	}
	return nil
}

// kubelet is what the kubelet calls its version.
func kubelet(v string) string {
	number, _, _ := strings.Cut(v, "+k0s")
	return number + "+k0s"
}
