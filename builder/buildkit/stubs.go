package buildkit

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/artifact/store"
	"github.com/sealrt/sealrt/builder"
	"github.com/sealrt/sealrt/builder/sandbox"
)

// withoutStubs leaves out the empty files and directories that a daemon makes in a tree to mount something over them,
// and that it does not all remove again. What the tree had before the command stays.
func withoutStubs(ctx context.Context, store *store.Store, c builder.Command, targets []string, entries []layer.Entry) ([]layer.Entry, error) {
	stubs := map[string]bool{}
	for _, name := range stubNames(c.HasShell, targets) {
		for ; name != "." && name != ""; name = path.Dir(name) {
			stubs[name] = true
		}
	}
	var found []string
	holds := map[string]bool{} // directories with something that stays
	sorted := slices.SortedFunc(slices.Values(entries), func(a, b layer.Entry) int { return layer.Compare(b.Name, a.Name) })
	for _, e := range sorted { // children first
		if stubs[e.Name] && !holds[e.Name] && isStub(e) {
			found = append(found, e.Name)
			continue
		}
		holds[path.Dir(e.Name)] = true
	}
	if len(found) == 0 {
		return entries, nil
	}
	before, err := inTree(ctx, store, c.Layers, found)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e layer.Entry) bool { return slices.Contains(found, e.Name) && !before[e.Name] }), nil
}

// stubNames returns the names within the tree at which something was mounted.
func stubNames(hasShell bool, targets []string) []string {
	var names []string
	if hasShell {
		names = []string{"dev", "proc", "sys", "etc/hosts", "etc/resolv.conf"}
	}
	for _, target := range targets {
		name := cleanName(target)
		if !hasShell {
			var ok bool
			if name, ok = strings.CutPrefix("/"+name, sandbox.TreeDir+"/"); !ok {
				continue
			}
		}
		names = append(names, name)
	}
	return names
}

// isStub says whether e looks like a mount point that was made for the purpose.
func isStub(e layer.Entry) bool {
	if e.UID != 0 || e.GID != 0 {
		return false
	}
	return e.Mode == fs.ModeDir|0o755 || e.Mode.IsRegular() && e.Size == 0
}

// inTree says which of names the tree of layers has.
func inTree(ctx context.Context, store *store.Store, layers []v1.Descriptor, names []string) (map[string]bool, error) {
	has := map[string]bool{}
	for _, d := range layers {
		f, err := store.Open(ctx, artifact.Reference{}, d, 0)
		if err != nil {
			return nil, err
		}
		added := map[string]bool{} // of this layer, which its whiteouts spare
		err = layer.Walk(ctx, f, func(hdr *tar.Header, _ io.Reader) error {
			for _, name := range names {
				switch {
				case hides(hdr.Name, name):
					has[name] = added[name]
				case name == hdr.Name || strings.HasPrefix(name, hdr.Name+"/") && hdr.Typeflag != tar.TypeDir:
					has[name], added[name] = name == hdr.Name, name == hdr.Name
				case strings.HasPrefix(hdr.Name, name+"/"):
					has[name], added[name] = true, true
				}
			}
			return nil
		})
		f.Close()
		if err != nil {
			return nil, err
		}
	}
	return has, nil
}

// hides says whether the entry called whiteout is one that deletes name from the layers below.
func hides(whiteout, name string) bool {
	dir, base := path.Split(whiteout)
	dir = path.Clean(dir)
	if base == layer.OpaqueWhiteout {
		return dir == "." || strings.HasPrefix(name, dir+"/")
	}
	gone, ok := strings.CutPrefix(base, layer.WhiteoutPrefix)
	gone = path.Join(dir, gone)
	return ok && (name == gone || strings.HasPrefix(name, gone+"/"))
}
