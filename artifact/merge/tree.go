package merge

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/airgap/layout"
	"github.com/sealrt/sealrt/artifact/layer"
)

const (
	maxEntries = 2_000_000 // of all trees together, roughly 200 bytes each
	maxKept    = 1 << 20   // bytes of a list that is merged line by line
)

// node is a file, link or directory of a tree.
type node struct {
	kind byte // of tar: TypeReg, TypeDir, TypeSymlink
	mode int64
	link string
	hash [sha256.Size]byte // of a file's content
}

// same reports whether two nodes are of equal content. Modes of directories do not count.
func (n node) same(other node) bool {
	if n.kind == tar.TypeDir && other.kind == tar.TypeDir {
		return true
	}
	return n == other
}

// forest is the tree of an image as its layers make it.
type forest struct {
	nodes map[string]node
	base  map[string]node // that of the layers which are shared
	lists map[string][]byte
	own   []ownLayer // the layers that are not shared
}

// ownLayer is what one layer brings.
type ownLayer struct {
	names   map[string]bool // of entries that are no directories
	hidden  map[string]bool // of these, what a later layer hides
	gone    []string        // what it hides; with a slash at the end only what is below
	inside  bool            // it has parts of the layout in images/
	outside bool            // it has other entries
}

// clean reports whether a layer can be taken over as it is: it removes nothing, and nothing of it is removed.
func (l *ownLayer) clean() bool { return len(l.gone) == 0 && len(l.hidden) == 0 && !l.inside }

// brings reports whether a file or directory of the tree is from a layer that is not shared.
func (f *forest) brings(name string) bool {
	if n := f.nodes[name]; n.kind == tar.TypeDir {
		return f.base[name].kind != tar.TypeDir
	}
	for i := range f.own {
		if f.own[i].names[name] && !f.own[i].hidden[name] {
			return true
		}
	}
	return false
}

// inLayout reports whether a file or directory belongs to the layout of container images in images/.
func inLayout(name string) bool {
	rest, ok := strings.CutPrefix(name, "images/")
	return ok && (rest == "index.json" || rest == "oci-layout" || rest == "blobs" || strings.HasPrefix(rest, "blobs/"))
}

// isList reports whether of a file the lines of all images count.
func isList(name string) bool {
	return name == "manifests/imageList" || name == "manifests/ImageList" || name == ".imageignore"
}

// grow reads the tree of an image of whose layers the first shared ones are those of another image.
func (m *merging) grow(ctx context.Context, v version, shared int) (*forest, error) {
	f := &forest{nodes: map[string]node{}, lists: map[string][]byte{}}
	for i, d := range v.manifest.Layers {
		if i == shared {
			f.base = maps.Clone(f.nodes)
		}
		l := &ownLayer{names: map[string]bool{}, hidden: map[string]bool{}}
		fresh, err := m.scan(ctx, v, i, d, l, f.lists)
		if err != nil {
			return nil, fmt.Errorf("%s: layer %d of %d: %w", v.name(), i+1, len(v.manifest.Layers), err)
		}
		f.lay(fresh, l)
		if i >= shared {
			f.own = append(f.own, *l)
		}
		if len(f.nodes) > maxEntries {
			return nil, fmt.Errorf("%s has more than %d files", v.name(), maxEntries)
		}
	}
	if f.base == nil {
		f.base = maps.Clone(f.nodes)
	}
	return f, nil
}

// lay lays what a layer has over those below.
func (f *forest) lay(fresh map[string]node, l *ownLayer) {
	hide := func(name string) {
		delete(f.nodes, name)
		for i := range f.own {
			if f.own[i].names[name] {
				f.own[i].hidden[name] = true
			}
		}
	}
	for _, gone := range l.gone {
		dir, opaque := strings.CutSuffix(gone, "/")
		for name := range f.nodes {
			if dir == "." || strings.HasPrefix(name, dir+"/") || !opaque && name == dir {
				hide(name)
			}
		}
	}
	for name, n := range fresh {
		if was, there := f.nodes[name]; there && was.kind == tar.TypeDir && n.kind != tar.TypeDir {
			for below := range f.nodes {
				if strings.HasPrefix(below, name+"/") {
					hide(below)
				}
			}
		}
	}
	maps.Copy(f.nodes, fresh)
}

