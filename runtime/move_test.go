package runtime_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/runtime"
)

func TestClusterMovesOnWithinItsDistribution(t *testing.T) {
	image := func(distro, version string) runtime.Image {
		return runtime.Image{Kind: artifact.Kind{Type: artifact.TypeRootfs, Distro: distro, Version: version}}
	}
	c := &runtime.Cluster{Name: "c1", Images: []runtime.Image{image("fake", "v1.34.2+k3s1")}}
	for _, tc := range []struct {
		to      runtime.Image
		further error
		want    string
	}{
		{image("fake", "v1.34.2+k3s2"), nil, ""},
		{image("fake", "v1.35.0+k3s1"), errors.New("its networks differ"), "its networks differ"},
		{image("k0s", "v1.34.2+k0s.0"), nil, `the distribution "k0s", the cluster runs fake`},
		{image("fake", "v1.34.1+k3s1"), nil, "cannot go back to v1.34.1+k3s1"},
		{image("fake", "v1.36.0+k3s1"), nil, "go to v1.35 first"},
		{image("fake", "latest"), nil, "is not like v1.2.3"},
	} {
		var was, is string
		err := runtime.CheckMove(fakeDriver{}, c, tc.to, "v1.2.3", func(c, next *runtime.Cluster) error {
			was, is = c.Image().Kind.Version, next.Image().Kind.Version
			return tc.further
		})
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("to %s: %v, want %q", tc.to.Kind.Version, err, tc.want)
		}
		if (err == nil || tc.further != nil) && (was != "v1.34.2+k3s1" || is != tc.to.Kind.Version) {
			t.Errorf("to %s: asked about %q and %q", tc.to.Kind.Version, was, is)
		}
	}
}
