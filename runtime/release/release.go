// Package release reads the versions that distributions of Kubernetes give
// themselves, and orders them: v1.34.4, v1.25.3+k3s1, v1.34.2+k0s.0.
package release

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// Release is a version of Kubernetes and, of a distribution that has such, the
// number of its build. Builds are in order, which those of Semantic Versioning
// are not (https://semver.org, 10).
type Release struct {
	number *semver.Version
	build  int
}

// ending is the number of a build: +k3s2, +k0s.0 and +rke2r1 end with it.
var ending = regexp.MustCompile(`[0-9]+$`)

// Parse reads a version. A patch and a build that are not said are 0. The error
// shows what one is like.
func Parse(version, like string) (Release, error) {
	number, err := semver.NewVersion(version)
	if err != nil || !strings.HasPrefix(version, "v") || !strings.Contains(version, ".") {
		return Release{}, fmt.Errorf("version %q of the image is not like %s: set the label io.sealrt.distro.version", version, like)
	}
	r := Release{number: number}
	if digits := ending.FindString(number.Metadata()); digits != "" {
		if r.build, err = strconv.Atoi(digits); err != nil {
			return Release{}, fmt.Errorf("version %q of the image: build: %w", version, err)
		}
	}
	return r, nil
}

// Of is the first build of a patch release of a line of version 1.
func Of(minor, patch uint64) Release {
	return Release{number: semver.New(1, minor, patch, "", "")}
}

// Built is another build of a release: metadata is what stands behind the + with
// the number of the build behind it, as k3s for k3s2.
func (r Release) Built(metadata string, build int) Release {
	with, err := r.number.SetMetadata(metadata + strconv.Itoa(build))
	if err != nil {
		return r // metadata is of letters, digits, hyphens and dots
	}
	return Release{number: &with, build: build}
}

// String is the version, with the parts that were not said.
func (r Release) String() string { return "v" + r.number.String() }

// Compare is less than 0 where a release is older than another one, and more
// where it is newer.
func (r Release) Compare(o Release) int {
	return cmp.Or(r.number.Compare(o.number), cmp.Compare(r.build, o.build))
}

// SameLine reports whether two releases are of one minor version.
func (r Release) SameLine(o Release) bool {
	return r.number.Major() == o.number.Major() && r.number.Minor() == o.number.Minor()
}

// Since reports whether a release is of this line of version 1, or of a later one.
func (r Release) Since(minor uint64) bool {
	return r.number.Major() > 1 || r.number.Major() == 1 && r.number.Minor() >= minor
}

// CheckOldest refuses a version that cannot be read, and one before a line of
// version 1.
func CheckOldest(distribution, version, like string, oldest uint64) error {
	v, err := Parse(version, like)
	if err != nil || v.Since(oldest) {
		return err
	}
	return fmt.Errorf("%s %s is too old: this version of sealrt needs v1.%d or newer", distribution, v, oldest)
}

// CheckPath says why a cluster cannot go from one release to another: never back,
// and no minor version is left out
// (https://kubernetes.io/releases/version-skew-policy/).
func CheckPath(from, to Release) error {
	switch {
	case to.Compare(from) < 0:
		return fmt.Errorf("the cluster runs %s, and cannot go back to %s: `sealrt rollback` goes back to what was before the last upgrade", from, to)
	case to.number.Major() != from.number.Major() || to.number.Minor() > from.number.Minor()+1:
		return fmt.Errorf("the cluster runs %s: go to v%d.%d first, one minor version at a time", from, from.number.Major(), from.number.Minor()+1)
	}
	return nil
}
