package mount

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
)

// top is the directory above the layers of one mount. It holds directories only, with owner, mode and time as all layers
// together make them, and whiteouts of those that are there to hide others and have nothing to hide.
type top struct {
	*stack
	dir  string
	made []string // in the order in which they were made
}

// makeTop makes the directory dir.
func makeTop(s *stack, dir string) error {
	t := &top{stack: s, dir: dir}
	if err := t.add("."); err != nil {
		return err
	}
	for _, name := range s.names() {
		p, err := s.find(name)
		if err != nil {
			return err
		}
		switch {
		case p.dir && t.matters(name, p):
			err = t.add(name)
		case !p.dir && !p.other && len(p.holders) > 0:
			err = t.hide(name)
		}
		if err != nil {
			return err
		}
	}
	return t.finish()
}

// matters says whether an overlay of the layers would show a directory as it is not.
func (t *top) matters(name string, p place) bool {
	first := t.layers[p.holders[0]]
	return p.from != p.holders[0] || len(p.holders) == 1 && first.dirs[name].Hides
}

// add makes the directory called name and those that lead to it.
func (t *top) add(name string) error {
	if name != "." {
		if err := t.add(path.Dir(name)); err != nil {
			return err
		}
	}
	err := os.Mkdir(t.path(name), 0o700)
	if errors.Is(err, fs.ErrExist) && len(t.made) > 0 {
		return nil
	}
	if err != nil {
		return err
	}
	t.made = append(t.made, name)
	return nil
}

// hide makes a whiteout, where the parent is there to be seen.
func (t *top) hide(name string) error {
	parent, err := t.find(path.Dir(name))
	if err != nil || !parent.dir {
		return err
	}
	if err := t.add(path.Dir(name)); err != nil {
		return err
	}
	return makeWhiteout(t.path(name))
}

// finish gives the directories their attributes, the deepest first, so that none changes any more.
func (t *top) finish() error {
	for _, name := range slices.Backward(t.made) {
		p, err := t.find(name)
		if err != nil {
			return err
		}
		if p.from < 0 {
			if err := os.Chmod(t.path(name), 0o755); err != nil {
				return err
			}
			continue
		}
		if err := copyAttributes(t.layers[p.from].path(name), t.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (t *top) path(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

// copyAttributes gives the directory to the owner, mode and time of the directory from.
func copyAttributes(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := os.Lchown(to, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	const special = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	if err := os.Chmod(to, info.Mode()&(fs.ModePerm|special)); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
