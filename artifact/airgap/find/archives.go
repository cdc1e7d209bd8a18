package find

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact"
)

// IsArchive reports whether a file of a tree is a tarball of container images by
// where it lies and what it is called.
func IsArchive(name string) bool {
	if !strings.HasPrefix(name, "images/") || strings.HasPrefix(name, "images/blobs/") {
		return false
	}
	base := path.Base(name)
	return slices.ContainsFunc([]string{".tar", ".tar.gz", ".tgz", ".tar.zst"}, func(end string) bool {
		return strings.HasSuffix(base, end) && base != end
	})
}

// Archives returns the tarballs of container images in images/, sorted, without
// those that .imageignore names.
func Archives(tree fs.FS, o Options) ([]string, error) {
	skip, err := readIgnore(tree, o.Ignore)
	if err != nil {
		return nil, err
	}
	var names []string
	err = fs.WalkDir(tree, "images", func(name string, e fs.DirEntry, err error) error {
		switch {
		case name == "images" && errors.Is(err, fs.ErrNotExist), name == "images" && err == nil && !e.IsDir():
			return fs.SkipAll
		case err != nil:
			return err
		case e.IsDir() && (name == "images/blobs" || skip.file(name)):
			return fs.SkipDir
		case e.Type().IsRegular() && IsArchive(name) && !skip.file(name):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for archives: %w", err)
	}
	return names, nil
}

// Ignored returns what tells whether .imageignore names an image. Where the file
// cannot be read it names none.
func Ignored(tree fs.FS, o Options) (func(artifact.Reference) bool, error) {
	skip, err := readIgnore(tree, o.Ignore)
	if err != nil {
		return func(artifact.Reference) bool { return false }, err
	}
	return func(ref artifact.Reference) bool { return skip.image(ref.String()) }, nil
}
