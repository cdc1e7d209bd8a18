package builder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sealrt/sealrt/artifact/layer"
)

// changed returns what a command changed in the tree, in order and in one form, whichever way the runner found it out:
// what is gone is named one by one, and what is as it was is left out, directories that were entered and files that
// were copied up or touched included. Times are no part of a layer.
func changed(t *tree, all []layer.Entry) ([]layer.Entry, error) {
	all = explicit(t, all)
	inOrder(all)
	needed := map[string]bool{}
	var kept []layer.Entry
	for _, e := range slices.Backward(all) {
		same, err := unchanged(e, t)
		if err != nil {
			return nil, fmt.Errorf("compare %s with what was there: %w", e.Name, err)
		}
		if needed[e.Name] || !same {
			kept = append(kept, e)
			needed[path.Dir(e.Name)] = true
		}
	}
	slices.Reverse(kept)
	return kept, nil
}

// explicit replaces the marks of opaque directories by the deletion of all that the tree has in them and the entries do
// not.
func explicit(t *tree, all []layer.Entry) []layer.Entry {
	there := map[string]fs.FileMode{}
	var opaque []string
	for _, e := range all {
		if path.Base(e.Name) == layer.OpaqueWhiteout {
			opaque = append(opaque, path.Dir(e.Name))
		} else {
			there[e.Name] = e.Mode
		}
	}
	if len(opaque) == 0 {
		return all
	}
	all = slices.DeleteFunc(slices.Clone(all), func(e layer.Entry) bool { return path.Base(e.Name) == layer.OpaqueWhiteout })
	gone := map[string]bool{}
	for _, dir := range opaque {
		missing(t.node(dir), dir, there, gone)
	}
	for _, name := range keys(gone) {
		if _, ok := there[layer.Whiteout(name).Name]; !ok {
			all = append(all, layer.Whiteout(name))
		}
	}
	return all
}

// missing adds the topmost names to gone that a directory of the tree has and there has not.
func missing(n *node, dir string, there map[string]fs.FileMode, gone map[string]bool) {
	if n == nil {
		return
	}
	for base, child := range n.children {
		name := path.Join(dir, base)
		mode, ok := there[name]
		switch {
		case !ok:
			gone[name] = true
		case mode.IsDir() && child.children != nil:
			missing(child, name, there, gone)
		}
	}
}

// unchanged says whether e leaves the tree as it is.
func unchanged(e layer.Entry, t *tree) (bool, error) {
	dir, base := path.Split(e.Name)
	if name, ok := strings.CutPrefix(base, layer.WhiteoutPrefix); ok {
		return t.node(path.Join(path.Clean(dir), name)) == nil, nil
	}
	n := t.node(e.Name)
	if n == nil || n.Mode != e.Mode || n.UID != e.UID || n.GID != e.GID || n.Linkname != e.Linkname || n.Size != e.Size {
		return false, nil
	}
	if !e.Mode.IsRegular() || e.Size == 0 {
		return true, nil
	}
	return sameContent(*n.Entry, e)
}

// sameContent compares two files of one size.
func sameContent(a, b layer.Entry) (same bool, err error) {
	ra, err := a.Open()
	if err != nil {
		return false, err
	}
	defer ra.Close()
	rb, err := b.Open()
	if err != nil {
		return false, err
	}
	defer rb.Close()
	const size = 128 << 10
	bufA, bufB := make([]byte, size), make([]byte, size)
	for {
		n, errA := io.ReadFull(ra, bufA)
		m, errB := io.ReadFull(rb, bufB)
		if n != m || !bytes.Equal(bufA[:n], bufB[:m]) {
			return false, nil
		}
		switch ended := errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF); {
		case ended:
			return true, nil
		case errA != nil:
			return false, errA
		case errB != nil:
			return false, errB
		}
	}
}
