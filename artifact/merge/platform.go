package merge

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
)

// mostLayers is where many tools stop.
const mostLayers = 127

// work is the merge for one platform.
type work struct {
	*merging
	parts    []version
	platform v1.Platform
	layers   []v1.Descriptor
	diffIDs  []v1.Hash
	history  []v1.History
	tree     map[string]node   // of the image so far
	owner    map[string]string // the image that a file is from
	lists    map[string][]byte // of the tree
	report   Report
}

// platform merges the versions for one platform.
func (m *merging) platform(ctx context.Context, parts []version, p v1.Platform) (v1.Descriptor, Report, error) {
	w := &work{merging: m, parts: parts, platform: p, owner: map[string]string{}, report: Report{Platform: text(p)}}
	cfg, err := w.config()
	if err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	if err := w.first(ctx, parts[0]); err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	for _, v := range parts[1:] {
		if err := w.lay(ctx, v); err != nil {
			return v1.Descriptor{}, Report{}, err
		}
	}
	if err := w.finishTree(ctx); err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	if err := w.images(ctx, &cfg); err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	if n := len(w.layers); n > mostLayers {
		m.Observe(artifact.Event{Kind: artifact.EventNote, Name: fmt.Sprintf("the image has %d layers, and many tools stop at %d", n, mostLayers)})
	}
	cfg.RootFS, cfg.History = v1.RootFS{Type: "layers", DiffIDs: w.diffIDs}, w.history
	config, err := m.Store.PutJSON(ctx, types.OCIConfigJSON, cfg)
	if err != nil {
		return v1.Descriptor{}, Report{}, err
	}
	d, err := m.Store.PutJSON(ctx, types.OCIManifestSchema1, v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Config: config, Layers: w.layers})
	if p.OS != "" {
		d.Platform = cfg.Platform()
	}
	w.report.Digest = d.Digest.String()
	return d, w.report, err
}

// first takes over the first image as it is.
func (w *work) first(ctx context.Context, v version) error {
	f, err := w.grow(ctx, v, len(v.manifest.Layers))
	if err != nil {
		return err
	}
	w.tree, w.lists = f.nodes, f.lists
	for name := range f.nodes {
		w.owner[name] = v.name()
	}
	for i, d := range v.manifest.Layers {
		w.add(d, v.config.RootFS.DiffIDs[i], cmp.Or(createdBy(v.config, i), "merge of "+v.name()))
	}
	return nil
}

// add adds a layer that is in the store.
func (w *work) add(d v1.Descriptor, diffID v1.Hash, createdBy string) {
	w.layers = append(w.layers, v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size})
	w.diffIDs = append(w.diffIDs, diffID)
	w.history = append(w.history, v1.History{CreatedBy: createdBy, Created: v1.Time{Time: w.Created}})
}

// lay lays an image over those so far.
func (w *work) lay(ctx context.Context, v version) error {
	shared := 0
	first := w.parts[0].manifest.Layers
	for shared < min(len(first), len(v.manifest.Layers)) && first[shared].Digest == v.manifest.Layers[shared].Digest {
		shared++
	}
	f, err := w.grow(ctx, v, shared)
	if err != nil {
		return err
	}
	w.compare(v, f)
	if err := w.remove(ctx, v, f); err != nil {
		return err
	}
	for i := range f.own {
		if err := w.layer(ctx, v, shared+i, &f.own[i]); err != nil {
			return fmt.Errorf("%s: layer %d of %d: %w", v.name(), shared+i+1, len(v.manifest.Layers), err)
		}
	}
	w.take(v, f)
	return nil
}

// take puts what the image brings into the tree.
func (w *work) take(v version, f *forest) {
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		if !f.brings(name) {
			continue
		}
		n := f.nodes[name]
		if n.kind != tar.TypeDir && w.tree[name].kind == tar.TypeDir {
			maps.DeleteFunc(w.tree, func(below string, _ node) bool { return strings.HasPrefix(below, name+"/") })
		}
		w.tree[name], w.owner[name] = n, v.name()
	}
}

// compare tells what the image says differently from those before it, and joins lists. What only one of them has changed of
// what they share is no conflict.
func (w *work) compare(v version, f *forest) {
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		if !f.brings(name) {
			continue
		}
		have, there := w.tree[name]
		n, base := f.nodes[name], f.base[name]
		list := n.kind == tar.TypeReg && isList(name)
		switch {
		case !there || base.kind != 0 && have.same(base):
			if list {
				w.lists[name] = f.lists[name]
			}
		case have.same(n) || name == artifact.MetadataFile: // that is written anew
		case list && have.kind == tar.TypeReg:
			w.lists[name] = joinLists(w.lists[name], f.lists[name])
		default:
			w.conflict("file "+name, v.name(), w.owner[name], "")
		}
	}
}

func (w *work) conflict(what, from, over, why string) {
	w.report.Conflicts = append(w.report.Conflicts, Conflict{what, from, over, why})
}

// joinLists returns the lines of two lists, each once.
func joinLists(a, b []byte) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, list := range [][]byte{a, b} {
		for line := range strings.Lines(string(list)) {
			line = strings.TrimRight(line, "\r\n")
			if key := strings.TrimSpace(line); key != "" && seen[key] {
				continue
			} else {
				seen[key] = true
			}
			out.WriteString(line + "\n")
		}
	}
	return out.Bytes()
}

