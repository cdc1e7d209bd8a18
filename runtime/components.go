package runtime

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/gobuild"
	"github.com/sealrt/sealrt/artifact/layer"
)

// Composed is a driver that knows of which parts its distribution is made.
type Composed interface {
	// Components are the parts, in the order that they are told in.
	Components() Components
}

// Components are the parts of a distribution, and the program of its images that
// most of them are in.
type Components struct {
	Program string // path in the tree
	Parts   []Component
}

// Component is a part of a distribution, and what in an image tells its version:
// the first of these that is there.
type Component struct {
	Name string
	// Modules are Go modules that the program is built with.
	Modules []string
	// Image is the last part of the name of a container image, whose tag tells.
	Image string
	// Driver is a module that has the part inside, and another version than it.
	Driver string
}

// Unknown is the version of a part of which nothing in an image tells.
const Unknown = "unknown"

// ComponentVersion is the version of a part as an image tells it.
type ComponentVersion struct {
	Name    string `json:"name"`
	Version string `json:"version"`        // Unknown where nothing tells
	From    string `json:"from,omitempty"` // what tells it
}

// Versions reads the versions of all parts out of an image; images are the names
// of the container images inside. Layers are read, the highest first, until the
// program was found, and nothing is unpacked. A program that cannot be read is an
// error, with the versions that are known without it.
func (c Components) Versions(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest, config *v1.ConfigFile, images []string) ([]ComponentVersion, error) {
	built, err := c.built(ctx, src, ref, m, config)
	if err != nil {
		err = fmt.Errorf("read how %s of %s was built: %w", c.Program, ref.Familiar(), err)
	}
	out := make([]ComponentVersion, 0, len(c.Parts))
	for _, p := range c.Parts {
		out = append(out, p.version(c.Program, built, images))
	}
	return out, err
}

func (p Component) version(program string, built *debug.BuildInfo, images []string) ComponentVersion {
	v := ComponentVersion{Name: p.Name, Version: Unknown}
	if built != nil {
		for _, module := range p.Modules {
			if version, ok := gobuild.Version(built, module); ok {
				v.Version, v.From = version, "module "+module+" of "+program
				return v
			}
		}
	}
	for _, name := range images {
		repository, tag, ok := cutTag(name)
		if ok && p.Image != "" && strings.HasSuffix("/"+repository, "/"+p.Image) {
			v.Version, v.From = tag, "image "+name
			return v
		}
	}
	if built != nil {
		if version, ok := gobuild.Version(built, p.Driver); ok {
			v.From = "inside of module " + p.Driver + " " + version + " of " + program
		}
	}
	return v
}

// cutTag returns a name without its tag and digest, and the tag.
func cutTag(name string) (repository, tag string, ok bool) {
	name, _, _ = strings.Cut(name, "@")
	i := strings.LastIndexByte(name, ':')
	if i < 0 || strings.Contains(name[i:], "/") {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// built reads how the program was built; nil when there is none, or when it does
// not tell. Of several programs inside it counts the one with the most modules.
func (c Components) built(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest, config *v1.ConfigFile) (*debug.BuildInfo, error) {
	for i, l := range slices.Backward(m.Layers) {
		if PacksImages(config, i) {
			continue
		}
		var best *debug.BuildInfo
		there := false
		err := c.inLayer(ctx, src, ref, l, func(content io.Reader) error {
			there = true
			return gobuild.Scan(ctx, content, func(info *debug.BuildInfo) bool {
				if best == nil || len(info.Deps) > len(best.Deps) {
					best = info
				}
				return !c.enough(best)
			})
		})
		if err != nil || there {
			return best, err
		}
	}
	return nil, nil
}

// enough reports whether a program tells all that a program can.
func (c Components) enough(info *debug.BuildInfo) bool {
	for _, p := range c.Parts {
		has := func(module string) bool { _, ok := gobuild.Version(info, module); return ok }
		if len(p.Modules) > 0 && !slices.ContainsFunc(p.Modules, has) {
			return false
		}
	}
	return true
}

// inLayer calls read with the program, if the layer has it.
func (c Components) inLayer(ctx context.Context, src artifact.Source, ref artifact.Reference, l v1.Descriptor, read func(io.Reader) error) error {
	if artifact.IsForeign(l) {
		return nil
	}
	blob, err := src.Open(ctx, ref, l, 0)
	if err != nil {
		return err
	}
	err = layer.Walk(ctx, blob, func(hdr *tar.Header, content io.Reader) error {
		if hdr.Name != c.Program || hdr.Typeflag != tar.TypeReg {
			return nil
		}
		if err := read(content); err != nil {
			return err
		}
		return fs.SkipAll
	})
	return errors.Join(err, blob.Close())
}
