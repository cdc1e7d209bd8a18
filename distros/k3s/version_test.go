package k3s

import (
	"testing"

	"github.com/sealrt/sealrt/runtime/release"
)

func TestReleasesTellWhatAVersionHas(t *testing.T) {
	for version, want := range map[string][3]bool{ // pins, mirrors for all registries; remembers images; prefer-bundled-bin
		"v1.25.3+k3s1": {false, false, false}, "v1.25.16+k3s4": {false, false, true}, "v1.26.0+k3s1": {false, false, false},
		"v1.26.12+k3s1": {false, false, true}, "v1.26.13+k3s1": {true, false, true}, "v1.27.9+k3s1": {false, false, true}, "v1.27.10+k3s1": {true, false, true},
		"v1.28.5+k3s1": {false, false, true}, "v1.28.6+k3s1": {true, false, true}, "v1.29.0+k3s1": {false, false, true}, "v1.29.1+k3s1": {true, false, true},
		"v1.32.9+k3s1": {true, false, true}, "v1.33.13+k3s1": {true, false, true}, "v1.33.13+k3s2": {true, true, true}, "v1.34.9+k3s1": {true, false, true},
		"v1.34.10+k3s1": {true, true, true}, "v1.35.6+k3s1": {true, false, true}, "v1.35.7+k3s1": {true, true, true}, "v1.36.2+k3s1": {true, false, true},
		"v1.36.3+k3s1": {true, true, true}, "v1.37.0+k3s1": {true, true, true}, "v2.0.0+k3s1": {true, true, true}, "v0.9.0": {false, false, false},
	} {
		v, err := release.Parse(version, like)
		if err != nil {
			t.Fatal(err)
		}
		if got := [3]bool{pins(v), cachesSafely().has(v), later()["prefer-bundled-bin"].has(v)}; got != want {
			t.Errorf("%s: %v, want %v", version, got, want)
		}
		if mirrorsAll(v) != pins(v) {
			t.Errorf("%s: what came with the same releases differs", version)
		}
	}
}

func TestEverySettingOfTheTablesIsKnown(t *testing.T) {
	for _, name := range critical {
		if checkFlags("", settings{name: true}, line(40, 0)) != nil {
			t.Errorf("%s", name)
		}
	}
	for name := range later() {
		if checkFlags("", settings{name: true}, line(40, 0)) != nil {
			t.Errorf("%s", name)
		}
	}
}
