package builder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// copyStep puts sources into the image.
type copyStep struct {
	from
	sources  []source
	dest     string // within the image, clean and relative; "." is the root
	asDir    bool   // dest means a directory, whatever is there
	mode     *fs.FileMode
	uid, gid int
}

// copy replaces the variables of a COPY and finds its sources.
func (p *planner) copy(i *kubefile.Copy) (step, error) {
	words, err := p.expandAll(append([]string{i.Dest, i.Chown, i.Chmod}, i.Sources...))
	if err != nil {
		return nil, err
	}
	exclude, err := p.expandAll(i.Exclude)
	if err != nil {
		return nil, err
	}
	s := &copyStep{from: from{i}}
	s.dest, s.asDir = destination(p.workdir, words[0])
	if s.uid, s.gid, err = parseOwner(words[1]); err != nil {
		return nil, err
	}
	if s.mode, err = parseMode(words[2]); err != nil {
		return nil, err
	}
	if s.sources, err = p.files.collect(words[3:], exclude); err != nil {
		return nil, err
	}
	for _, h := range i.Heredocs {
		src, err := p.heredoc(h)
		if err != nil {
			return nil, err
		}
		s.sources = append(s.sources, src)
	}
	if len(i.Sources)+len(i.Heredocs) > 1 && !s.asDir {
		return nil, fmt.Errorf("with several sources the destination is a directory: write %s/", words[0])
	}
	return s, nil
}

// heredoc makes a source of a file that stands in the Kubefile.
func (p *planner) heredoc(h kubefile.Heredoc) (source, error) {
	text := h.Text()
	if h.Expand {
		var err error
		if text, err = p.expander.ExpandText(text, p.lookup); err != nil {
			return source{}, err
		}
	}
	return source{base: path.Base(h.Name), entries: []layer.Entry{textEntry(".", text)}}, nil
}

func textEntry(name, text string) layer.Entry {
	return layer.Entry{Name: name, Mode: 0o644, Size: int64(len(text)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

// destination resolves the last word of a COPY. A well-known name at the root of the image is a directory with or
// without the slash.
func destination(workdir, word string) (dest string, asDir bool) {
	full := word
	if !path.IsAbs(full) {
		full = path.Join(workdir, word)
	}
	dest = strings.TrimPrefix(path.Clean(full), "/")
	if dest == "" {
		return ".", true
	}
	last := path.Base(word)
	return dest, strings.HasSuffix(word, "/") || last == "." || last == ".." || artifact.IsWellKnown(dest)
}

// parseOwner reads --chown. Names would need a passwd file that agrees on every host.
func parseOwner(s string) (uid, gid int, err error) {
	if s == "" {
		return 0, 0, nil
	}
	user, group, hasGroup := strings.Cut(s, ":")
	if !hasGroup {
		group = user
	}
	for n, word := range map[*int]string{&uid: user, &gid: group} {
		if word == "" || word == "root" {
			continue
		}
		id, err := strconv.ParseUint(word, 10, 31)
		if err != nil {
			return 0, 0, fmt.Errorf("--chown=%s: only numbers are supported: write it as uid:gid", s)
		}
		*n = int(id)
	}
	return uid, gid, nil
}

// parseMode reads --chmod, octal; nil keeps the modes of the files.
func parseMode(s string) (*fs.FileMode, error) {
	if s == "" {
		return nil, nil
	}
	bits, err := strconv.ParseUint(s, 8, 12)
	if err != nil {
		return nil, fmt.Errorf("--chmod=%s: write an octal number, such as 0755", s)
	}
	mode := fs.FileMode(bits & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if bits&bit != 0 {
			mode |= flag
		}
	}
	return &mode, nil
}

func (s *copyStep) do(ctx context.Context, b *building, _ int) error {
	entries, err := s.place(b.image.tree)
	if err != nil {
		return err
	}
	return b.addFiles(ctx, entries, s.Instruction.String())
}

// place gives the files of all sources their names in the image. A later source wins over an earlier one.
func (s *copyStep) place(t *tree) ([]layer.Entry, error) {
	dest := t.resolve(s.dest)
	into := s.asDir || t.isDir(dest)
	p := placing{tree: t, uid: s.uid, gid: s.gid, entries: map[string]layer.Entry{}}
	files := 0
	for _, src := range s.sources {
		at := dest
		switch {
		case src.isDir && dest == "." && src.keepsName():
			at = src.base
			p.put(p.directory(at))
		case src.isDir && dest != ".":
			p.put(p.directory(at))
		case !src.isDir && into:
			at = path.Join(dest, src.base)
		}
		if files += len(src.entries); !src.isDir && !into && files > 1 {
			return nil, errors.New("the pattern means several files, so the destination is a directory: end it with /")
		}
		for _, e := range src.entries {
			e.Name = path.Join(at, e.Name)
			s.own(&e)
			p.put(e)
		}
	}
	return p.list()
}

// own applies --chmod and --chown.
func (s *copyStep) own(e *layer.Entry) {
	e.UID, e.GID = s.uid, s.gid
	if s.mode != nil && e.Mode&fs.ModeSymlink == 0 {
		e.Mode = e.Mode.Type() | *s.mode
	}
}

// placing collects the entries of a layer that lies over a tree.
type placing struct {
	tree     *tree
	uid, gid int // of directories that are made on the way
	entries  map[string]layer.Entry
	clash    error // the first file and directory of one name
}

// put adds e where links of the tree lead. A directory that is there stays as it is.
func (p *placing) put(e layer.Entry) {
	if e.Name == "." {
		return
	}
	dir, base := path.Split(e.Name)
	e.Name = path.Join(p.tree.resolve(path.Clean(dir)), base)
	if e.Mode.IsDir() {
		e.Name = p.tree.resolve(e.Name)
	}
	have, ok := p.entries[e.Name]
	switch {
	case ok && have.Mode.IsDir() != e.Mode.IsDir():
		p.clash = cmp.Or(p.clash, fmt.Errorf("%s is copied as a file and as a directory", e.Name))
	case e.Mode.IsDir() && (ok || p.tree.isDir(e.Name)):
	default:
		p.entries[e.Name] = e
	}
}

// list returns the entries with the directories that hold them, which keep the modes that they have in the tree.
func (p *placing) list() ([]layer.Entry, error) {
	if p.clash != nil {
		return nil, p.clash
	}
	for _, name := range keys(p.entries) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			have, ok := p.entries[dir]
			if ok && !have.Mode.IsDir() {
				return nil, fmt.Errorf("%s is copied as a file, and %s below it", dir, name)
			}
			if !ok {
				p.entries[dir] = p.directory(dir)
			}
		}
	}
	list := make([]layer.Entry, 0, len(p.entries))
	for _, name := range keys(p.entries) {
		e := p.entries[name]
		switch n := p.tree.node(name); {
		case n == nil || e.Mode.IsDir() == (n.children != nil):
		case e.Mode.IsDir():
			return nil, fmt.Errorf("%s is a file in the image, and no directory can take its place: RUN rm it first, or choose another destination", name)
		default:
			return nil, fmt.Errorf("%s is a directory in the image, and no file can take its place: RUN rm -r it first, or end the destination with /", name)
		}
		list = append(list, e)
	}
	return list, nil
}

// directory returns the entry of a directory that is there already, or of a new one.
func (p *placing) directory(name string) layer.Entry {
	e := p.tree.directory(name)
	if p.tree.node(name) == nil {
		e.UID, e.GID = p.uid, p.gid
	}
	return e
}
