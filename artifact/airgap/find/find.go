// Package find tells which container images the tree of a cluster image needs:
// those of its image lists, of the Kubernetes objects in manifests/, and of the
// charts in charts/.
package find

import (
	"context"
	"errors"
	"io/fs"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// Options says how to look. The zero value is usable.
type Options struct {
	// KubeVersion is the version of Kubernetes that charts are rendered for, like
	// v1.25.3; "" is that of the Helm library.
	KubeVersion string
	// Env are the defaults of templates: config.Env of the cluster image.
	Env map[string]string
	// EnvImages asks for what looks like an image in the environment variables
	// and arguments of containers too, where operators have those that they start.
	EnvImages bool
	// Ignore are more lines for .imageignore, those of the build context.
	Ignore []byte
	// Note is told what the user should know and what is no mistake; may be nil.
	Note func(text string)
}

// Images returns the container images that the tree of a cluster image asks for,
// in the order of file name and line, each as often as it is asked for, and
// nothing for a tree that names none. The error names every place that cannot be
// read, as file:line.
func Images(ctx context.Context, tree fs.FS, o Options) ([]airgap.Image, error) {
	ignore, err := readIgnore(tree, o.Ignore)
	if err != nil {
		return nil, err
	}
	var images []airgap.Image
	var bad []error
	for _, search := range []func(context.Context, fs.FS, *ignored, Options) ([]airgap.Image, error){
		inLists, inManifests, inCharts,
	} {
		found, err := search(ctx, tree, ignore, o)
		if err != nil {
			bad = append(bad, err)
		}
		images = append(images, found...)
	}
	if o.Note != nil && len(bad) == 0 {
		ignore.unused(o.Note)
	}
	return images, errors.Join(bad...)
}
