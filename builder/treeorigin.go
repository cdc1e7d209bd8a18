package builder

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/sealrt/sealrt/artifact/layer"
)

// treeOrigin is the tree of an image as an origin of COPY --from.
type treeOrigin struct {
	tree *tree
	name string // of the stage or image, for people
}

// names implements origin.
func (o treeOrigin) names(dir string) ([]string, error) {
	n := o.tree.node(o.tree.resolve(dir))
	if n == nil {
		return nil, fmt.Errorf("%s: %w in %s", dir, fs.ErrNotExist, o.name)
	}
	return keys(n.children), nil
}

// members implements origin.
func (o treeOrigin) members(dir string) ([]member, error) {
	names, err := o.names(dir)
	if err != nil {
		return nil, err
	}
	in := o.tree.node(o.tree.resolve(dir)).children
	all := make([]member, len(names))
	for i, name := range names {
		all[i] = member{FileInfo: treeInfo{in[name], name}}
	}
	return all, nil
}

// stat implements origin.
func (o treeOrigin) stat(name string) (fs.FileInfo, error) {
	return o.info(o.tree.resolve(name))
}

func (o treeOrigin) info(name string) (fs.FileInfo, error) {
	n := o.tree.node(name)
	if n == nil {
		return nil, fmt.Errorf("%s: %w in %s", name, fs.ErrNotExist, o.name)
	}
	return treeInfo{n, path.Base(name)}, nil
}

// ignored implements origin: ignore files are about the context.
func (treeOrigin) ignored(string) (bool, error) { return false, nil }

// hidesAll implements origin.
func (treeOrigin) hidesAll() bool { return true }

// entry implements origin.
func (o treeOrigin) entry(_, as string, info fs.FileInfo) (layer.Entry, error) {
	i, ok := info.(treeInfo)
	if !ok {
		return layer.Entry{}, errors.New("builder: a file of another origin")
	}
	e := *i.n.Entry
	e.Name = as
	return e, nil
}

// where implements origin.
func (o treeOrigin) where() string { return o.name }

// missing implements origin.
func (o treeOrigin) missing(name string) error {
	dir := path.Dir(name)
	if n := o.tree.node(join(o.tree.resolve(dir), path.Base(name))); n != nil && n.Mode&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s is a link to %s, which is not in %s", name, n.Linkname, o.name)
	}
	names, _ := o.names(dir) // no directory, no suggestion
	return fmt.Errorf("%s is not in %s%s", name, o.name, didYouMean(path.Base(name), names))
}
