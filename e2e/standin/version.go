package main

import (
	"fmt"
	"slices"
	"strings"
)

// release is a version as numbers: major, minor, patch, build.
func release(s string) []int {
	v := make([]int, 4)
	_, _ = fmt.Sscanf(s, "v%d.%d.%d", &v[0], &v[1], &v[2])
	if _, b, ok := strings.Cut(s, "+k3s"); ok {
		_, _ = fmt.Sscanf(b, "%d", &v[3])
	}
	return v
}

func newer(a, b string) bool { return slices.Compare(release(a), release(b)) > 0 }

// step refuses to go from one version to another that is older, or further
// than the next minor.
func step(from, to string) error {
	switch {
	case from == "" || from == to:
		return nil
	case newer(from, to):
		return fmt.Errorf("this is %s, and the data is of %s: k3s does not go back (R9)", to, from)
	case release(to)[1] > release(from)[1]+1:
		return fmt.Errorf("this is %s, and the data is of %s: no minor version may be left out (R9)", to, from)
	}
	return nil
}
