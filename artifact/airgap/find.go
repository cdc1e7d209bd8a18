package airgap

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// lists are the patterns, in the language of path.Match, of the files in the
// tree of a cluster image that are image lists.
var lists = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"manifests/imageList",
	"manifests/ImageList",
	"manifests/*.imagelist",
	"manifests/k3s-images.txt",
	"k3s-images.txt",
}

// Find returns the images that the lists in the tree of a cluster image name,
// in the order of file name and line, and nothing for a tree without lists. The
// error names every bad line of every list.
func Find(tree fs.FS) ([]Image, error) {
	var names []string
	for _, pattern := range lists {
		found, err := fs.Glob(tree, pattern)
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", pattern, err)
		}
		names = append(names, found...)
	}
	slices.Sort(names)
	var images []Image
	var bad []error
	for _, name := range names {
		more, err := readList(tree, name)
		if err != nil {
			bad = append(bad, err)
		}
		images = append(images, more...)
	}
	if len(bad) > 0 {
		return nil, errors.Join(bad...)
	}
	return images, nil
}

// readList reads one list of the tree.
func readList(tree fs.FS, name string) ([]Image, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("image list: %w", err)
	}
	defer f.Close()
	return ParseList(name, f)
}