// scan reads one layer. What is in images/ is not read where it can be passed over.
func (m *merging) scan(ctx context.Context, v version, n int, d v1.Descriptor, l *ownLayer, lists map[string][]byte) (map[string]node, error) {
	if err := m.fetch(ctx, v, d); err != nil {
		return nil, err
	}
	f, err := os.Open(m.Store.BlobPath(d.Digest))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fresh := map[string]node{}
	see := func(hdr *tar.Header, content io.Reader) error { return l.see(hdr, content, fresh, lists) }
	if layout.IsPlain(d.MediaType) && createdBy(v.config, n) == artifact.HistoryBase {
		return fresh, passOver(ctx, f, see)
	}
	r := layout.Verify(f, d, nil)
	if err = layer.Walk(ctx, r, see); err == nil {
		_, err = io.Copy(io.Discard, layer.UntilDone(ctx, r)) // what follows the end of the archive belongs to the digest
	}
	return fresh, err
}

// passOver walks through a plain archive without reading what nobody asks for.
func passOver(ctx context.Context, f *os.File, see func(*tar.Header, io.Reader) error) error {
	for tr := tar.NewReader(f); ctx.Err() == nil; {
		hdr, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		hdr.Name = path.Clean(hdr.Name)
		if err := see(hdr, tr); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// fetch has the store have a layer.
func (m *merging) fetch(ctx context.Context, v version, d v1.Descriptor) error {
	if has, err := m.Store.Has(ctx, v.ref, d); has || err != nil {
		return err
	}
	return m.Store.Put(ctx, v.ref, d, func(offset int64) (io.ReadCloser, error) { return v.src.Open(ctx, v.ref, d, offset) })
}

// see takes in an entry with a clean name.
func (l *ownLayer) see(hdr *tar.Header, content io.Reader, fresh map[string]node, lists map[string][]byte) error {
	dir, base := path.Split(hdr.Name)
	switch {
	case hdr.Name == ".":
		return nil
	case base == layer.OpaqueWhiteout:
		l.gone = append(l.gone, path.Clean(dir)+"/")
		return nil
	case strings.HasPrefix(base, layer.WhiteoutPrefix):
		l.gone = append(l.gone, path.Join(dir, strings.TrimPrefix(base, layer.WhiteoutPrefix)))
		return nil
	case inLayout(hdr.Name):
		l.inside = l.inside || hdr.Typeflag != tar.TypeDir
		return nil
	}
	for parent := path.Dir(hdr.Name); parent != "."; parent = path.Dir(parent) {
		if _, there := fresh[parent]; there {
			break
		}
		fresh[parent] = node{kind: tar.TypeDir, mode: 0o755}
	}
	n := node{kind: hdr.Typeflag, mode: hdr.Mode & 0o7777, link: hdr.Linkname}
	switch hdr.Typeflag {
	case tar.TypeDir:
		n.link = ""
		fresh[hdr.Name] = n
		return nil
	case tar.TypeSymlink:
		n.mode = 0
	case tar.TypeLink:
		n = fresh[path.Clean(hdr.Linkname)]
	default:
		n.kind, n.link = tar.TypeReg, ""
		h := sha256.New()
		var kept *limited
		if isList(hdr.Name) {
			kept = &limited{}
			content = io.TeeReader(content, kept)
		}
		if _, err := io.Copy(h, content); err != nil {
			return err
		}
		h.Sum(n.hash[:0])
		if kept != nil {
			if len(kept.b) > maxKept {
				return fmt.Errorf("%s is larger than %d bytes", hdr.Name, maxKept)
			}
			lists[hdr.Name] = kept.b
		}
	}
	fresh[hdr.Name] = n
	l.names[hdr.Name], l.outside = true, true
	return nil
}

// limited keeps the beginning of what is written to it, and a byte more than it may.
type limited struct{ b []byte }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	l.b = append(l.b, p[:min(len(p), maxKept+1-len(l.b))]...)
	return len(p), nil
}

// createdBy returns what the history says of a layer, "" if it does not fit the layers.
func createdBy(config *v1.ConfigFile, n int) string {
	for _, h := range config.History {
		if h.EmptyLayer {
			continue
		}
		if n == 0 {
			return h.CreatedBy
		}
		n--
	}
	return ""
}
