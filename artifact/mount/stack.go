package mount

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/sealrt/sealrt/artifact/layer"
)

// unpacked is a layer in the form of a lower directory of an overlay.
type unpacked struct {
	key  string // its name among the layers
	tree string // the directory
	dirs map[string]layer.OverlayDir
}

// stack is unpacked layers, the top first, and what was found in them.
type stack struct {
	layers []*unpacked
	places map[string]place
}

func newStack(layers []*unpacked) *stack { return &stack{layers: layers, places: map[string]place{}} }

// below returns the stack of the layers under the top one.
func (s *stack) below() *stack { return newStack(s.layers[1:]) }

// place is what the layers of a stack have at one path, as artifact.Unpack would leave it.
type place struct {
	dir     bool  // a directory
	other   bool  // something else
	holders []int // the layers in which members of the directory lie, the top first
	from    int   // the layer that states owner, mode and time of the directory; -1: none
}

// find returns what lies at a path inside the image. Paths through links lead nowhere.
func (s *stack) find(name string) (place, error) {
	if p, ok := s.places[name]; ok {
		return p, nil
	}
	p, err := s.look(name)
	if err == nil {
		s.places[name] = p
	}
	return p, err
}

func (s *stack) look(name string) (place, error) {
	p := place{from: -1}
	if name == "." {
		p.dir = true
		for i, l := range s.layers {
			p.holders = append(p.holders, i)
			if p.from < 0 && l.states(name) {
				p.from = i
			}
		}
		return p, nil
	}
	parent, err := s.find(path.Dir(name))
	if err != nil {
		return p, err
	}
	opaque := false
	for _, i := range parent.holders {
		l := s.layers[i]
		kind, err := kindOf(l.path(name))
		if err != nil {
			return p, err
		}
		if kind == isAbsent {
			continue
		}
		if kind != isDir {
			p.other = kind == isOther && !p.dir
			break // it hides what is below
		}
		p.dir = p.dir || l.has(name)
		if !opaque {
			p.holders = append(p.holders, i)
		}
		if p.from < 0 && l.states(name) {
			p.from = i
		}
		if opaque, err = opaqueOr(opaque, l.path(name)); err != nil {
			return p, err
		}
		if opaque && p.from >= 0 {
			break
		}
	}
	return p, nil
}

func opaqueOr(already bool, dir string) (bool, error) {
	if already {
		return true, nil
	}
	return isOpaque(dir)
}

func (u *unpacked) path(name string) string { return filepath.Join(u.tree, filepath.FromSlash(name)) }

// states says whether the layer states owner, mode and time of a directory that it has.
func (u *unpacked) states(name string) bool {
	d, listed := u.dirs[name]
	return !listed || d.Stated
}

// has says whether a directory is there because of this layer.
func (u *unpacked) has(name string) bool {
	d, listed := u.dirs[name]
	return !listed || d.Stated || d.Used
}

// What can lie at a path.
type kind uint8

const (
	isAbsent kind = iota
	isDir
	isWhiteout
	isOther
)

func kindOf(file string) (kind, error) {
	info, err := os.Lstat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return isAbsent, nil
	case err != nil:
		return isAbsent, err
	case info.IsDir():
		return isDir, nil
	case info.Mode()&fs.ModeCharDevice != 0: // a layer has no other devices
		return isWhiteout, nil
	}
	return isOther, nil
}

// selfContained says whether the top layer of the stack means the same by itself as on top of the others: it does not
// when it puts something below what is a link there.
func (s *stack) selfContained() (bool, error) {
	below := s.below()
	for name, d := range s.layers[0].dirs {
		if name == "." || d.Stated && !d.Used {
			continue
		}
		p, err := below.find(name)
		if err != nil || p.other {
			return false, err
		}
	}
	return true, nil
}

// names lists the directories of which layers do not say all, parents first.
func (s *stack) names() []string {
	var list []string
	for _, l := range s.layers {
		for name := range l.dirs {
			if name != "." {
				list = append(list, name)
			}
		}
	}
	slices.SortFunc(list, layer.Compare)
	return slices.Compact(list)
}
