package builder

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"

	"github.com/sealrt/sealrt/artifact/layer"
	"github.com/sealrt/sealrt/builder/remote"
	"github.com/sealrt/sealrt/kubefile"
)

// addStep puts files, unpacked archives and remote files into the image.
type addStep struct {
	from
	sources  []addSource
	checksum string // of the only, remote, source; "" for none
	placement
}

// addSource is a source of the context, or a URL.
type addSource struct {
	source
	url string
}

// add replaces the variables of an ADD and finds its sources.
func (p *planner) add(i *kubefile.Add) (step, error) {
	to, err := p.placement(i.Dest, i.Chown, i.Chmod)
	if err != nil {
		return nil, err
	}
	s := &addStep{from: from{i}, placement: to}
	if s.checksum, err = p.expand(i.Checksum); err != nil {
		return nil, err
	}
	words, err := p.expandAll(i.Sources)
	if err != nil {
		return nil, err
	}
	exclude, err := p.expandAll(i.Exclude)
	if err != nil {
		return nil, err
	}
	for _, word := range words {
		if remote.IsAddress(word) {
			if err := remote.CheckAddress(word); err != nil {
				return nil, err
			}
			s.sources = append(s.sources, addSource{url: word})
			continue
		}
		found, err := collect(p.files, []string{word}, exclude, false)
		if err != nil {
			return nil, err
		}
		for _, src := range found {
			s.sources = append(s.sources, addSource{source: src})
		}
	}
	for _, h := range i.Heredocs {
		src, err := p.heredoc(h)
		if err != nil {
			return nil, err
		}
		s.sources = append(s.sources, addSource{source: src})
	}
	alone := len(s.sources) == 1 && s.sources[0].url != ""
	switch {
	case s.checksum != "" && !alone:
		return nil, fmt.Errorf("--checksum is for one remote file: give each its own ADD")
	case len(words)+len(i.Heredocs) > 1 && !to.asDir:
		return nil, fmt.Errorf("with several sources the destination is a directory: write %s/", i.Dest)
	}
	return s, nil
}

func (s *addStep) do(ctx context.Context, w *work) error {
	to := s.placement
	var sources []source
	for _, src := range s.sources {
		var err error
		switch {
		case src.url != "":
			src.source, err = w.remote(ctx, src.url, s.checksum, to.asDir || w.image.tree.isDir(w.image.tree.resolve(to.dest)))
		case !src.isDir:
			src.source, err = w.unpacked(ctx, src.source)
		}
		if err != nil {
			return err
		}
		sources = append(sources, src.source)
	}
	entries, err := to.place(w.image.tree, sources)
	if err != nil {
		return err
	}
	w.addFiles(ctx, entries, s.Instruction.String())
	return nil
}

// remote downloads a file. Its mode is 0600, as in Dockerfiles.
func (w *work) remote(ctx context.Context, url, checksum string, intoDir bool) (source, error) {
	w.task.work()
	defer w.downloading.by(w.task)()
	d, err := w.downloads.Get(ctx, w.platform, url, checksum)
	if err != nil {
		return source{}, err
	}
	if intoDir && d.Name == "" {
		return source{}, fmt.Errorf("%s names no file: give the destination a name that does not end with /", url)
	}
	e := layer.Entry{Name: ".", Mode: 0o600, Size: d.Size, Version: "blob " + d.Digest.String(), Open: d.Open}
	return source{base: d.Name, entries: []layer.Entry{e}}, nil
}

// downloading knows who is told of downloads, which instructions share.
type downloading struct {
	mu    sync.Mutex
	tasks map[*task]bool
}

// by adds a task until the function that it returns is called.
func (d *downloading) by(t *task) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tasks == nil {
		d.tasks = map[*task]bool{}
	}
	d.tasks[t] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.tasks, t)
	}
}

// progress tells how far a download is.
func (d *downloading) progress(item string, done, total int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t := range d.tasks {
		t.progress(item, done, total)
	}
}

// unpacked returns what is in the archives of a source that is a file, or the file when it is none.
func (w *work) unpacked(ctx context.Context, src source) (source, error) {
	if len(src.entries) != 1 || !src.entries[0].Mode.IsRegular() || src.entries[0].Size == 0 {
		return src, nil
	}
	file := src.entries[0]
	entries, is, done, err := layer.FromArchive(ctx, w.trees.dir, file.Open)
	if err != nil {
		return source{}, fmt.Errorf("unpack %s: %w", src.base, err)
	}
	if !is {
		return src, nil
	}
	w.spools.add(done)
	for i := range entries {
		if file.Version != "" && entries[i].Mode.IsRegular() {
			entries[i].Version = file.Version + " " + path.Clean(entries[i].Name)
		}
	}
	return source{base: src.base, isDir: true, entries: entries, owned: true}, nil
}

// spools are what entries are read from until the build ends.
type spools struct {
	mu   sync.Mutex
	done []func() error
}

func (s *spools) add(done func() error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, done)
}

func (s *spools) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for _, done := range s.done {
		err = errors.Join(err, done())
	}
	return err
}
