package find

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// maxManifest is the largest file of objects that is looked at, in bytes.
const maxManifest = 64 << 20

// inManifests finds the images of the objects and kustomizations in manifests/,
// and of the YAML files at the root of the tree, which are applied like those.
func inManifests(ctx context.Context, tree fs.FS, skip *ignored, o Options) ([]airgap.Image, error) {
	names, err := manifests(tree, o)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, skip.file)
	groups := group(tree, names)
	var images []airgap.Image
	var bad []error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var found []airgap.Image
		var err error
		switch k := groups.at(name); {
		case k != nil:
			found, err = k.images(skip, o)
		case groups.covers(name):
		case strings.HasSuffix(name, templateSuffix):
			found, err = inTemplate(tree, name, skip, o)
		default:
			found, err = inManifest(tree, name, skip, o)
		}
		images = append(images, found...)
		if err != nil {
			bad = append(bad, err)
		}
	}
	return images, errors.Join(bad...)
}

// manifests returns the names of the files that hold objects, kustomizations
// and their templates, in order.
func manifests(tree fs.FS, o Options) ([]string, error) {
	top, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, fmt.Errorf("look for manifests: %w", err)
	}
	var names []string
	for _, d := range top {
		if ext := path.Ext(d.Name()); !d.IsDir() && (ext == ".yaml" || ext == ".yml") {
			names = append(names, d.Name())
		}
	}
	err = fs.WalkDir(tree, "manifests", func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == "manifests" {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			if fi, err := fs.Stat(tree, name); err == nil && fi.IsDir() {
				note(o, "%s is a link to a directory, which is not followed: put the files here", name)
				return nil
			}
		}
		if holdsObjects(name) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for manifests: %w", err)
	}
	slices.Sort(names)
	return names, nil
}

// holdsObjects reports whether a file is one of objects by its name.
func holdsObjects(name string) bool {
	switch path.Ext(strings.TrimSuffix(name, templateSuffix)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return path.Base(name) == "Kustomization"
}

// inManifest finds the images of one file of objects.
func inManifest(tree fs.FS, name string, skip *ignored, o Options) ([]airgap.Image, error) {
	text, err := readSmall(tree, name, maxManifest)
	if err != nil {
		return nil, err
	}
	return inObjects(text, lineOf(name), skip, o)
}

// lineOf returns what makes file:line of a line.
func lineOf(name string) func(int) string {
	return func(line int) string { return fmt.Sprintf("%s:%d", name, line) }
}

// readSmall reads a file of the tree of at most limit bytes.
func readSmall(tree fs.FS, name string, limit int64) ([]byte, error) {
	f, err := tree.Open(name)
	if err != nil {
		return nil, fmt.Errorf("look for images: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("look for images: %w", err)
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s: more than %d bytes, which are not looked at: split it, or name the file in .imageignore and its images in manifests/imageList", name, limit)
	}
	return text, nil
}

// note tells the user something.
func note(o Options, format string, args ...any) {
	if o.Note != nil {
		o.Note(fmt.Sprintf(format, args...))
	}
}
