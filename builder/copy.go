package builder

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/sealrt/sealrt/artifact"
	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/kubefile"
)

// copyStep puts sources into the image.
type copyStep struct {
	from
	sources []source // of the context and the Kubefile
	origin  *stage   // COPY --from; nil: the context
	name    string   // COPY --from as written
	words   []string // COPY --from: the sources as written
	exclude []string
	parents bool
	placement
}

// placement says where sources go, and whose they are there.
type placement struct {
	dest  string // within the image, clean and relative; "." is the root
	asDir bool   // dest means a directory, whatever is there
	mode  *fs.FileMode
	owner string // user[:group], by name or number; "" is root
}

// placement replaces the variables of the flags and the destination that COPY and ADD have in common.
func (p *planner) placement(dest, chown, chmod string) (placement, error) {
	words, err := p.expandAll([]string{dest, chown, chmod})
	if err != nil {
		return placement{}, err
	}
	to := placement{owner: words[1]}
	to.dest, to.asDir = destination(p.workdir, words[0])
	to.mode, err = parseMode(words[2])
	return to, err
}

// copy replaces the variables of a COPY and finds its sources, unless they are in another image.
func (p *planner) copy(i *kubefile.Copy) (step, error) {
	to, err := p.placement(i.Dest, i.Chown, i.Chmod)
	if err != nil {
		return nil, err
	}
	s := &copyStep{from: from{i}, name: i.From, placement: to, parents: i.Parents}
	if s.words, err = p.expandAll(i.Sources); err != nil {
		return nil, err
	}
	if s.exclude, err = p.expandAll(i.Exclude); err != nil {
		return nil, err
	}
	if len(i.Sources)+len(i.Heredocs) > 1 && !to.asDir {
		return nil, fmt.Errorf("with several sources the destination is a directory: write %s/", i.Dest)
	}
	if i.From != "" {
		if s.origin, err = p.takeFrom(p.ctx, i.From); err != nil {
			return nil, err
		}
		p.needs = append(p.needs, s.origin)
		return s, nil
	}
	if s.sources, err = collect(p.files, s.words, s.exclude, i.Parents); err != nil {
		return nil, err
	}
	for _, h := range i.Heredocs {
		src, err := p.heredoc(h)
		if err != nil {
			return nil, err
		}
		s.sources = append(s.sources, src)
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
	sum := sha256.Sum256([]byte(text))
	return layer.Entry{
		Name: name, Mode: 0o644, Size: int64(len(text)), Version: "text " + hex.EncodeToString(sum[:]),
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil },
	}
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

func (s *copyStep) await(ctx context.Context, _ *image) error {
	if s.origin == nil {
		return nil
	}
	_, err := s.origin.solve(ctx)
	return err
}

func (s *copyStep) do(ctx context.Context, w *work) error {
	sources := s.sources
	s.sources = nil // a step is done once, and the entries of a large context are large
	if s.origin != nil {
		m, err := s.origin.solve(ctx)
		if err != nil {
			return err
		}
		if sources, err = collect(treeOrigin{m.tree, s.name}, s.words, s.exclude, s.parents); err != nil {
			return err
		}
		for i := range sources {
			sources[i].owned = true
		}
	}
	entries, err := s.place(w.image.tree, sources)
	if err != nil {
		return err
	}
	w.addFiles(ctx, entries, s.Instruction.String())
	return nil
}

// place gives the files of all sources their names in the image. A later source wins over an earlier one.
func (to placement) place(t *tree, sources []source) ([]layer.Entry, error) {
	dest := t.resolve(to.dest)
	into := to.asDir || t.isDir(dest)
	p := newPlacing(t, sources)
	var err error
	if p.uid, p.gid, err = ownerIn(t, to.owner); err != nil {
		return nil, err
	}
	files := 0
	for _, src := range sources {
		at := dest
		switch {
		case src.parents != "" && src.isDir:
			at = path.Join(dest, src.parents)
			p.putDir(at)
		case src.parents != "":
			at = path.Join(dest, src.parents)
		case src.isDir && dest == "." && src.keepsName():
			at = src.base
			p.putDir(at)
		case src.isDir && dest != ".":
			p.putDir(at)
		case !src.isDir && into:
			at = path.Join(dest, src.base)
		}
		if files += len(src.entries); !src.isDir && !into && src.parents == "" && files > 1 {
			return nil, errors.New("the pattern means several files, so the destination is a directory: end it with /")
		}
		for i := range src.entries {
			e := &src.entries[i] // sources are placed once
			e.Name = join(at, e.Name)
			if !src.owned || to.owner != "" {
				e.UID, e.GID = p.uid, p.gid
			}
			if to.mode != nil && e.Mode&fs.ModeSymlink == 0 {
				e.Mode = e.Mode.Type() | *to.mode
			}
			p.put(e)
		}
	}
	return p.list()
}

// placing collects the entries of a layer that lies over a tree.
type placing struct {
	tree     *tree
	uid, gid int // of directories that are made on the way
	entries  map[string]*layer.Entry
	names    []string // of entries, each once; mostly in order
	clash    error    // the first file and directory of one name
	dir      string   // of the entry before, and where links lead it
	resolved string
}

func newPlacing(t *tree, sources []source) *placing {
	n := 0
	for _, s := range sources {
		n += len(s.entries)
	}
	return &placing{tree: t, entries: make(map[string]*layer.Entry, n), names: make([]string, 0, n)}
}

// put adds e where links of the tree lead. A directory that is there stays as it is.
func (p *placing) put(e *layer.Entry) {
	if e.Name == "." {
		return
	}
	dir, base := splitName(e.Name)
	if dir != p.dir {
		p.dir, p.resolved = dir, p.tree.resolve(dir)
	}
	if p.resolved != dir {
		e.Name = join(p.resolved, base)
	}
	if e.Mode.IsDir() {
		e.Name = p.tree.resolve(e.Name)
	}
	have, ok := p.entries[e.Name]
	switch {
	case ok && have.Mode.IsDir() != e.Mode.IsDir():
		p.clash = cmp.Or(p.clash, fmt.Errorf("%s is copied as a file and as a directory", e.Name))
	case e.Mode.IsDir() && (ok || p.tree.isDir(e.Name)):
	default:
		p.set(e)
	}
}

func (p *placing) set(e *layer.Entry) {
	if _, ok := p.entries[e.Name]; !ok {
		p.names = append(p.names, e.Name)
	}
	p.entries[e.Name] = e
}

// list returns the entries, in order, with the directories that hold them, which keep the modes that they have in the tree.
func (p *placing) list() ([]layer.Entry, error) {
	if p.clash != nil {
		return nil, p.clash
	}
	for i := 0; i < len(p.names); i++ { // directories are added to the end, and looked at in their turn
		dir, _ := splitName(p.names[i])
		if dir == "." {
			continue
		}
		have, ok := p.entries[dir]
		if ok && !have.Mode.IsDir() {
			return nil, fmt.Errorf("%s is copied as a file, and %s below it", dir, p.names[i])
		}
		if !ok {
			e := p.directory(dir)
			p.set(&e)
		}
	}
	slices.SortFunc(p.names, layer.Compare)
	list := make([]layer.Entry, len(p.names))
	for i, name := range p.names {
		e := p.entries[name]
		switch n := p.tree.node(name); {
		case n == nil || e.Mode.IsDir() == (n.children != nil):
		case e.Mode.IsDir():
			return nil, fmt.Errorf("%s is a file in the image, and no directory can take its place: RUN rm it first, or choose another destination", name)
		default:
			return nil, fmt.Errorf("%s is a directory in the image, and no file can take its place: RUN rm -r it first, or end the destination with /", name)
		}
		list[i] = *e
	}
	return list, nil
}

// putDir adds the directory name, as it is or new.
func (p *placing) putDir(name string) {
	e := p.directory(name)
	p.put(&e)
}

// directory returns the entry of a directory that is there already, or of a new one.
func (p *placing) directory(name string) layer.Entry {
	e := p.tree.directory(name)
	if p.tree.node(name) == nil {
		e.UID, e.GID = p.uid, p.gid
	}
	return e
}
