package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"
)

// OverlayDir is a directory of a layer in the form of an overlay, with what that form does not say.
type OverlayDir struct {
	// Name is its path inside the image, "." for the root.
	Name string `json:"name"`
	// Stated says that the layer has an entry for the directory. Otherwise its owner, mode and time are those that it has
	// in the layers below.
	Stated bool `json:"stated,omitempty"`
	// Used says that something of the layer lies in the directory, and came before its entry. A directory that is neither
	// stated nor used is there to hide members of the layers below, and exists only if one of them has it.
	Used bool `json:"used,omitempty"`
	// Hides says that whiteouts lie in the directory: the kernel shows them where no other layer has the directory.
	Hides bool `json:"hides,omitempty"`
}

// ExtractOverlay writes the layer that r holds to the empty directory dir in the form of a lower directory of an overlay
// mount: what FromOverlay reads (Linux Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
// Attributes are trusted ones where this process may set them, and user ones otherwise: mount with userxattr then.
// What depends on the layers below is returned, sorted by name, with the root first: the directories that are not
// simply as the layer says. A hard link to a file of a layer below is an error. All else is as with Extract.
func ExtractOverlay(ctx context.Context, dir string, r io.Reader, o ExtractOptions) ([]OverlayDir, error) {
	over := &overlayForm{dirs: map[string]OverlayDir{".": {Name: ".", Used: true}}}
	if err := apply(ctx, dir, r, o, over); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(over.dirs), func(a, b OverlayDir) int {
		if a.Name == "." || b.Name == "." { // the root is before all else
			return strings.Compare(strings.TrimPrefix(a.Name, "."), strings.TrimPrefix(b.Name, "."))
		}
		return Compare(a.Name, b.Name)
	}), nil
}

// overlayForm is what an extractor knows of a layer that is to become an overlay's. Its methods do nothing when it is nil.
type overlayForm struct {
	dirs  map[string]OverlayDir // those that are not simply stated
	gone  []string              // names of whiteouts
	ghost bool                  // the directories that are made now are for whiteouts only
}

// made notes that a directory was made which the layer did not state so far.
func (v *overlayForm) made(name string) {
	if v != nil {
		v.dirs[name] = OverlayDir{Name: name, Used: !v.ghost}
	}
}

// stated notes the entry of a directory.
func (v *overlayForm) stated(name string) {
	if v == nil {
		return
	}
	if d, ok := v.dirs[name]; ok {
		d.Stated = true
		v.dirs[name] = d
	}
}

// hide marks what the layer deletes, once all that it has is there.
func (x *extractor) hide() error {
	x.over.ghost = true
	for _, name := range x.over.gone {
		if err := x.hideOne(name); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
	}
	for name := range x.over.dirs { // less what later entries replaced
		if info, err := x.root.Lstat(name); err != nil || !info.IsDir() {
			delete(x.over.dirs, name)
		}
	}
	return nil
}

func (x *extractor) hideOne(name string) error {
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	parent, err := x.open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = x.makeParents(dir); err == nil {
			parent, err = x.open(dir)
		}
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR), err != nil && x.isFile(dir):
		return nil // the layer has a file there, which hides more
	case err != nil:
		return x.explain(dir, err)
	case base == OpaqueWhiteout:
		return markOpaque(parent)
	}
	return x.hideMember(parent, path.Join(dir, strings.TrimPrefix(base, WhiteoutPrefix)))
}

// hideMember marks the member of parent called name as deleted below. What the layer has of that name replaces it.
func (x *extractor) hideMember(parent *os.Root, name string) error {
	base := path.Base(name)
	info, err := parent.Lstat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		dir := path.Dir(name)
		d, ok := x.over.dirs[dir]
		if !ok {
			d = OverlayDir{Name: dir, Stated: true}
		}
		d.Hides = true
		x.over.dirs[dir] = d
		return markDeleted(parent, base)
	case err != nil || !info.IsDir():
		return err
	}
	sub, err := parent.OpenRoot(base)
	if err != nil {
		return err
	}
	defer sub.Close()
	x.over.stated(name) // it takes nothing over from the directory that is gone
	return markOpaque(sub)
}
