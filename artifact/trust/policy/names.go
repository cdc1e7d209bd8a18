package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
)

// checkPatterns refuses patterns that fit nothing.
func checkPatterns(where string, patterns []string) error {
	for _, p := range patterns {
		registry, _, _ := strings.Cut(p, "/")
		if _, err := path.Match(p, ""); err != nil || strings.HasSuffix(p, "/") {
			return fmt.Errorf("%s %q: no pattern: write a repository like registry.example.com/team, where * stands for any part of a name between two slashes", where, p)
		}
		if !strings.ContainsAny(registry, ".:*") && registry != "localhost" {
			return fmt.Errorf("%s %q: begin with the registry, like docker.io/library/nginx", where, p)
		}
	}
	return nil
}

// allowed reports whether a repository fits one of the patterns, or is below one.
// No patterns allow all.
func allowed(patterns []string, ref artifact.Reference) bool {
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool { return fits(p, ref.Name()) })
}

// fits compares name by name.
func fits(pattern, name string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(want) > len(have) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// moving are tags that mean another image tomorrow.
//
//nolint:gochecknoglobals // a table
var moving = []string{
	"latest", "stable", "unstable", "edge", "nightly", "weekly", "daily", "rolling", "mainline", "main", "master", "head", "trunk",
	"dev", "devel", "develop", "development", "snapshot", "canary", "current", "next", "lts", "testing", "test", "staging", "prod", "production",
}

// isMoving reports whether a tag is known to move: a word such as latest, or a
// number without a dot, such as v1.
func isMoving(tag string) bool {
	digits := strings.TrimPrefix(tag, "v")
	return slices.Contains(moving, strings.ToLower(tag)) || len(digits) < 4 && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// floats says why a name may be another image tomorrow; "" if it may not.
func (t Tags) floats(ref artifact.Reference) string {
	_, pinned := ref.Digest()
	switch {
	case t == AnyTag || pinned:
		return ""
	case t == Digest:
		return "it is named without a digest"
	case isMoving(ref.Tag()):
		return "the tag " + ref.Tag() + " moves"
	}
	return ""
}
