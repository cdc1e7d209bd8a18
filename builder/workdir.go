package builder

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/sealrt/sealrt/artifact/layer"
)

// workdirStep sets the working directory and makes it, if it is not there.
type workdirStep struct {
	from
	dir string // absolute
}

func (s *workdirStep) configure(c *v1.ConfigFile) { c.Config.WorkingDir = s.dir }

func (s *workdirStep) do(ctx context.Context, w *work) error {
	s.configure(&w.image.config)
	tree := w.image.tree
	name := tree.resolve(strings.TrimPrefix(s.dir, "/"))
	var entries []layer.Entry
	switch n := tree.node(name); {
	case s.dir == "/" || n != nil && n.children != nil:
	case n != nil:
		return fmt.Errorf("%s is no directory", s.dir)
	default:
		p := newPlacing(tree, nil)
		p.put(&layer.Entry{Name: name, Mode: fs.ModeDir | 0o755})
		var err error
		if entries, err = p.list(); err != nil {
			return err
		}
	}
	w.addFiles(ctx, entries, s.Instruction.String())
	return nil
}
