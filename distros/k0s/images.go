package k0s

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/sealrt/sealrt/runtime"
	"github.com/sealrt/sealrt/runtime/registry/mirrors"
)

// Import puts the container images of a cluster image where a worker takes them
// in, when it starts and ten seconds after a file comes
// (docs.k0sproject.io, "Air gapped Installation"). Any file there is read,
// whatever its name, and none is decompressed: it is made beside the directory,
// as an archive that is not compressed, and gets its name when it is whole. It
// stays, since images whose file is gone are pinned no more.
func (Driver) Import(_ *runtime.Cluster, i runtime.Image) []runtime.Step {
	if len(i.Images) == 0 {
		return nil
	}
	return []runtime.Step{{ID: "place the images of " + i.Ref.Familiar(), Do: runtime.Feed{Image: i.Digest, File: imagesFile(i), Into: dataDir}}}
}

// imagesFile is where the container images of a cluster image lie.
func imagesFile(i runtime.Image) string {
	return i.Archive(imagesDir)
}

var _ runtime.Mirrorer = Driver{}

// Mirror points the containerd of k0s at the image service, by a file of
// settings that k0s puts into its containerd's own, whose schema changed with
// v1.36, and by files of registries.
func (Driver) Mirror(c *runtime.Cluster, m runtime.Member, to runtime.Mirror) ([]runtime.Step, error) {
	v, err := releaseOf(c)
	if err != nil {
		return nil, err
	}
	schema := 2
	if v.Since(36) {
		schema = 3
	}
	return runtime.MirrorSteps(c, m, func(existing string) ([]mirrors.File, error) { return mirrors.K0s(to, schema, existing) })
}

// dropIns are settings of containerd that the image brings: k0s puts them into
// its containerd's own, and starts that again when they change
// (docs.k0sproject.io, "Runtime").
func dropIns(c *runtime.Cluster, m runtime.Member) ([]runtime.Step, error) {
	const dir = "etc/k0s/containerd.d"
	if c.Image().Files == nil {
		return nil, nil
	}
	entries, err := fs.ReadDir(c.Image().Files, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var steps []runtime.Step
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), runtime.TemplateSuffix)
		if e.IsDir() || path.Ext(name) != ".toml" {
			continue
		}
		step, err := c.HostFile(path.Join(dir, e.Name()), path.Join("/", dir, name), m)
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}
