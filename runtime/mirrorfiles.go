package runtime

import (
	"fmt"

	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// MirrorSteps write the files that point a host's container runtime at the image
// service, beside what the image's own file of registries says.
func MirrorSteps(c *Cluster, m Member, files func(existing string) ([]mirrors.File, error)) ([]Step, error) {
	_, existing, err := c.OptionalFile(m, mirrors.ImageRegistries)
	if err != nil {
		return nil, err
	}
	all, err := files(string(existing))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Image().Ref.Familiar(), err)
	}
	return FileSteps(all), nil
}
