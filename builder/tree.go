package builder

import (
	"io/fs"
	"path"
	"strings"

	"github.com/sealrt/sealrt/artifact/layer"
)

// tree is what the layers so far add up to: names, modes and ways to read, no content.
type tree struct{ root *node }

// node is one entry of a tree. Directories have children, perhaps none.
type node struct {
	*layer.Entry // which other trees and the layer may have too: nobody changes it
	children     map[string]*node
}

func newTree() *tree {
	return &tree{root: newDir(".")}
}

func newDir(name string) *node {
	return &node{Entry: &layer.Entry{Name: name, Mode: fs.ModeDir | 0o755}, children: map[string]*node{}}
}

// apply puts the entries of a layer over the tree. What the layer deletes goes first, as it means the layers below.
func (t *tree) apply(entries []layer.Entry) {
	for _, e := range entries {
		if !isWhiteout(e.Name) {
			continue
		}
		dir, base := path.Split(e.Name)
		parent := t.node(path.Clean(dir))
		switch {
		case parent == nil || parent.children == nil:
		case base == layer.OpaqueWhiteout:
			parent.children = map[string]*node{}
		default:
			delete(parent.children, strings.TrimPrefix(base, layer.WhiteoutPrefix))
		}
	}
	nodes := make([]node, len(entries))
	var at *node // the directory that holds the entry before
	in := ""
	for i := range entries {
		e := &entries[i]
		if isWhiteout(e.Name) {
			continue
		}
		dir, base := splitName(e.Name)
		if at == nil || dir != in {
			at, in = t.dir(dir), dir
		}
		nodes[i].Entry = e
		at.put(base, &nodes[i])
	}
}

// clone returns a tree that can be changed without changing t.
func (t *tree) clone() *tree { return &tree{root: t.root.clone()} }

func (n *node) clone() *node {
	c := &node{Entry: n.Entry}
	if n.children != nil {
		c.children = make(map[string]*node, len(n.children))
	}
	for name, child := range n.children {
		c.children[name] = child.clone()
	}
	return c
}

func isWhiteout(name string) bool {
	_, base := splitName(name)
	return strings.HasPrefix(base, layer.WhiteoutPrefix)
}

// splitName splits a clean relative path; the directory of names at the root is ".".
func splitName(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

// dir returns the directory name, which is made with those above it when there is none.
func (t *tree) dir(name string) *node {
	at := t.root
	if name == "." {
		return at
	}
	for i := 0; i < len(name); i++ {
		part, _, _ := strings.Cut(name[i:], "/")
		i += len(part)
		next := at.children[part]
		if next == nil || next.children == nil {
			next = newDir(name[:i])
			at.children[part] = next
		}
		at = next
	}
	return at
}

// put adds one entry to the directory n. A directory keeps what is in it.
func (n *node) put(base string, fresh *node) {
	if fresh.Mode.IsDir() {
		if old := n.children[base]; old != nil && old.children != nil {
			fresh.children = old.children
		} else {
			fresh.children = map[string]*node{}
		}
	}
	n.children[base] = fresh
}

// node returns what lies at name, without following links; nil when there is nothing.
func (t *tree) node(name string) *node {
	at := t.root
	if name == "." {
		return at
	}
	for more := true; more; {
		var part string
		part, name, more = strings.Cut(name, "/")
		if at = at.children[part]; at == nil {
			return nil
		}
	}
	return at
}

func (t *tree) isDir(name string) bool {
	n := t.node(name)
	return n != nil && n.children != nil
}

// directory returns the entry of the directory name: as it is, or a new one.
func (t *tree) directory(name string) layer.Entry {
	if n := t.node(name); n != nil && n.children != nil {
		return *n.Entry
	}
	return layer.Entry{Name: name, Mode: fs.ModeDir | 0o755}
}

// maxLinks bounds the symbolic links in one path, as Linux does.
const maxLinks = 40

// resolve replaces the symbolic links in name by what they lead to within the tree. What is not there stays as it is
// written.
func (t *tree) resolve(name string) string {
	done, rest := ".", name
	for links := 0; rest != "" && rest != "."; {
		part, more, _ := strings.Cut(rest, "/")
		if part == ".." {
			done, rest = path.Dir(done), more
			continue
		}
		n := t.node(path.Join(done, part))
		if n == nil || n.Mode&fs.ModeSymlink == 0 || links == maxLinks {
			done, rest = path.Join(done, part), more
			continue
		}
		links++
		target := n.Linkname
		if path.IsAbs(target) {
			done = "."
		}
		rest = strings.Trim(path.Join(".", dotless(target), more), "/")
	}
	return done
}

// dotless is a link target as a relative path; ".." at its start is kept.
func dotless(target string) string { return strings.TrimLeft(target, "/") }
