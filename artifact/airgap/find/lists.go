package find

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact/airgap"
)

// lists are the patterns, in the language of path.Match, of the files in the
// tree of a cluster image that are image lists. Any *.imagelist below manifests/
// is one too, and so is any file in images/shim/, where sealos has its lists.
var lists = [...]string{ //nolint:gochecknoglobals // a table that nothing changes
	"manifests/imageList",
	"manifests/ImageList",
	"manifests/k3s-images.txt",
	"k3s-images.txt",
}

// shim is where sealos build looks for image lists, whatever they are called.
const shim = "images/shim"

// maxList is the largest image list that is read, in bytes.
const maxList = 16 << 20

// inLists returns the images that the lists name, in the order of file name and
// line. The error names every bad line of every list.
func inLists(ctx context.Context, tree fs.FS, skip *ignored, o Options) ([]airgap.Image, error) {
	names, err := listNames(tree)
	if err != nil {
		return nil, err
	}
	misplaced(tree, o)
	var images []airgap.Image
	var bad []error
	for _, name := range slices.DeleteFunc(names, skip.file) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		more, err := readList(tree, name, skip)
		if err != nil {
			bad = append(bad, err)
		}
		images = append(images, more...)
	}
	return images, errors.Join(bad...)
}

// IsList reports whether a file of a tree is an image list that Images reads.
func IsList(name string) bool {
	return slices.Contains(lists[:], name) || strings.HasPrefix(name, "manifests/") && path.Ext(name) == ".imagelist" ||
		path.Dir(name) == shim && !strings.HasPrefix(path.Base(name), ".")
}

// listNames returns the names of the lists, in order.
func listNames(tree fs.FS) ([]string, error) {
	var names []string
	for _, name := range lists {
		if _, err := fs.Stat(tree, name); err == nil {
			names = append(names, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look for image lists: %w", err)
		}
	}
	for _, dir := range []string{"manifests", shim} {
		err := fs.WalkDir(tree, dir, func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) && name == dir {
				return nil
			}
			if err == nil && !d.IsDir() && IsList(name) {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("look for image lists: %w", err)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil // a file system that ignores case has one file of two names
}

// misplaced tells of files that look like lists and are none here.
func misplaced(tree fs.FS, o Options) {
	for _, dir := range []string{".", "manifests"} {
		found, err := fs.ReadDir(tree, dir)
		if err != nil {
			continue // said by who reads it
		}
		for _, d := range found {
			name := path.Join(dir, d.Name())
			switch lower := strings.ToLower(d.Name()); {
			case d.IsDir() || slices.Contains(lists[:], name):
			case lower == "imagelist":
				note(o, "%s is not read: the list of images is manifests/imageList", name)
			case strings.HasPrefix(lower, "imagelistwithauth."):
				note(o, "%s is not read: name its images in manifests/imageList, and log in to its registries with sealrt login", name)
			}
		}
	}
}

// readList reads one list of the tree, without the lines that are ignored.
func readList(tree fs.FS, name string, skip *ignored) ([]airgap.Image, error) {
	text, err := readSmall(tree, name, maxList)
	if err != nil {
		return nil, err
	}
	var kept bytes.Buffer
	for line := range bytes.Lines(text) {
		words := strings.Fields(uncommented(strings.TrimPrefix(string(line), "\ufeff")))
		if slices.ContainsFunc(words, func(w string) bool { return !strings.HasPrefix(w, "-") && skip.image(w) }) {
			line = []byte("\n") // the lines after it keep their numbers
		}
		kept.Write(line)
	}
	return airgap.ParseList(name, &kept)
}
