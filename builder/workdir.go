package builder

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/sealrt/sealrt/artifact/layer"
)

// workdirStep sets the working directory and makes it, if it is not there.
type workdirStep struct {
	from
	dir string // absolute
}

func (s *workdirStep) do(ctx context.Context, b *building, _ int) error {
	b.image.config.Config.WorkingDir = s.dir
	name := b.image.tree.resolve(strings.TrimPrefix(s.dir, "/"))
	var entries []layer.Entry
	switch n := b.image.tree.node(name); {
	case s.dir == "/" || n != nil && n.children != nil:
	case n != nil:
		return fmt.Errorf("%s is no directory", s.dir)
	default:
		p := placing{tree: b.image.tree, entries: map[string]layer.Entry{}}
		p.put(layer.Entry{Name: name, Mode: fs.ModeDir | 0o755})
		var err error
		if entries, err = p.list(); err != nil {
			return err
		}
	}
	return b.addFiles(ctx, entries, s.Instruction.String())
}
