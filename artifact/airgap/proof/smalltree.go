package proof

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing/fstest"

	"github.com/sealrt/sealrt/artifact/layer"
)

// maxTree is the number of bytes of a cluster image's own files that are kept:
// of those that say which container images it needs.
const maxTree = 32 << 20

// smallTree is the part of a cluster image's tree that says which container
// images it needs, while its layers are read.
type smallTree struct {
	layers []treeLayer
	size   atomic.Int64
}

// treeLayer is what one layer has of it. What it hides is in the layers below
// only (OCI image-spec, layer.md, "Whiteouts").
type treeLayer struct {
	files fstest.MapFS
	gone  []string
}

func newSmallTree(layers int) *smallTree {
	t := &smallTree{layers: make([]treeLayer, layers)}
	for i := range t.layers {
		t.layers[i].files = fstest.MapFS{}
	}
	return t
}

// saysImages reports whether a file may say which images a tree needs.
func saysImages(name string) bool {
	dir, _, inside := strings.Cut(name, "/")
	switch {
	case path.Base(name) == ".imageignore":
		return true
	case inside:
		return dir == "manifests" || dir == "charts"
	}
	ext := path.Ext(name)
	return ext == ".txt" || ext == ".yaml" || ext == ".yml"
}

// add takes in an entry of layer n with a clean name.
func (t *smallTree) add(n int, hdr *tar.Header, content io.Reader) error {
	l := &t.layers[n]
	dir, base := path.Split(hdr.Name)
	if base == layer.OpaqueWhiteout {
		return t.hide(n, path.Clean(dir), "/")
	}
	if gone, ok := strings.CutPrefix(base, layer.WhiteoutPrefix); ok {
		return t.hide(n, path.Join(dir, gone), "")
	}
	if !saysImages(hdr.Name) && !saysImages(hdr.Name+"/x") {
		return nil
	}
	if err := t.take(hdr.Name, hdr.Size); err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeReg:
		data, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		l.files[hdr.Name] = &fstest.MapFile{Data: data, Mode: 0o644}
	case tar.TypeSymlink:
		l.files[hdr.Name] = &fstest.MapFile{Data: []byte(hdr.Linkname), Mode: fs.ModeSymlink | 0o777}
	case tar.TypeLink:
		if f, ok := l.files[path.Clean(hdr.Linkname)]; ok {
			l.files[hdr.Name] = f
		}
	}
	return nil
}

// hide notes that the layers below n show no more of a path, or with a slash
// as mark of what is in it.
func (t *smallTree) hide(n int, name, mark string) error {
	if name != "." && !saysImages(name) && !saysImages(name+"/x") {
		return nil
	}
	t.layers[n].gone = append(t.layers[n].gone, name+mark)
	return t.take(name, 0)
}

// take counts what is kept of a file of size bytes.
func (t *smallTree) take(name string, size int64) error {
	const beside = 200 // bytes of memory for any file
	if t.size.Add(size+int64(len(name))+beside) > maxTree {
		return fmt.Errorf("%s: the files in manifests/ and charts/ are more than %d bytes together", name, maxTree)
	}
	return nil
}

// merge lays the layers one over the other.
func (t *smallTree) merge() fs.FS {
	tree := fstest.MapFS{}
	for _, l := range t.layers {
		maps.DeleteFunc(tree, func(name string, _ *fstest.MapFile) bool {
			return slices.ContainsFunc(l.gone, func(gone string) bool { return hides(gone, name) })
		})
		for name, f := range l.files {
			for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
				delete(tree, dir) // a file or link that is a directory now
			}
			tree[name] = f
		}
	}
	return tree
}

// hides reports whether what gone says hides a file: the file, what it lies in,
// or with a slash at the end what lies in that alone.
func hides(gone, name string) bool {
	dir, opaque := strings.CutSuffix(gone, "/")
	return dir == "." || strings.HasPrefix(name, dir+"/") || !opaque && name == dir
}
