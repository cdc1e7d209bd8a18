package main

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// fileJSON is one file of the tree of an image.
type fileJSON struct {
	Path     string `json:"path"`
	Type     string `json:"type"` // file, dir, symlink or hardlink
	Mode     string `json:"mode"` // octal, like 0755
	UID      int    `json:"uid"`
	GID      int    `json:"gid"`
	Size     int64  `json:"size"`
	Linkname string `json:"linkname,omitempty"`
	Layer    string `json:"layer"` // digest
	number   int    // of the layer, from 1
	mode     fs.FileMode
}

// inspectFiles prints what is in the tree of an image, sorted by path.
func inspectFiles(ctx context.Context, env *environment, src artifact.Source, ref artifact.Reference, v variant, asJSON bool) error {
	list, err := listFiles(ctx, src, ref, v.manifest)
	if err != nil {
		return err
	}
	if asJSON {
		return printFilesJSON(env.stdout, list)
	}
	return printFiles(env.stdout, list)
}

// listFiles reads all layers, the top first, so that what a layer below has is
// known to be hidden when it is read. It keeps a line for each file.
func listFiles(ctx context.Context, src artifact.Source, ref artifact.Reference, m *v1.Manifest) ([]*fileJSON, error) {
	t := &treeList{files: map[string]*fileJSON{}, gone: map[string]bool{}, emptied: map[string]bool{}}
	for i, d := range slices.Backward(m.Layers) {
		t.layer, t.number = d.Digest.String(), i+1
		t.whiteouts = nil
		err := artifact.ReadLayer(ctx, src, ref, d, func(r io.Reader) error {
			return layer.Walk(ctx, r, func(hdr *tar.Header, _ io.Reader) error {
				t.see(hdr)
				return nil
			})
		})
		if err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(m.Layers), err)
		}
		t.end()
	}
	return slices.SortedFunc(maps.Values(t.files), func(a, b *fileJSON) int { return layer.Compare(a.Path, b.Path) }), nil
}

// treeList is the tree of an image, made from the top layer down.
type treeList struct {
	files   map[string]*fileJSON
	gone    map[string]bool // deleted by a layer above, with all below it
	emptied map[string]bool // what is in it was deleted by a layer above

	layer     string // that is read
	number    int
	whiteouts []string // of this layer
}

// see takes an entry of the layer, unless a layer above hides it.
func (t *treeList) see(hdr *tar.Header) {
	base := path.Base(hdr.Name)
	if strings.HasPrefix(base, layer.WhiteoutPrefix) {
		t.whiteouts = append(t.whiteouts, hdr.Name)
		return
	}
	if hdr.Name == "." {
		return
	}
	if t.hidden(hdr.Name) {
		if hdr.Typeflag != tar.TypeDir && t.files[hdr.Name] != nil { // of a directory in its place, what is below the file is not seen
			t.whiteouts = append(t.whiteouts, path.Join(hdr.Name, layer.OpaqueWhiteout))
		}
		return
	}
	info := hdr.FileInfo()
	f := &fileJSON{Path: hdr.Name, Mode: fmt.Sprintf("%04o", hdr.Mode&0o7777), UID: hdr.Uid, GID: hdr.Gid, Linkname: hdr.Linkname, Layer: t.layer, number: t.number, mode: info.Mode()}
	switch hdr.Typeflag {
	case tar.TypeDir:
		f.Type = "dir"
	case tar.TypeSymlink:
		f.Type = "symlink"
	case tar.TypeLink:
		f.Type = "hardlink"
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		f.Type, f.Size = "file", hdr.Size
	default:
		f.Type = "other"
	}
	if old := t.files[f.Path]; old != nil { // the later entry of a layer counts
		*old = *f
		return
	}
	t.files[f.Path] = f
}

// hidden says whether a layer above this one hides what it has at name.
func (t *treeList) hidden(name string) bool {
	if f := t.files[name]; t.gone[name] || f != nil && f.number != t.number {
		return true
	}
	for dir := path.Dir(name); ; dir = path.Dir(dir) {
		if f := t.files[dir]; t.gone[dir] || t.emptied[dir] || f != nil && f.number != t.number && f.Type != "dir" {
			return true
		}
		if dir == "." {
			return false
		}
	}
}

// end is called when all of a layer was seen: what it deletes means the layers
// below.
func (t *treeList) end() {
	for _, name := range t.whiteouts {
		dir, base := path.Split(name)
		dir = path.Clean(dir)
		if base == layer.OpaqueWhiteout {
			t.emptied[dir] = true
			continue
		}
		t.gone[path.Join(dir, strings.TrimPrefix(base, layer.WhiteoutPrefix))] = true
	}
}

// printFiles prints a table.
func printFiles(out io.Writer, list []*fileJSON) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MODE\tOWNER\tSIZE\tLAYER\tPATH")
	for _, f := range list {
		name := printable(f.Path)
		switch f.Type {
		case "dir":
			name += "/"
		case "symlink":
			name += " -> " + printable(f.Linkname)
		case "hardlink":
			name += " = " + printable(f.Linkname)
		}
		fmt.Fprintf(w, "%v\t%d:%d\t%d\t%d\t%s\n", f.mode, f.UID, f.GID, f.Size, f.number, name)
	}
	return w.Flush()
}

// printable quotes a name that would do something to a terminal or a table.
func printable(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}

// printFilesJSON prints a list, one element after the other.
func printFilesJSON(out io.Writer, list []*fileJSON) error {
	w := bufio.NewWriter(out)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	fmt.Fprint(w, "[")
	for i, f := range list {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		if err := enc.Encode(f); err != nil {
			return err
		}
	}
	fmt.Fprintln(w, "]")
	return w.Flush()
}
