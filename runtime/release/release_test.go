package release_test

import (
	"strings"
	"testing"

	"github.com/sealrt/sealrt/runtime/release"
)

func parse(t *testing.T, version string) release.Release {
	t.Helper()
	r, err := release.Parse(version, "v1.34.4")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReleasesAreInOrder(t *testing.T) {
	ordered := []string{
		"v0.9.0", "v1.9.12", "v1.25.3+k3s1", "v1.25.3+k3s2", "v1.25.3+k3s10", "v1.25.4", "v1.34.2+k0s.0", "v1.34.2+k0s.1", "v1.34.10+rke2r1",
		"v1.35.0-rc.1", "v1.35.0", "v2.0.0",
	}
	for i, a := range ordered {
		for j, b := range ordered {
			got, want := parse(t, a).Compare(parse(t, b)), 0
			switch {
			case i < j:
				want = -1
			case i > j:
				want = 1
			}
			if got != want {
				t.Errorf("%s and %s: %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestReleaseIsShownAsItIsWritten(t *testing.T) {
	for _, version := range []string{"v1.25.3+k3s1", "v1.34.2+k0s.0", "v1.34.4", "v1.35.0-rc.1+k3s1"} {
		if got := parse(t, version).String(); got != version {
			t.Errorf("%s is shown as %s", version, got)
		}
	}
	if got := release.Of(33, 13).Built("k3s", 2); got.String() != "v1.33.13+k3s2" || got.Compare(parse(t, "v1.33.13+k3s2")) != 0 {
		t.Errorf("a build is shown as %s", got)
	}
}

func TestSinceALine(t *testing.T) {
	for version, want := range map[string]bool{"v1.30.9": false, "v1.31.0": true, "v1.32.0+k3s1": true, "v2.0.0": true, "v0.40.0": false} {
		if got := parse(t, version).Since(31); got != want {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
	}
}

func TestWhatIsNoReleaseIsRefused(t *testing.T) {
	for _, version := range []string{"", "latest", "1.34.4", "v1", "v1.x.2", "v1.34.2+"} {
		if _, err := release.Parse(version, "v1.34.4"); err == nil || !strings.Contains(err.Error(), "is not like v1.34.4") {
			t.Errorf("%q: %v", version, err)
		}
	}
}

func TestPathOfAnUpgrade(t *testing.T) {
	for _, tc := range []struct{ from, to, want string }{
		{"v1.34.2+k0s.0", "v1.34.2+k0s.0", ""},
		{"v1.34.2+k0s.0", "v1.34.2+k0s.1", ""},
		{"v1.34.2", "v1.35.0", ""},
		{"v1.34.9", "v1.35.0", ""},
		{"v1.34.2", "v1.36.0", "go to v1.35 first"},
		{"v1.34.2", "v2.0.0", "go to v1.35 first"},
		{"v1.34.2", "v1.34.1", "cannot go back to v1.34.1"},
		{"v1.25.3+k3s2", "v1.25.3+k3s1", "cannot go back to v1.25.3+k3s1"},
		{"v1.35.0", "v1.34.9", "cannot go back to v1.34.9"},
	} {
		err := release.CheckPath(parse(t, tc.from), parse(t, tc.to))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("from %s to %s: %v, want %q", tc.from, tc.to, err, tc.want)
		}
	}
}