// hidden adds to gone what a patch hides of a tree that it shares no layers with: it is made to be laid over it.
func (w *work) hidden(v version, f *forest, gone map[string]bool) {
	if artifact.KindOf(v.config).Type != artifact.TypePatch {
		return
	}
	for i := range f.own {
		for _, hides := range f.own[i].gone {
			dir, opaque := strings.CutSuffix(hides, "/")
			for name := range w.tree {
				_, there := f.nodes[name]
				if !there && (dir == "." || strings.HasPrefix(name, dir+"/") || !opaque && name == dir) {
					gone[name] = true
				}
			}
		}
	}
}

// remove adds a layer that removes what the image removes of the layers that it shares with the first, and what a patch
// removes of any.
func (w *work) remove(ctx context.Context, v version, f *forest) error {
	gone := map[string]bool{}
	for name := range f.base {
		if _, there := f.nodes[name]; !there {
			gone[name] = true
		}
	}
	w.hidden(v, f, gone)
	entries := map[string]layer.Entry{}
	covered := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		n, there := w.tree[name]
		if !there {
			continue
		}
		if n.kind == tar.TypeDir && w.hasBelow(name, gone) {
			continue // what others have there stays
		}
		if base, shared := f.base[name]; shared && n.kind != tar.TypeDir && !n.same(base) {
			w.conflict("file "+name, v.name(), w.owner[name], "it is removed")
		}
		covered[name] = true
		if parents := parentsOf(name); !slices.ContainsFunc(parents, func(dir string) bool { return covered[dir] }) {
			entries[name] = layer.Whiteout(name)
			for _, dir := range parents {
				entries[dir] = layer.Entry{Name: dir, Mode: fs.ModeDir | fs.FileMode(w.tree[dir].mode).Perm()}
			}
		}
	}
	for name := range covered {
		delete(w.tree, name)
	}
	if len(entries) == 0 {
		return nil
	}
	return w.write(ctx, slices.Collect(maps.Values(entries)), "merge of "+v.name()+": what it removes")
}

// parentsOf returns the directories above a file, the nearest first.
func parentsOf(name string) []string {
	var list []string
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		list = append(list, dir)
	}
	return list
}

// hasBelow reports whether the tree has something in a directory that is not gone.
func (w *work) hasBelow(dir string, gone map[string]bool) bool {
	for name := range w.tree {
		if strings.HasPrefix(name, dir+"/") && !gone[name] {
			return true
		}
	}
	return false
}

// write adds a layer of entries.
func (w *work) write(ctx context.Context, entries []layer.Entry, createdBy string) error {
	out, err := w.Store.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	made, err := layer.Write(ctx, out, layer.Sorted(entries), layer.Options{Compression: w.Compression, Created: w.Created, Buffers: w.buffers})
	if err != nil {
		return err
	}
	w.add(made.Descriptor(), made.DiffID, createdBy)
	return out.Commit(made.Digest, made.Size)
}

// layer adds a layer of an image: as it is if it removes nothing, or else without what is removed. What is in the layout of
// images/ comes later.
func (w *work) layer(ctx context.Context, v version, n int, l *ownLayer) error {
	d, by := v.manifest.Layers[n], cmp.Or(createdBy(v.config, n), "merge of "+v.name())
	switch {
	case l.inside && !l.outside:
		return nil
	case l.clean():
		w.add(d, v.config.RootFS.DiffIDs[n], by)
		return nil
	}
	in, err := os.Open(w.Store.BlobPath(d.Digest))
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := w.Store.NewBlob(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	made, entries, err := layer.Rewrite(ctx, out, in, layer.Options{Compression: w.Compression, Buffers: w.buffers}, func(hdr *tar.Header, content io.Reader) (io.Reader, error) {
		if isWhiteout(hdr.Name) || inLayout(hdr.Name) || l.hidden[hdr.Name] {
			return nil, nil
		}
		return content, nil
	})
	if err != nil || entries == 0 {
		return err
	}
	if by == artifact.HistoryBase {
		by = "merge of " + v.name() // such layers are taken to hold nothing but container images
	}
	w.add(made.Descriptor(), made.DiffID, by)
	return out.Commit(made.Digest, made.Size)
}

func isWhiteout(name string) bool {
	return strings.HasPrefix(name[strings.LastIndex(name, "/")+1:], layer.WhiteoutPrefix)
}

// finishTree adds the lists that were joined, and for a rootfs image the file Metadata if another image's counts so far.
func (w *work) finishTree(ctx context.Context) error {
	var entries []layer.Entry
	for _, name := range slices.Sorted(maps.Keys(w.lists)) {
		h := node{kind: tar.TypeReg, hash: sum(w.lists[name])}
		if have, there := w.tree[name]; there && have.hash != h.hash {
			entries = append(entries, file(name, w.lists[name]))
		}
	}
	if w.report.Type == artifact.TypeRootfs {
		b, err := json.Marshal(artifact.Metadata{Distro: w.report.Distro, Version: w.report.Version, Arch: w.platform.Architecture})
		if err != nil {
			return err
		}
		if owner := w.owner[artifact.MetadataFile]; owner == "" || owner != w.rootfs() {
			entries = append(entries, file(artifact.MetadataFile, append(b, '\n')))
		}
	}
	if len(entries) == 0 {
		return nil
	}
	return w.write(ctx, entries, "merge: lists of all images")
}

// rootfs is the name of the image that boots a cluster.
func (w *work) rootfs() string {
	for _, v := range w.parts {
		if artifact.KindOf(v.config).Type == artifact.TypeRootfs {
			return v.name()
		}
	}
	return ""
}

// file is a small file of a layer.
func file(name string, b []byte) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(b)), Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}
