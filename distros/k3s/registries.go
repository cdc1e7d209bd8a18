package k3s

import (
	"fmt"
	"maps"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/docker"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
	"github.com/sealrt/sealrt/runtime/release"
)

// noDefaultEndpoint is the setting that keeps k3s from asking a registry itself
// where mirrors have no answer.
const noDefaultEndpoint = "disable-default-registry-endpoint"

// mirrorsAll reports whether k3s takes mirrors for registries that are not
// named, and can be told not to ask registries themselves
// (https://docs.k3s.io/installation/private-registry).
func mirrorsAll(v release.Release) bool { return ofJanuary2024().has(v) }

// ofJanuary2024 are the releases that brought the embedded mirror, mirrors for all
// registries, the setting above, and images that keep what was imported
// (https://github.com/k3s-io/k3s/issues/8781).
func ofJanuary2024() releases { return releases{line(26, 13), line(27, 10), line(28, 6), line(29, 1)} }

// pullHere has k3s ask nobody but the mirror, where that is wanted and the
// version can be told so.
func pullHere(c *runtime.Cluster, s settings) error {
	if c.Registry.Script || docker.Chosen(c) || s[noDefaultEndpoint] != nil {
		return nil
	}
	v, err := releaseOf(c)
	if err != nil {
		return err
	}
	to, err := c.Mirror()
	if err != nil {
		return err
	}
	if mirrorsAll(v) && !to.Upstream {
		s[noDefaultEndpoint] = true
	}
	return nil
}

var _ runtime.Mirrorer = Driver{}

// Mirror writes the file of registries, which k3s reads when it starts: the
// image's own, with the mirror before what it says.
func (Driver) Mirror(c *runtime.Cluster, m runtime.Member, to runtime.Mirror) ([]runtime.Step, error) {
	if docker.Chosen(c) {
		return nil, nil // docker pulls, and was told in its daemon.json
	}
	f, err := registries(c, m, to)
	if err != nil {
		return nil, err
	}
	return runtime.FileSteps([]mirrors.File{f}), nil
}

func registries(c *runtime.Cluster, m runtime.Member, to runtime.Mirror) (mirrors.File, error) {
	v, err := releaseOf(c)
	if err != nil {
		return mirrors.File{}, err
	}
	_, existing, err := c.OptionalFile(m, mirrors.ImageRegistries)
	if err != nil {
		return mirrors.File{}, err
	}
	if to.Others = to.Others && mirrorsAll(v); to.Others {
		if to.Registries, err = named(existing); err != nil {
			return mirrors.File{}, fmt.Errorf("%s: %s: %w", c.Image().Ref.Familiar(), mirrors.ImageRegistries, err)
		}
	}
	return mirrors.K3s(to, string(existing))
}

// named returns the registries that a file has mirrors for. They have to be
// named again where all others are mirrored, since the mirror of all others is
// not for them. All else needs no name, so that an app whose images are of
// another registry restarts nothing.
func named(existing []byte) ([]string, error) {
	var f struct {
		Mirrors map[string]any `json:"mirrors"`
	}
	if err := yaml.Unmarshal(existing, &f); err != nil {
		return nil, err
	}
	delete(f.Mirrors, "*")
	return slices.Sorted(maps.Keys(f.Mirrors)), nil
}

// mirrored is the text of the file of registries, "" where the image has a way of
// its own.
func mirrored(c *runtime.Cluster, m runtime.Member) (string, error) {
	if c.Registry.Script || docker.Chosen(c) {
		return "", nil
	}
	to, err := c.Mirror()
	if err != nil {
		return "", err
	}
	f, err := registries(c, m, to)
	return f.Data, err
}
