package contents

import (
	"archive/tar"
	"hash/maphash"
	"path"
	"strings"

	"github.com/sealrt/sealrt/artifact/layer"
)

// record is what one layer says.
type record struct {
	files  map[string]*File // all entries, or only those that tell of software
	dirs   []uint64         // all names of directories, hashed: paths of very many files take too much memory
	solid  []uint64         // all other names
	gone   []string         // what the layers below show no more, with all below it
	opaque []string         // directories of which nothing below shows
}

// whiteout takes in an entry that is a whiteout (OCI image-spec, layer.md,
// "Whiteouts") and reports whether it is one.
func (r *record) whiteout(name string) bool {
	dir, base := path.Split(name)
	if base == layer.OpaqueWhiteout {
		r.opaque = append(r.opaque, path.Clean(dir))
		return true
	}
	gone, ok := strings.CutPrefix(base, layer.WhiteoutPrefix)
	if ok {
		r.gone = append(r.gone, path.Join(dir, gone))
	}
	return ok
}

// note takes in the name of an entry.
func (r *record) note(seed maphash.Seed, hdr *tar.Header) {
	h := maphash.String(seed, hdr.Name)
	if hdr.Typeflag == tar.TypeDir {
		r.dirs = append(r.dirs, h)
	} else {
		r.solid = append(r.solid, h)
	}
}

// stack tells what layers show under those above them.
type stack struct {
	seed        maphash.Seed
	dirs, solid map[uint64]struct{}
	gone        map[string]bool
	opaque      map[string]bool
}

func newStack(seed maphash.Seed) *stack {
	return &stack{seed: seed, dirs: map[uint64]struct{}{}, solid: map[uint64]struct{}{}, gone: map[string]bool{}, opaque: map[string]bool{}}
}

// add takes in the next layer from the top.
func (s *stack) add(r *record) {
	for _, h := range r.dirs {
		s.dirs[h] = struct{}{}
	}
	for _, h := range r.solid {
		s.solid[h] = struct{}{}
	}
	for _, name := range r.gone {
		s.gone[name] = true
	}
	for _, name := range r.opaque {
		s.opaque[name] = true
	}
}

// hides reports whether the layers so far hide an entry of a layer below.
func (s *stack) hides(name string) bool {
	h := maphash.String(s.seed, name)
	if _, dir := s.dirs[h]; dir || s.covers(name, h) {
		return true
	}
	for name != "." {
		name = path.Dir(name)
		if s.opaque[name] || s.covers(name, maphash.String(s.seed, name)) {
			return true
		}
	}
	return false
}

// covers reports whether nothing shows at or below a name with that hash.
func (s *stack) covers(name string, h uint64) bool {
	_, solid := s.solid[h]
	return solid || s.gone[name]
}

// merge lays records, the lowest first, one over the other and returns what
// shows.
func merge(seed maphash.Seed, records []*record) map[string]*File {
	tree := map[string]*File{}
	s := newStack(seed)
	for i := len(records) - 1; i >= 0; i-- {
		for name, f := range records[i].files {
			if !s.hides(name) {
				tree[name] = f
			}
		}
		if i > 0 {
			s.add(records[i])
		}
	}
	for name, f := range tree {
		if target := tree[f.Link]; f.hard && target != nil && !target.hard {
			tree[name] = target.linked(name)
		}
	}
	return tree
}

// linked returns f under another name.
func (f *File) linked(name string) *File {
	other := *f
	other.Name = name
	return &other
}
